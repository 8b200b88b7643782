"""The static view of C++ candidates, on code that g++ makes here, and on recorded output of others."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, PlatformError
from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.languages.cpp import CppLanguage
from kernelevolve.evaluation.languages.cpp_code import kernel_code, own_code, own_remarks, read_disassembly
from kernelevolve.evaluation.platform import get_platform
from kernelevolve.profilers.report import LoopRemark, StaticKernel
from kernelevolve.profilers.static.cpp import read_cpp

pytestmark = pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump (binutils) is not here")
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the code is for x86-64")

FRAME = """{flags}
#include <cmath>
#include <vector>
{before}
void kernel(TensorView x, TensorView y, TensorView out) {{
  const float* a = static_cast<const float*>(x.data_ptr());
  const float* b = static_cast<const float*>(y.data_ptr());
  float* o = static_cast<float*>(out.data_ptr());
  const int64_t n = x.numel();
  const int64_t d = y.size(0);
{body}
}}
"""


def framed(body: str, flags: str = "-O3", before: str = "") -> str:
    return FRAME.format(body=body, before=before, flags=f"// kernelevolve: flags {flags}" if flags else "")


def code_of(source: str, folder: Path) -> KernelCode:
    scratch = folder / "scratch"
    scratch.mkdir()
    (code,) = kernel_code(Candidate(language="cpp", source=source), scratch, 60.0)
    return code


def read(source: str, folder: Path) -> StaticKernel:
    return read_cpp(code_of(source, folder), source)


def only(kernel: StaticKernel) -> LoopRemark:
    (remark,) = kernel.remarks
    return remark


# -- the code ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["", "-O3", "-O3 -march=native -ffast-math", "-O1 -funroll-loops"])
def test_line_tables_and_remarks_change_no_instruction(tmp_path: Path, flags: str) -> None:
    body = """
  std::vector<float> sums;
  #pragma omp parallel for
  for (int64_t i = 0; i < n; ++i) o[i] = std::exp(a[i]) + b[i % d];
  for (int64_t i = 0; i < n; ++i) sums.push_back(a[i]);
  for (int64_t i = 0; i < n; ++i) o[0] += sums[i];"""
    candidate = Candidate(language="cpp", source=framed(body, flags))
    plain, lined = tmp_path / "plain", tmp_path / "lined"
    plain.mkdir()
    lined.mkdir()
    artifact = CppLanguage().build(candidate, get_platform("cpu"), plain, 60.0)
    kernel_code(candidate, lined, 60.0)
    assert artifact.library is not None
    assert instructions(artifact.library) == instructions(lined / "lines.so")
    assert b".debug_line" in (lined / "lines.so").read_bytes()
    assert b".debug_line" not in artifact.library.read_bytes()


def instructions(library: Path) -> str:
    done = subprocess.run(["objdump", "-d", library], capture_output=True, text=True, check=True)
    return done.stdout.split("file format", 1)[1]


def test_the_assembly_is_the_candidates_own(tmp_path: Path) -> None:
    source = framed("""
  std::vector<float> sorted(a, a + n);
  for (int64_t i = 0; i < n; ++i) sorted.push_back(std::fmax(a[i], 0.0f));
  #pragma omp parallel for
  for (int64_t i = 0; i < n; ++i) o[i] = a[i] + sorted[i];""")
    code = code_of(source, tmp_path)
    functions = read_disassembly(code.stages["assembly"])
    names = [function.name.split("(")[0] for function in functions]
    assert set(names) == {"kernel"}, names
    assert any("._omp_fn.0" in function.name for function in functions)
    assert "_M_realloc_insert" in code.stages["assembly"]  # It is called,
    assert not any("_M_realloc_insert" in function.name for function in functions)  # and not shown.
    lines = {entry.line for function in functions for entry in function.instructions}
    first = source.splitlines().index("  std::vector<float> sorted(a, a + n);") + 1
    assert {first, first + 1, first + 3} <= lines
    assert all(line is None or 1 <= line <= len(source.splitlines()) for line in lines)


def test_a_static_kernel_is_found_where_it_was_inlined(tmp_path: Path) -> None:
    source = framed("  for (int64_t i = 0; i < n; ++i) o[i] = a[i] * b[i];").replace(
        "void kernel", "static void kernel"
    )
    code = code_of(source, tmp_path)
    functions = read_disassembly(code.stages["assembly"])
    assert [function.own for function in functions] == [False] * len(functions)
    kernel = read_cpp(code, source)
    assert only(kernel).vectorized
    assert kernel.loop_mix.vector > 0


def test_reading_own_code_again_changes_nothing(tmp_path: Path) -> None:
    assembly = code_of(framed("  for (int64_t i = 0; i < n; ++i) o[i] = std::sqrt(a[i]);"), tmp_path).stages["assembly"]
    assert own_code(assembly) == assembly


def test_a_source_that_does_not_compile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandidateError) as raised:
        code_of(framed("  undeclared = 1;"), tmp_path)
    assert "undeclared" in raised.value.log


def test_without_objdump_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match="objdump"):
        code_of(framed(""), tmp_path)


# -- loops ------------------------------------------------------------------------------------------------------------


def test_a_vectorized_loop(tmp_path: Path) -> None:
    source = framed("  for (int64_t i = 0; i < n; ++i)\n    o[i] = a[i] * b[i] + 1.0f;")
    remark = only(read(source, tmp_path))
    assert remark.vectorized
    assert remark.vector_bytes == 16
    assert remark.reason == ""
    assert remark.where is not None
    assert remark.where.text == "for (int64_t i = 0; i < n; ++i)"
    assert source.splitlines()[remark.where.line - 1].strip() == remark.where.text


@pytest.mark.parametrize(
    ("body", "flags", "plain", "phrase"),
    [
        ("for (int64_t i = 0; i < n; ++i) o[i] = a[i] * 2;", "", "__restrict__", "runtime alias check"),
        ("for (int64_t i = 0; i < n; ++i) o[b[i] > 0] = a[i];", "-O3", "", ""),
        ("for (int64_t i = 1; i < n; ++i) o[i] = o[i - 1] * a[i];", "-O3", "an earlier one wrote", "dependence"),
        ("for (int64_t i = 0; i < n; ++i) o[i] = std::tgamma(a[i]);", "-O3", "calls tgammaf", "function calls"),
        ("for (int64_t i = 0; i < n; ++i) o[i] = std::exp(a[i]);", "-O3", "-fno-math-errno", "function calls"),
        ("for (int64_t i = 0; i < n; ++i) { if (a[i] > 3) break; o[i] = b[i]; }", "-O3", "control flow", ""),
        ("while (o[0] > 1) o[0] = o[0] / 2;", "-O3", "how often", "number of iterations"),
        ("int64_t s = 0; for (int64_t i = 0; i < n; ++i) s += i / d; o[0] = s;", "-O3", "divides integers", "/"),
        ("float s = 0; for (int64_t i = 0; i < n; ++i) s += a[i]; o[0] = s;", "-O3", "additions", "in-order"),
        ("float s = 0; for (int64_t i = 0; i < n; ++i) s = s * a[i] + b[i]; o[0] = s;", "-O3", "carried", ""),
    ],
)  # fmt: skip
def test_why_a_loop_is_not_vectorized(tmp_path: Path, body: str, flags: str, plain: str, phrase: str) -> None:
    remark = only(read(framed(f"  {body}", flags), tmp_path))
    assert not remark.vectorized
    assert plain in remark.reason
    assert phrase in remark.reason.split("(g++:")[1]


def test_a_sum_is_vectorized_once_its_order_is_free(tmp_path: Path) -> None:
    body = "  float s = 0; for (int64_t i = 0; i < n; ++i) s += a[i]; o[0] = s;"
    assert only(read(framed(body, "-O3 -ffast-math"), tmp_path)).vectorized


def test_vector_math_counts_as_vectors(tmp_path: Path) -> None:
    kernel = read(framed("  for (int64_t i = 0; i < n; ++i) o[i] = std::exp(a[i]);", "-O3 -fno-math-errno"), tmp_path)
    assert only(kernel).vectorized
    assert kernel.loop_mix.special > 0


def test_an_openmp_loop(tmp_path: Path) -> None:
    body = "  #pragma omp parallel for\n  for (int64_t i = 0; i < n; ++i) {\n    o[i] = a[i] + 1.0f;\n  }"
    kernel = read(framed(body), tmp_path)
    remark = only(kernel)
    assert remark.vectorized
    assert remark.where is not None
    assert remark.where.text == "for (int64_t i = 0; i < n; ++i) {"
    assert kernel.divisions == ()  # The division that shares out the iterations runs once for each thread.
    assert kernel.mix.division > 0


def test_of_a_nest_the_innermost_loop_is_told(tmp_path: Path) -> None:
    body = """
  for (int64_t i = 0; i < n / d; ++i) {
    for (int64_t j = 0; j < d; ++j) {
      o[i * d + j] = a[i * d + j] * b[j];
    }
  }"""
    remark = only(read(framed(body), tmp_path))
    assert remark.where is not None
    assert "int64_t j" in remark.where.text


def test_a_loop_around_an_unrolled_one_is_the_innermost(tmp_path: Path) -> None:
    body = """
  for (int64_t i = 0; i < n; ++i) {
    for (int k = 0; k < 3; ++k)
      o[i] = o[i] * a[i] + b[i];
  }"""
    remark = only(read(framed(body), tmp_path))
    assert remark.where is not None
    assert "int64_t i" in remark.where.text
    assert remark.vectorized


@on_x86
def test_intrinsics_are_vectors_though_the_compiler_vectorized_nothing(tmp_path: Path) -> None:
    before = '#include <immintrin.h>\n#pragma GCC target("avx2,fma")'
    body = """
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i + 8 <= n; i += 8)
    sum = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), sum);
  _mm256_storeu_ps(o, sum);"""
    remark = only(read(framed(body, before=before), tmp_path))
    assert remark.vectorized
    assert remark.vector_bytes == 32


def test_a_loop_that_became_a_library_call(tmp_path: Path) -> None:
    remark = only(read(framed("  for (int64_t i = 0; i < n; ++i) o[i] = 0;"), tmp_path))
    assert remark.vectorized
    assert "memset" in remark.reason


def test_a_loop_with_another_one_in_its_condition(tmp_path: Path) -> None:
    remark = only(read(framed("  for (int64_t i = 0; i < x.numel(); ++i)\n    o[i] = 2 * a[i];"), tmp_path))
    assert not remark.vectorized
    assert ".numel()" in remark.reason


def test_a_loop_that_was_unrolled_completely(tmp_path: Path) -> None:
    remark = only(read(framed("  float s = 1;\n  for (int k = 0; k < 2; ++k) s = s / a[k];\n  o[0] = s;"), tmp_path))
    assert not remark.vectorized
    assert "unrolled completely" in remark.reason


def test_loops_in_comments_strings_and_unused_templates_are_none(tmp_path: Path) -> None:
    before = "template <int N> void unused(float* p) { for (int i = 0; i < N; ++i) p[i] = 0; }"
    body = (
        '  // for (int i = 0; i < 3; ++i)\n  /* while (true) */ const char* text = "do { } while (1);"; o[0] = text[d];'
    )
    assert read(framed(body, before=before), tmp_path).remarks == ()


def test_without_optimization_it_says_that_the_vectorizer_is_off(tmp_path: Path) -> None:
    kernel = read(framed("  for (int64_t i = 0; i < n; ++i) o[i] = a[i];", "-O1"), tmp_path)
    assert not only(kernel).vectorized
    assert "did not run" in only(kernel).reason
    assert "-O2" in kernel.notes[0]


# -- instructions -----------------------------------------------------------------------------------------------------


def test_integer_division_is_found_on_its_line(tmp_path: Path) -> None:
    body = "  int64_t s = 0;\n  for (int64_t i = 0; i < n; ++i)\n    s += i % d;\n  o[0] = s;"
    kernel = read(framed(body), tmp_path)
    assert [line.text for line in kernel.divisions] == ["s += i % d;"]
    assert kernel.loop_mix.division == 1


def test_division_by_a_constant_and_of_floats_are_none(tmp_path: Path) -> None:
    kernel = read(framed("  for (int64_t i = 0; i < n; ++i) o[i] = a[i / 3] / b[i];"), tmp_path)
    assert kernel.divisions == ()
    assert kernel.loop_mix.division == 0
    assert kernel.loop_mix.special > 0


def test_spills_are_found_in_the_loop(tmp_path: Path) -> None:
    # Forty sums that each need the one before: more live values than x86-64 or AArch64 has vector registers.
    names = [f"s{number}" for number in range(40)]
    start = "".join(f"  float {name} = b[{number}];\n" for number, name in enumerate(names))
    steps = "".join(f"    {name} = {name} * a[i] + {names[number - 1]};\n" for number, name in enumerate(names))
    end = "  o[0] = " + " + ".join(names) + ";"
    crowded = read(framed(f"{start}  for (int64_t i = 0; i < n; ++i) {{\n{steps}  }}\n{end}"), tmp_path)
    assert crowded.loop_mix.local_memory >= 8
    assert crowded.spill_lines
    assert all(re.match(r"s\d+ = |for", line.text) for line in crowded.spill_lines)


def test_a_small_loop_has_no_spills(tmp_path: Path) -> None:
    kernel = read(framed("  for (int64_t i = 0; i < n; ++i) o[i] = a[i] * b[i];"), tmp_path)
    assert kernel.loop_mix.local_memory == 0
    assert kernel.spill_lines == ()
    assert kernel.loop_mix.global_memory >= 3
    assert kernel.loop_mix.total < kernel.mix.total


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("for (int64_t i = 1; i < n; ++i) o[i] = o[i - 1] * a[i];", {"scalar_float"}),
        ("for (int64_t i = 0; i < n; ++i) o[i] = std::sqrt(a[i]);", {"special", "global_memory", "control"}),
        ("for (int64_t i = 0; i < n; ++i) o[i] = static_cast<float>(i);", {"conversion"}),
        ("for (int64_t i = 0; i < n; ++i) { int v = i * 7; __atomic_fetch_add((int*)o, v, 5); }", {"atomic"}),
    ],
)
def test_instructions_are_counted_by_what_they_do(tmp_path: Path, body: str, fields: set[str]) -> None:
    mix = read(framed(f"  {body}"), tmp_path).loop_mix.model_dump()
    assert {name for name in fields if mix[name] > 0} == fields


@on_x86
def test_matrix_tiles(tmp_path: Path) -> None:
    before = '#include <immintrin.h>\n#pragma GCC target("amx-tile,amx-bf16")'
    body = """
  for (int64_t i = 0; i < n; ++i) {
    _tile_loadd(1, a + i * 512, 64);
    _tile_loadd(2, b, 64);
    _tile_dpbf16ps(0, 1, 2);
  }
  _tile_stored(0, o, 64);"""
    kernel = read(framed(body, before=before), tmp_path)
    assert kernel.loop_mix.matrix >= 1
    (operation,) = kernel.matrix_operations
    assert (operation.unit, operation.input_dtype) == ("amx", "bfloat16")
    assert operation.where is not None
    assert operation.where.text == "_tile_dpbf16ps(0, 1, 2);"
    assert only(kernel).vectorized


# -- recorded output --------------------------------------------------------------------------------------------------

ARM_SOURCE = """\
typedef float f4 __attribute__((vector_size(16)));
void kernel(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ o, long n, long d) {
  for (long i = 0; i < n; ++i)
    o[i] = a[i] * b[i] + 1.0f;
  float sum = 0;
  for (long i = 0; i < n; ++i)
    sum += a[i] * b[i];
  long s = 0;
  for (long i = 0; i < n; ++i)
    s += i / d;
}
"""
# aarch64-linux-gnu-g++ 14.2 -O3 -g1 and objdump 2.44 -d -l -C, shortened.
ARM_ASSEMBLY = """
0000000000000000 <kernel(float const*, float const*, float*, long, long)>:
kernel(float const*, float const*, float*, long, long):
/scratch/kernel.cpp:3
   0:	cmp	x3, #0x0
   4:	b.le	9c <kernel(float const*, float const*, float*, long, long)+0x9c>
   8:	stp	x29, x30, [sp, #-96]!
   c:	mov	x29, sp
/scratch/kernel.cpp:4
  10:	fmov	v30.4s, #1.000000000000000000e+00
  14:	nop
  18:	ldr	q29, [x0, x5]
  1c:	ldr	q28, [x1, x5]
  20:	mov	v27.16b, v30.16b
  24:	fmla	v27.4s, v29.4s, v28.4s
  28:	str	q27, [x2, x5]
  2c:	add	x5, x5, #0x10
  30:	cmp	x5, x7
  34:	b.ne	18 <kernel(float const*, float const*, float*, long, long)+0x18>  // b.any
/scratch/kernel.cpp:7
  38:	ldr	q30, [x0, x5]
  3c:	ldr	q31, [x1, x5]
  40:	add	x5, x5, #0x10
  44:	fmul	v31.4s, v31.4s, v30.4s
  48:	fadd	s15, s15, s31
  4c:	mov	s29, v31.s[1]
  50:	mov	s30, v31.s[2]
  54:	mov	s31, v31.s[3]
  58:	fadd	s29, s29, s15
  5c:	fadd	s30, s30, s29
  60:	fadd	s15, s30, s31
  64:	cmp	x6, x5
  68:	b.ne	38 <kernel(float const*, float const*, float*, long, long)+0x38>  // b.any
/scratch/kernel.cpp:10
  6c:	sdiv	x6, x5, x4
  70:	str	x2, [sp, #88]
/scratch/kernel.cpp:9 (discriminator 3)
  74:	add	x5, x5, #0x1
/scratch/kernel.cpp:10
  78:	add	x20, x20, x6
/scratch/kernel.cpp:9
  7c:	cmp	x3, x5
  80:	b.ne	6c <kernel(float const*, float const*, float*, long, long)+0x6c>  // b.any
  84:	ldp	x29, x30, [sp], #96
  9c:	ret
"""
ARM_REMARKS = """\
kernel.cpp:9:22: missed:   op not supported by target.
kernel.cpp:10:12: missed:   not vectorized: relevant stmt not supported: _17 = i_93 / d_63(D);
kernel.cpp:9:22: missed:  bad operation or unsupported loop bound.
kernel.cpp:9:22: missed: couldn't vectorize loop
kernel.cpp:10:12: missed: not vectorized: relevant stmt not supported: _17 = i_93 / d_63(D);
kernel.cpp:6:22: note:   using an in-order (fold-left) reduction.
kernel.cpp:6:22: optimized: loop vectorized using 16 byte vectors
kernel.cpp:3:22: missed:   Unknown misalignment, naturally aligned
kernel.cpp:3:22: optimized: loop vectorized using 16 byte vectors
"""


def test_aarch64() -> None:
    stages = {"assembly": ARM_ASSEMBLY, "remarks": ARM_REMARKS}
    kernel = read_cpp(KernelCode(kernel="kernel", target="cpu", language="cpp", stages=stages), ARM_SOURCE)
    assert [(entry.where and entry.where.line, entry.vectorized) for entry in kernel.remarks] == [
        (3, True), (6, False), (9, False),
    ]  # fmt: skip
    assert [entry.line for entry in kernel.divisions] == [10]
    assert [entry.line for entry in kernel.spill_lines] == [10]
    loop = kernel.loop_mix
    assert (loop.scalar_float, loop.division, loop.local_memory, loop.global_memory) == (4, 1, 1, 5)
    assert loop.vector == 7  # Five loads and stores of whole registers, fmla, fmul.
    assert kernel.mix.local_memory == 3
    assert kernel.mix.total == loop.total + 7


def recorded(remarks: str, source: str) -> tuple[LoopRemark, ...]:
    code = KernelCode(kernel="kernel", target="cpu", language="cpp", stages={"remarks": own_remarks(remarks)})
    return read_cpp(code, source).remarks


@pytest.mark.parametrize(
    ("message", "width"),
    [
        ("optimized: loop vectorized using 32 byte vectors", 32),
        ("optimized: loop vectorized using 64 byte vectors and unroll factor 16", 64),
        ("optimized: loop vectorized using variable length vectors", None),
    ],
)
def test_how_versions_of_gcc_say_that_a_loop_was_vectorized(message: str, width: int | None) -> None:
    source = "void kernel() {\n  for (;;) {\n    a = b;\n  }\n}\n"
    epilogue = "kernel.cpp:2:3: optimized: epilogue loop vectorized using masked 16 byte vectors and unroll factor 4"
    (remark,) = recorded(f"kernel.cpp:2:3: {message}\n{epilogue}", source)
    assert remark.vectorized
    assert remark.vector_bytes == (width or 16)


def test_vectorized_in_one_version_is_vectorized() -> None:
    source = "void kernel() {\n  for (;;) {\n    a = b;\n  }\n}\n"
    remarks = """\
/usr/include/c++/12/bits/stl_algo.h:9:9: missed: couldn't vectorize loop
kernel.cpp:3:3: missed:   not vectorized, possible dependence between data-refs *_44 and *_48
kernel.cpp:2:3: missed: couldn't vectorize loop
kernel.cpp:2:3: optimized: loop vectorized using 16 byte vectors
kernel.cpp:2:3: missed: couldn't vectorize loop"""
    (remark,) = recorded(remarks, source)
    assert remark.vectorized


def test_early_exits_as_gcc_14_words_them() -> None:
    source = "void kernel() {\n  for (;;) {\n    if (a) break;\n  }\n}\n"
    remarks = """\
kernel.cpp:3:12: missed:   versioning for alias required: can't determine dependence between *_15 and *_17
kernel.cpp:2:25: missed:    early breaks not supported: vectorization would read beyond size of obj.
kernel.cpp:2:25: missed:  bad data dependence.
kernel.cpp:2:25: missed: couldn't vectorize loop"""
    (remark,) = recorded(remarks, source)
    assert "control flow" in remark.reason
    assert "early breaks not supported" in remark.reason
