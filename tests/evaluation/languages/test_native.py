from __future__ import annotations

import shutil
import subprocess
import sys
import threading

import pytest
import torch

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.language import Artifact, EntryPoint, get_language
from kernelevolve.evaluation.languages import native
from kernelevolve.evaluation.languages.native import CACHE_VARIABLE, tvm_flags
from kernelevolve.evaluation.platform import get_platform

SCALE = """
void kernel(TensorView x, double factor, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  #pragma omp parallel for
  for (int64_t i = 0; i < x.numel(); ++i) to[i] = from[i] * static_cast<float>(factor);
}
"""

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture
def build(cache, tmp_path):
    def build(source: str, limit_s: float = 60.0) -> Artifact:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        return get_language("cpp").build(
            Candidate(language="cpp", source=source), get_platform("cpu"), scratch, limit_s
        )

    return build


def refusal(source: str, language: str = "cpp") -> CandidateError:
    with pytest.raises(CandidateError) as caught:
        get_language(language).read(Candidate(language=language, source=source))
    return caught.value


@needs_gxx
def test_a_kernel_writes_its_outputs(build):
    kernel = get_language("cpp").load(build(SCALE), interpret=False)
    x, out = torch.randn(100), torch.full((100,), float("nan"))

    kernel(x, 3.0, out)

    assert torch.equal(out, x * 3)


@needs_gxx
def test_tensors_arrive_contiguous_and_outputs_come_back(build):
    kernel = get_language("cpp").load(build(SCALE), interpret=False)
    x, out = torch.randn(10, 20).t(), torch.zeros(10, 20).t()

    kernel(x, 3.0, out)
    kernel(x[:1].expand(20, 10), 1.0, torch.empty(20, 10))

    assert torch.equal(out, x * 3)


@needs_gxx
def test_a_source_is_compiled_once(build):
    first = build(SCALE)
    stamp = first.library.stat().st_mtime_ns

    assert build(SCALE) == first
    assert first.library.stat().st_mtime_ns == stamp
    assert build(SCALE + "// another\n").library != first.library


@needs_gxx
def test_asked_flags_reach_the_compiler_and_the_receipt(build):
    artifact = build(f"// kernelevolve: flags -O3 -march=native\n{SCALE}")

    assert artifact.options["flags"][-2:] == ["-O3", "-march=native"]
    assert "g++" in artifact.options["compiler"]


