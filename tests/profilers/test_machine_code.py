from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.evaluation.languages.triton_launches import compile_launch, record_launches
from kernelevolve.evaluation.platforms.disassembly import disassemble
from kernelevolve.profilers.static.amdgcn import read_amdgcn
from kernelevolve.profilers.static.machine_code import (
    Instruction,
    Listing,
    MachineFacts,
    Operation,
    Role,
    inside_loops,
)
from kernelevolve.profilers.static.sass import read_sass

SOURCE = Path(__file__).read_text()
NVIDIA, AMD = "cuda:sm_90", "hip:gfx950"
BOTH = pytest.mark.parametrize("target", [NVIDIA, AMD])
EVERYWHERE = pytest.mark.parametrize(
    "target", ["cuda:sm_80", "cuda:sm_89", "cuda:sm_90", "cuda:sm_100", "cuda:sm_120", "hip:gfx942", "hip:gfx950"]
)


@triton.jit
def scale(x, out, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index, tl.load(x + index) * 2 + 1)


@triton.jit
def strided(x, out, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index * 3, tl.load(x + index * 5))


@triton.jit
def mixed_half(x, out, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + index)
    tl.store(out + index, tl.exp(value.to(tl.float32)).to(tl.float16))


@triton.jit
def reduced(x, out, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    value = tl.load(x + index)
    total = tl.sum(value, 0)
    tl.store(out + index, value - total)


@triton.jit
def spilling(x, out, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    value = tl.load(x + index)
    total = tl.sum(value, 0)
    tl.store(out + index, value - total)


@triton.jit
def counted(x, out, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(out + tl.load(x + index).to(tl.int32), 1.0)


@triton.jit
def exponentials(x, out, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index, tl.exp(tl.load(x + index)))


@triton.jit
def by_argument(x, out, columns, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = index // columns
    tl.store(out + index, tl.load(x + row))


@triton.jit
def by_two_arguments(x, out, columns, depth, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index, tl.load(x + index // columns + index % depth))


@triton.jit
def by_argument_in_64_bits(x, out, columns, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row = index // columns
    tl.store(out + index, tl.load(x + row))


@triton.jit
def by_data(x, out, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index, 1000 // tl.load(x + index))


@triton.jit
def by_constant(x, out, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index, tl.load(x + index // 48))


@triton.jit
def in_floating_point(x, out, columns, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + index)
    tl.store(out + index, tl.math.div_rn(value, 7.5) + value / columns.to(tl.float32) + 1.0 / value)


@triton.jit
def looped(x, out, count, columns, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for step in range(count):
        total += tl.exp(tl.load(x + (index + step) // columns))
    tl.store(out + index, tl.sqrt(total))


@triton.jit
def product(a, b, out, K, SIZE: tl.constexpr):
    rows, columns, inner = tl.arange(0, SIZE), tl.arange(0, SIZE), tl.arange(0, 32)
    total = tl.zeros((SIZE, SIZE), dtype=tl.float32)
    for start in range(0, K, 32):
        left = tl.load(a + rows[:, None] * K + (start + inner)[None, :])
        right = tl.load(b + (start + inner)[:, None] * SIZE + columns[None, :])
        total = tl.dot(left, right, total)
    tl.store(out + rows[:, None] * SIZE + columns[None, :], total)


@pytest.fixture(scope="module", autouse=True)
def triton_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


@cache
def compile_text(kernel, target, *arguments, dtype=torch.float32, **options) -> str:
    """Machine code as text: SASS, or AMD's assembly."""
    x = torch.empty(1 << 20, dtype=dtype, device="meta")
    pointers = (x, x, x) if kernel is product else (x, x)
    [launch] = record_launches(lambda: kernel[(8,)](*pointers, *arguments, **options), (), {})
    compiled = compile_launch(launch, target)
    return disassemble(compiled.artifact) if target.startswith("cuda") else compiled.asm["amdgcn"]


def read(kernel, target, *arguments, **options) -> MachineFacts:
    text = compile_text(kernel, target, *arguments, **options)
    return read_sass(text, kernel.__name__, SOURCE) if target.startswith("cuda") else read_amdgcn(text, SOURCE)


def block(target: str, for_each_thread: int) -> int:
    """Elements of a block of four warps."""
    return 4 * (32 if target.startswith("cuda") else 64) * for_each_thread


@BOTH
def test_vectors_of_device_memory(target):
    whole = read(scale, target, block(target, 4))
    single = read(strided, target, block(target, 4))
    bytes_of_8_bits = read(strided, target, block(target, 2), dtype=torch.int8)

    assert whole.global_vectors == {16: 2}
    assert whole.mix.global_memory == 2
    assert single.global_vectors == {4: 8}
    assert bytes_of_8_bits.global_vectors == {1: 4}
    assert whole.mix.float == 4 or (target == AMD and whole.mix.float in (2, 4))


@BOTH
def test_half_precision_is_told_from_single_and_from_conversion(target):
    half = read(scale, target, block(target, 4), dtype=torch.float16)
    single = read(scale, target, block(target, 4))
    both = read(mixed_half, target, block(target, 4), dtype=torch.float16)

    assert half.mix.half >= 2
    assert (half.mix.float, half.mix.conversion) == (0, 0)
    assert (single.mix.half, single.mix.conversion) == (0, 0)
    assert (both.mix.half, both.mix.special) == (0, 4)
    assert both.mix.conversion >= 2
    assert both.mix.float >= 4


@BOTH
def test_exponentials_are_special(target):
    assert read(exponentials, target, block(target, 4)).mix.special == 4
    assert read(scale, target, block(target, 4)).mix.special == 0


@BOTH
def test_barriers_belong_to_the_line_that_called_the_library(target):
    facts = read(reduced, target, block(target, 4))

    assert facts.mix.barrier >= 1
    assert facts.mix.shared_memory >= 2
    assert facts.mix.shuffle >= 5
    assert [line.text for line in facts.barrier_lines] == ["total = tl.sum(value, 0)"]
    assert read(scale, target, block(target, 4)).barrier_lines == ()


def test_without_the_chain_of_inlining_lines_of_the_library_are_nobody_s():
    text = compile_text(reduced, NVIDIA, 1024)
    outermost_only = re.sub(r"( inlined at .*\n)(\s*//## File .*\n)+", r"\n", text)

    facts = read_sass(outermost_only, "reduced", SOURCE)

    assert facts.mix == read_sass(text, "reduced", SOURCE).mix
    assert facts.barrier_lines == ()


@pytest.mark.parametrize(("target", "options"), [(NVIDIA, {"maxnreg": 32}), (AMD, {"waves_per_eu": 8})])
def test_spills_and_their_lines(target, options):
    facts = read(spilling, target, block(target, 128), **options)
    roomy = read(spilling, target, block(target, 4))

    assert facts.mix.local_memory >= 90
    assert {line.text for line in facts.spill_lines} & {
        "value = tl.load(x + index)",
        "total = tl.sum(value, 0)",
        "tl.store(out + index, value - total)",
    }
    assert facts.global_vectors.keys() <= {4, 8, 16}
    assert (roomy.mix.local_memory, roomy.spill_lines) == (0, ())


@BOTH
def test_atomics_are_part_of_device_memory(target):
    facts = read(counted, target, block(target, 1))

    assert facts.mix.atomic >= 1
    assert facts.mix.global_memory == facts.mix.atomic + 1
    assert facts.global_vectors == {4: 1}
    assert read(scale, target, block(target, 1)).mix.atomic == 0


@BOTH
def test_divisions_by_unknown_values(target):
    one = read(by_argument, target, 3001, block(target, 4))
    two = read(by_two_arguments, target, 3001, 77, block(target, 1))
    data = read(by_data, target, block(target, 4), dtype=torch.int32)

    assert one.divisions == one.mix.division == 1
    assert [line.text for line in one.division_lines] == ["row = index // columns"]
    assert two.divisions == 2
    assert data.divisions == 4


@EVERYWHERE
@pytest.mark.parametrize("for_each_thread", [1, 2])
def test_a_division_in_64_bits_counts_once(target, for_each_thread):
    facts = read(by_argument_in_64_bits, target, 3001, block(target, for_each_thread))

    assert facts.divisions == for_each_thread
    assert [line.text for line in facts.division_lines] == ["row = index // columns"]


@EVERYWHERE
def test_other_divisions_do_not_count(target):
    constant = read(by_constant, target, block(target, 1))
    floating = read(in_floating_point, target, 3001, block(target, 1))

    assert (constant.divisions, constant.division_lines) == (0, ())
    assert (floating.divisions, floating.division_lines) == (0, ())
    assert floating.mix.special >= 1


@EVERYWHERE
def test_what_is_inside_a_loop(target):
    facts = read(looped, target, 100, 3001, block(target, 1))

    # Compilers unroll it, and put what is left over before or behind it; square root and store come after it for sure.
    assert 1 <= facts.loop_mix.special < facts.mix.special
    assert 1 <= facts.loop_mix.global_memory < facts.mix.global_memory
    assert 0 < facts.loop_mix.total < facts.mix.total
    assert facts.loop_mix.division <= facts.mix.division >= 1
    assert facts.loop_mix.control >= 1
    assert facts.notes == ()


@BOTH
def test_a_kernel_without_a_loop_has_none(target):
    assert read(scale, target, block(target, 4)).loop_mix.total == 0


@EVERYWHERE
def test_matrix_units_and_asynchronous_copies(target):
    facts = read(product, target, 512, 128, dtype=torch.float16)

    expected = {
        "cuda:sm_80": "HMMA",
        "cuda:sm_89": "HMMA",
        "cuda:sm_90": "HGMMA",
        "cuda:sm_100": "UTCHMMA",
        "cuda:sm_120": "HMMA",
        "hip:gfx942": "v_mfma_f32_32x32x8_f16",
        "hip:gfx950": "v_mfma_f32_32x32x16_f16",
    }
    assert list(facts.matrix_instructions) == [expected[target]]
    assert facts.matrix_instructions[expected[target]] == facts.mix.matrix
    assert facts.loop_mix.matrix > 0
    # The result is stored after the loop.
    assert facts.loop_mix.global_memory < facts.mix.global_memory
    assert facts.loop_mix.total < 0.8 * facts.mix.total
    # CDNA 3 copies words only, so Triton goes through registers there.
    assert (facts.asynchronous > 0) is (target != "hip:gfx942")
    assert facts.notes == ()


@pytest.mark.parametrize("target", ["hip:gfx942", "hip:gfx950"])
@pytest.mark.parametrize(
    ("kernel", "arguments"), [(looped, (100, 3001, 256)), (product, (512, 128)), (by_argument_in_64_bits, (3001, 512))]
)
def test_loops_agree_with_llvm(target, kernel, arguments):
    text = compile_text(kernel, target, *arguments)

    inside, in_loops, leaving = False, 0, 0
    before = ""
    for line in text[: text.index(".amdgpu_metadata")].splitlines():
        if re.match(r"\.LBB|; %bb\.", line):
            inside = "Loop" in line
        elif re.match(r"\s+; .*Loop", line):
            inside = True
        elif inside and re.match(r"\t[a-z]", line) and not line.startswith("\ts_nop"):
            in_loops += 1
            # LLVM's block goes on behind a conditional branch back; what follows it leaves the loop.
            leaving += line.startswith("\ts_branch") and before.startswith("\ts_cbranch")
            before = line
    found = read(kernel, target, *arguments).loop_mix.total
    assert in_loops - leaving <= found <= in_loops
    assert (found > 0) is (kernel is not by_argument_in_64_bits)


def test_an_opcode_that_is_not_known_is_counted_and_named():
    text = compile_text(scale, NVIDIA, 512)
    facts = read_sass(text.replace(" FFMA ", " FROBNICATE.X "), "scale", SOURCE)
    amd = compile_text(exponentials, AMD, 1024)
    amd_facts = read_amdgcn(amd.replace("v_exp_f32_e32", "v_frobnicate"), SOURCE)

    assert facts.notes == ("Opcodes that are not known: FROBNICATE (4).",)
    assert facts.mix.float == 0
    assert facts.mix.total == read_sass(text, "scale", SOURCE).mix.total
    assert amd_facts.notes == ("Opcodes that are not known: v_frobnicate (4).",)


def test_a_kernel_that_is_not_there_is_said():
    facts = read_sass(compile_text(scale, NVIDIA, 512), "strided", SOURCE)

    assert facts == MachineFacts(notes=("The machine code has no kernel strided; its functions: scale.",))
    assert read_sass("", "scale", SOURCE).notes == ("The machine code has no kernel scale; its functions: none.",)
    assert read_amdgcn("", SOURCE).notes == ("The machine code has no instructions.",)


def test_half_a_text_is_read_as_far_as_it_goes():
    nvidia, amd = compile_text(looped, NVIDIA, 100, 3001, 128), compile_text(looped, AMD, 100, 3001, 256)

    nvidia_totals = [
        read_sass(nvidia[:end], "looped", SOURCE).mix.total for end in range(0, len(nvidia), len(nvidia) // 40)
    ]
    amd_totals = [read_amdgcn(amd[:end], SOURCE).mix.total for end in range(0, len(amd), len(amd) // 40)]

    assert nvidia_totals == sorted(nvidia_totals)
    assert amd_totals == sorted(amd_totals)
    assert nvidia_totals[0] == amd_totals[0] == 0


CUDA = """
__noinline__ __device__ float series(float a, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += a * sum + i;
  return sum;
}
namespace space {
template <typename T> __global__ void halves(T* x, long long n) {
  int i = threadIdx.x;
  x[i] = x[i] / T(2);
  x[n / i] = n;
}
}
template __global__ void space::halves<double>(double*, long long);
__global__ void swapped(float* x) {
  __shared__ float tile[256];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = tile[255 - threadIdx.x];
}
__global__ void calling(float* x, int n) {
  for (int i = 0; i < n; ++i) x[i] = series(x[i], i);
}
__global__ void calling_once(float* x, int n) {
  x[1] = series(x[0], n);
}
__global__ void small(short* x) { x[threadIdx.x] = x[threadIdx.x + 1] / x[threadIdx.x]; }
"""
ARCHITECTURES = pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_120"])


@pytest.fixture(scope="module")
def cubins(tmp_path_factory):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not on PATH")
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "kernels.cu").write_text(CUDA)

    @cache
    def build(architecture: str) -> Path:
        cubin = folder / f"{architecture}.cubin"
        command = ["nvcc", "-cubin", "-lineinfo", f"-arch={architecture}", "kernels.cu", "-o", cubin.name]
        subprocess.run(command, cwd=folder, check=True)
        return cubin

    return build


@ARCHITECTURES
def test_kernels_of_cuda_cpp(cubins, architecture):
    text = disassemble(cubins(architecture).read_bytes())

    swapped = read_sass(text, "swapped", CUDA)
    halves = read_sass(text, "halves", CUDA)
    small = read_sass(text, "_Z5smallPs", CUDA)

    assert swapped.mix.barrier == 1
    assert [line.text for line in swapped.barrier_lines] == ["__syncthreads();"]
    assert swapped.global_vectors == {4: 2}
    assert halves.divisions == 1
    assert len(halves.division_lines) == 1
    assert small.divisions == 1
    assert small.global_vectors == {2: 3}


@ARCHITECTURES
def test_a_routine_is_in_a_loop_where_it_is_called_from_one(cubins, architecture):
    text = disassemble(cubins(architecture).read_bytes())

    from_loop = read_sass(text, "calling", CUDA)
    once = read_sass(text, "calling_once", CUDA)

    assert from_loop.loop_mix.float == from_loop.mix.float > 0
    # The routine's own loop is one all the same, but its beginning and its end are not in it.
    assert 0 < once.loop_mix.total < once.mix.total - 5


@ARCHITECTURES
@pytest.mark.parametrize("kernel", ["swapped", "halves", "calling", "calling_once"])
def test_cuobjdump_says_the_same(cubins, architecture, kernel):
    cubin = cubins(architecture)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    text = subprocess.run([tool, "-sass", cubin], capture_output=True, text=True, check=True).stdout

    facts = read_sass(text, kernel, CUDA)
    expected = read_sass(disassemble(cubin.read_bytes()), kernel, CUDA)

    assert (facts.mix, facts.loop_mix, facts.global_vectors) == (
        expected.mix,
        expected.loop_mix,
        expected.global_vectors,
    )


AMPERE = """
        .section        .text.kernel,"ax",@progbits
kernel:
.text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_2:
        /*0010*/                   FADD R2, R2, R3 ;
        /*0020*/               @P5 CALL.REL.NOINC `(.L_x_1) ;
        /*0030*/                   BRA `(.L_x_2) ;
.L_x_1:
        /*0040*/                   BRA `(.L_x_3) ;
.L_x_3:
        /*0050*/                   FMUL R2, R2, R3 ;
        /*0060*/                   EXIT ;
.L_x_4:
        /*0070*/                   BRA `(.L_x_4);
        /*0080*/                   NOP;
"""


def test_a_call_that_never_returns_leaves_the_loop():
    # This is how ptxas leaves the main loop of a matrix multiplication for sm_80.
    facts = read_sass(AMPERE, "kernel", "")

    assert facts.mix.total == 7
    assert (facts.loop_mix.total, facts.loop_mix.float) == (3, 1)


STEP = Operation(Role.OTHER)


@st.composite
def listings(draw) -> Listing:
    count = draw(st.integers(1, 12))
    places = st.integers(0, count)
    instructions = [
        Instruction(
            STEP,
            None,
            targets=tuple(f"L{place}" for place in draw(st.lists(places, max_size=2))),
            falls_through=draw(st.booleans()),
        )
        for _ in range(count)
    ]
    return Listing(instructions, {f"L{place}": place for place in range(count + 1)})


@given(listings())
def test_an_instruction_is_in_a_loop_when_it_can_come_again(listing):
    count = len(listing.instructions)
    following = [
        {
            *(listing.labels[label] for label in entry.targets if listing.labels[label] < count),
            *([index + 1] if entry.falls_through and index + 1 < count else []),
        }
        for index, entry in enumerate(listing.instructions)
    ]

    def comes_again(start: int) -> bool:
        reached, waiting = set(), [start]
        while waiting:
            for place in following[waiting.pop()] - reached:
                reached.add(place)
                waiting.append(place)
        return start in reached

    assert inside_loops(listing) == [comes_again(index) for index in range(count)]