@needs_gxx
def test_a_header_is_precompiled_once_even_by_two_at_a_time(build, cache, tmp_path):
    build(SCALE + "// 1\n")
    errors = []

    def again(number: int) -> None:
        scratch = tmp_path / str(number)
        scratch.mkdir()
        candidate = Candidate(language="cpp", source=f"{SCALE}// racing {number}\n")
        try:
            get_language("cpp").build(candidate, get_platform("cpu"), scratch, 60.0)
        except CandidateError as error:
            errors.append(error)

    threads = [threading.Thread(target=again, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert [path.name for path in cache.glob("headers/*/g++/*")].count("prelude.h.gch") == 1


@needs_gxx
def test_fast_math_does_not_change_the_rest_of_the_process(build):
    artifact = build(f"// kernelevolve: flags -ffast-math\n{SCALE}")
    link = tvm_flags()[1][0].removeprefix("-L")
    program = (
        "import ctypes\n"
        f"ctypes.CDLL({link + '/libtvm_ffi.so'!r}, mode=ctypes.RTLD_GLOBAL)\n"
        f"ctypes.CDLL({str(artifact.library)!r})\n"
        "smallest = float.fromhex('0x1p-1074')\n"
        "print(smallest * 1.0 > 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "True\n"


@needs_gxx
def test_compiler_errors_refer_to_the_authors_lines(build):
    with pytest.raises(CandidateError) as caught:
        build(SCALE.replace("float* to", "flot* to"))

    assert caught.value.finding is Finding.COMPILER_ERROR
    assert caught.value.log.startswith("kernel.cpp:4:3: error: 'flot'")


@needs_gxx
def test_parameters_that_cannot_be_passed_are_explained_without_templates(build):
    with pytest.raises(CandidateError, match="its parameters are not ones") as caught:
        build("void kernel(float* x, TensorView out) {}")

    assert len(caught.value.log.splitlines()) <= 3


@needs_gxx
def test_a_compiler_that_takes_too_long_is_stopped(build):
    slow = "\n".join(f"constexpr long v{i} = sum({30_000 + i});" for i in range(300))
    loop = "constexpr long sum(long n) { long s = 0; for (long i = 0; i < n; i++) s += i * i; return s; }"

    with pytest.raises(CandidateError) as caught:
        build(f"{loop}\n{slow}\n{SCALE}", limit_s=0.5)

    assert caught.value.finding is Finding.COMPILER_TIMEOUT


@needs_gxx
def test_a_source_may_export_for_itself(build):
    artifact = build(
        "static void mine(TensorView out) { *static_cast<float*>(out.data_ptr()) = 7; }\n"
        "void kernel(TensorView out) { mine(out); }\nTVM_FFI_DLL_EXPORT_TYPED_FUNC(kernel, mine);"
    )
    out = torch.zeros(1)

    get_language("cpp").load(artifact, interpret=False)(out)

    assert out.item() == 7


@needs_gxx
def test_exceptions_come_through(build):
    artifact = build('#include <stdexcept>\nvoid kernel(TensorView x) { throw std::runtime_error("boo"); }')

    with pytest.raises(RuntimeError, match="boo"):
        get_language("cpp").load(artifact, interpret=False)(torch.zeros(1))


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("int main() {}", Finding.MISSING_ENTRY_POINT),
        ("// void kernel(TensorView x) {}", Finding.MISSING_ENTRY_POINT),
        ('const char* s = "void kernel(";', Finding.MISSING_ENTRY_POINT),
        (f'#include "/etc/passwd"\n{SCALE}', Finding.FORBIDDEN_CONSTRUCT),
        (f'#include "../secret.h"\n{SCALE}', Finding.FORBIDDEN_CONSTRUCT),
        (f'asm(".incbin \\"/etc/passwd\\"");\n{SCALE}', Finding.FORBIDDEN_CONSTRUCT),
        (f"// kernelevolve: flags -O3 -fplugin=x.so\n{SCALE}", Finding.FORBIDDEN_CONSTRUCT),
        (f"// kernelevolve: flags -O3;touch\n{SCALE}", Finding.FORBIDDEN_CONSTRUCT),
    ],
)
def test_sources_that_cannot_be_right_are_refused_before_compiling(source, finding):
    error = refusal(source)

    assert error.finding is finding
    assert error.advice


def test_the_advice_shows_the_signature():
    assert "void kernel(TensorView x, ..., TensorView out)" in refusal("int main() {}").advice


def test_a_device_function_cannot_be_the_entry_point():
    source = "__global__ void kernel(float* x) {}\nvoid kernel(TensorView x) { kernel<<<1, 1>>>(nullptr); }"

    assert "Rename" in refusal(source, "cuda").advice


def test_languages_and_platforms_go_together(tmp_path):
    assert get_language("cpp").supports(get_platform("cpu"))
    assert not get_language("cuda").supports(get_platform("cpu"))
    with pytest.raises(PlatformError, match="cannot run on hip:gfx942"):
        get_language("cuda").build(Candidate(language="cuda", source=SCALE), get_platform("hip:gfx942"), tmp_path, 1.0)


@pytest.mark.skipif(shutil.which("hipcc") is not None, reason="hipcc is here")
def test_a_missing_compiler_says_what_to_install(tmp_path):
    with pytest.raises(PlatformError, match="Install ROCm") as caught:
        get_language("hip").build(Candidate(language="hip", source=SCALE), get_platform("hip:gfx942"), tmp_path, 1.0)

    assert caught.value.finding is Finding.COMPILER_MISSING


CUDA = """
__global__ void __launch_bounds__(256) add_kernel(const float* x, const float* y, float* out, int64_t n) {
  __shared__ float tile[256];
  const int64_t i = blockIdx.x * 256ll + threadIdx.x;
  tile[threadIdx.x] = i < n ? x[i] + y[i] : 0.f;
  __syncthreads();
  if (i < n) out[i] = tile[threadIdx.x];
}

void kernel(TensorView x, TensorView y, TensorView out) {
  const int64_t n = x.numel();
  add_kernel<<<(n + 255) / 256, 256, 0, current_stream(x)>>>(
      (const float*)x.data_ptr(), (const float*)y.data_ptr(), (float*)out.data_ptr(), n);
}
"""


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_cuda_is_compiled_and_its_resources_read_without_a_gpu(cache, tmp_path):
    artifact = get_language("cuda").build(
        Candidate(language="cuda", source=CUDA), get_platform("cuda:sm_90"), tmp_path, 120.0
    )

    [resources] = artifact.resources
    assert (resources.kernel, resources.target) == ("add_kernel", "cuda:sm_90")
    assert (resources.shared_bytes, resources.spills, resources.threads_per_block) == (1024, 0, 256)
    assert resources.occupancy == 1.0
    assert 0 < resources.registers <= 32
    assert resources.code_bytes > 0


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_cuda_errors_refer_to_the_authors_lines(cache, tmp_path):
    with pytest.raises(CandidateError) as caught:
        get_language("cuda").build(
            Candidate(language="cuda", source=CUDA.replace("int64_t n)", "int6_t n)")),
            get_platform("cuda:sm_90"), tmp_path, 120.0,
        )  # fmt: skip

    assert caught.value.log.startswith('kernel.cu(2): error: identifier "int6_t" is undefined')


READ_ALL = """
from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.language import get_language

pieces = ["\\n", " ", "a ", "/* ", "// ", "#", "'", "'a", '\\\\"']
pieces += ["void  ", "void kernel(", "// kernelevolve: flags\\n"]
for piece in pieces:
    for first in ("", '"', "'"):
        source = (first + piece * (2_000_000 // len(piece)))[:2_000_000]
        try:
            get_language("cpp").read(Candidate(language="cpp", source=source))
        except CandidateError as error:
            print(error.finding)
"""


def test_no_source_keeps_the_judge_reading() -> None:
    """The judge's own process reads it, and no time limit holds there: the square of the length took hours."""
    done = subprocess.run([sys.executable, "-c", READ_ALL], capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    assert "missing_entry_point" in done.stdout


@pytest.mark.parametrize("text", ["/tmp/*", "//", "'", "/* void kernel(", '\\" /*'])
def test_what_looks_like_a_comment_in_a_string_is_none(text: str) -> None:
    source = f'static const char* text = "{text}"; {SCALE}'

    assert get_language("cpp").read(Candidate(language="cpp", source=source)) is EntryPoint.FUNCTION


@needs_gxx
def test_a_compiler_that_talks_without_end_is_no_burden(build, monkeypatch):
    """Its words are in a file, of which the beginning is read: the first error is found, and the rest costs nothing."""
    read: list[int] = []
    refusal = native.CompileJob._refusal
    monkeypatch.setattr(
        native.CompileJob, "_refusal", lambda self, output: read.append(len(output)) or refusal(self, output)
    )
    chatter = "x" * 1000
    lines = "".join(f'#pragma message "{chatter}"\n' for _ in range(1500))

    with pytest.raises(CandidateError) as caught:
        build(f"int wrong = nothing;\n{lines}\n{SCALE}")

    assert read == [native._OUTPUT_BYTES]
    assert caught.value.finding is Finding.COMPILER_ERROR
