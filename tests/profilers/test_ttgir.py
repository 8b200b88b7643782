from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.profilers.report import AccessKind
from kernelevolve.profilers.static.ttgir import TtgirFacts, read_ttgir

# -- kernels --------------------------------------------------------------------------------------------------------


@triton.jit
def copy(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n), mask=at < n)


@triton.jit
def copy_wide(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at))


@triton.jit
def shifted(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + 1 + at))


@triton.jit
def wrapped(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at % n))


@triton.jit
def clamped(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + tl.minimum(at, n - 1)))


@triton.jit
def every_third(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at * 3))


@triton.jit
def every_nth(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at * n))


@triton.jit
def transpose(x, y, n, m, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    tile = tl.load(x + row[:, None] * n + col[None, :])
    tl.store(y + row[:, None] + col[None, :] * m, tile)


@triton.jit
def two_strides(x, y, n, m, BLOCK: tl.constexpr):
    row = tl.arange(0, BLOCK)
    tl.store(y + row[:, None] * n + row[None, :] * m, tl.load(x + row[:, None] * 64 + row[None, :]))


@triton.jit
def tile_of_flat(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tile = tl.reshape(tl.load(x + (at // 32) * 100 + at % 32), [BLOCK // 32, 32])
    tl.store(y + tl.arange(0, 32)[:, None] * 32 + tl.arange(0, BLOCK // 32)[None, :], tl.trans(tile))


@triton.jit
def gather(x, ids, y, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    index = tl.load(ids + at)
    tl.atomic_add(y + index, tl.load(x + index))


@triton.jit
def gather_rows(x, ids, y, ROWS: tl.constexpr, COLS: tl.constexpr):
    row, col = tl.arange(0, ROWS), tl.arange(0, COLS)
    index = tl.load(ids + row)
    tl.store(y + row[:, None] * COLS + col[None, :], tl.load(x + index[:, None] * COLS + col[None, :]))


@triton.jit
def search(x, ids, y, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    wanted = tl.load(ids + at)
    low = tl.zeros((BLOCK,), tl.int32)
    for step in range(8):
        low += tl.where(tl.load(x + low) < wanted, 128 >> step, 0)
    tl.store(y + at, low)


@triton.jit
def product(a, b, c, k, stride_a, stride_b, stride_c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
            PRECISION: tl.constexpr):  # fmt: skip
    row, col, depth = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    at_a = a + row[:, None] * stride_a + depth[None, :]
    at_b = b + depth[:, None] * stride_b + col[None, :]
    sums = tl.zeros((M, N), tl.float32)
    for _ in range(0, k, K):
        sums = tl.dot(tl.load(at_a), tl.load(at_b), sums, input_precision=PRECISION)
        at_a += K
        at_b += K * stride_b
    tl.store(c + row[:, None] * stride_c + col[None, :], sums)


@triton.jit
def product_described(a, b, c, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    tiles_a = tl.make_tensor_descriptor(a, [m, k], [k, 1], [M, K])
    tiles_b = tl.make_tensor_descriptor(b, [k, n], [n, 1], [K, N])
    tiles_c = tl.make_tensor_descriptor(c, [m, n], [n, 1], [M, N])
    row, col = tl.program_id(0) * M, tl.program_id(1) * N
    sums = tl.zeros((M, N), tl.float32)
    for at in range(0, k, K):
        sums = tl.dot(tiles_a.load([row, at]), tiles_b.load([at, col]), sums)
    tiles_c.store([row, col], sums.to(tl.float16))


@triton.jit
def product_specialized(a, b, c, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    row, col = tl.program_id(0) * M, tl.program_id(1) * N
    sums = tl.zeros((M, N), tl.float32)
    for at in tl.range(0, k, K, warp_specialize=True):
        sums = tl.dot(a.load([row, at]), b.load([col, at]).T, sums)
    c.store([row, col], sums.to(tl.float16))


@triton.jit
def products_of_taps(a, b, c, k, taps, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    row, col, depth = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    sums = tl.zeros((M, N), tl.float32)
    for start in range(0, k, K):
        for tap in range(taps):
            left = tl.load(a + (tap * M + row[:, None]) * k + start + depth[None, :])
            right = tl.load(b + (tap * k + start + depth[:, None]) * N + col[None, :])
            sums = tl.dot(left, right, sums)
    tl.store(c + row[:, None] * N + col[None, :], sums)


@triton.jit
def loops(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    for i in range(16):
        tl.store(y + i * BLOCK + at, tl.load(x + i * BLOCK + at) * 2)
    start = 0
    while start < n:
        for i in range(n):
            tl.store(y + start + i * n + at, 1.0)
        start += BLOCK


@triton.jit
def prefetched(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    value = tl.load(x + at)
    sums = tl.zeros((BLOCK,), tl.float32)
    for start in range(BLOCK, n, BLOCK):
        following = tl.load(x + start + at)
        sums += value * value
        value = following
    tl.store(y + at, sums + value)


@triton.jit
def unrolled(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    for i in tl.static_range(4):
        tl.store(y + i * n + at, tl.load(x + i * n + at))


@triton.jit(noinline=True)
def bump(p, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    for i in range(n):
        tl.store(p + i * n + at, tl.load(p + i * n + at) + 1.0)


@triton.jit
def calls(x, n, BLOCK: tl.constexpr):
    for i in range(n):
        bump(x + i * n, n, BLOCK)


@triton.jit
def inlined(p, at, n):
    return tl.load(p + at // n)


@triton.jit
def divides(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) // n * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + tl.cdiv(at, n)) + inlined(x, at, n)
    for i in range(n):
        tl.store(y + (i % n) * n + at // 7, value)


@triton.jit
def total(x, y, n, BLOCK: tl.constexpr):
    tl.store(y, tl.sum(tl.load(x + tl.arange(0, BLOCK))))


# -- compiling them -------------------------------------------------------------------------------------------------

SOURCE = Path(__file__).read_text()
NVIDIA, AMD = "cuda:90", "hip:gfx950"
Pairs = tuple[tuple[str, Any], ...]
BOTH = pytest.mark.parametrize("target", [NVIDIA, AMD])
TYPES = {"x": "*fp32", "y": "*fp32", "a": "*fp16", "b": "*fp16", "c": "*fp32", "ids": "*i32", "p": "*fp32"}


@cache
def compiled(kernel: Any, target: str, constants: Pairs, types: Pairs, odd: str, options: Pairs) -> dict[str, str]:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    backend, architecture = target.split(":")
    known, values = {**TYPES, **dict(types)}, dict(constants)
    signature = {name: "constexpr" if name in values else known.get(name, "i32") for name in kernel.arg_names}
    divides = [["tt.divisibility", 16]]
    attributes = {
        (position,): [*divides, ["tt.pointer_range", 32]] if backend == "hip" and kind.startswith("*") else divides
        for position, (name, kind) in enumerate(signature.items())
        if name not in odd.split() and kind != "constexpr" and not kind.startswith("tensordesc")
    }
    given = {(kernel.arg_names.index(name),): value for name, value in values.items()}
    where = GPUTarget("cuda", int(architecture), 32) if backend == "cuda" else GPUTarget("hip", architecture, 64)
    return triton.compile(ASTSource(kernel, signature, given, attributes), target=where, options=dict(options)).asm


def asm(
    kernel: Any, target: str, *, types: dict[str, str] | None = None, odd: str = "", stages: int = 0, **constants: Any
) -> dict[str, str]:
    """The stages of a kernel. Arguments are divisible by 16 unless they are listed in `odd`."""
    if "BLOCK" in kernel.arg_names:
        constants = {"BLOCK": 1024, **constants}
    options = (("num_stages", stages),) if stages else ()
    return compiled(kernel, target, tuple(constants.items()), tuple((types or {}).items()), odd, options)


def facts(kernel: Any, target: str, **more: Any) -> TtgirFacts:
    found = read_ttgir(asm(kernel, target, **more)["ttgir"], SOURCE)
    assert found.notes == ()
    return found


def widest(stages: dict[str, str], what: str) -> int:
    """Bytes of the widest load or store in the machine's own language."""
    if "ptx" in stages:
        verb = {"load": "ld", "store": "st"}[what]
        found = re.findall(rf"\b{verb}\.global(?:\.\w+)*?(?:\.v(\d))?\.b(\d+)", stages["ptx"])
        return max(int(count or 1) * int(bits) // 8 for count, bits in found)
    found = re.findall(rf"\b(?:global|buffer)_{what}_dword(?:x(\d))?", stages["amdgcn"])
    return max(int(count or 1) * 4 for count in found)


# -- accesses -------------------------------------------------------------------------------------------------------


@BOTH
def test_contiguous_copy_is_coalesced(target):
    load, store = facts(copy, target).accesses

    assert (load.kind, load.pointer, store.kind, store.pointer) == (AccessKind.LOAD, "x", AccessKind.STORE, "y")
    for access in (load, store):
        assert (access.element_bytes, access.vector_bytes, access.stride_bytes) == (4, 16, 16)
        assert access.sector_use == 1.0
        assert access.masked
        assert not access.indirect
        assert not access.asynchronous
        assert access.bytes_per_block == 4096
        assert access.loop_depth == 0
        assert access.where is not None
        assert access.where.text == "tl.store(y + at, tl.load(x + at, mask=at < n), mask=at < n)"


@BOTH
def test_offsets_of_64_bits_and_no_mask(target):
    load, store = facts(copy_wide, target).accesses

    assert (load.vector_bytes, load.sector_use, load.masked) == (16, 1.0, False)
    assert (store.vector_bytes, store.sector_use, store.masked) == (16, 1.0, False)


@BOTH
@pytest.mark.parametrize("kernel", [copy, copy_wide, shifted, wrapped, clamped])
@pytest.mark.parametrize("odd", ["", "n", "x", "n x y"])
def test_vectors_are_as_wide_as_the_machine_code_has_them(kernel, target, odd):
    stages = asm(kernel, target, odd=odd)

    load, store = read_ttgir(stages["ttgir"], SOURCE).accesses

    assert load.vector_bytes == widest(stages, "load")
    assert store.vector_bytes == widest(stages, "store")


@BOTH
def test_half_precision_moves_eight_elements_at_once(target):
    load, _ = facts(copy_wide, target, types={"x": "*fp16", "y": "*fp16"}, BLOCK=2048).accesses

    assert (load.element_bytes, load.vector_bytes, load.sector_use) == (2, 16, 1.0)


@BOTH
def test_misaligned_rows_touch_a_sector_more(target):
    load, store = facts(shifted, target).accesses

    # A warp's 512 bytes (on AMD 1,024) start 4 bytes late, so they reach into one sector more.
    sectors = 512 // 32 if target == NVIDIA else 1024 // 32
    assert load.sector_use == pytest.approx(sectors / (sectors + 1))
    assert store.sector_use == 1.0


@BOTH
def test_constant_stride_wastes_sectors(target):
    load, store = facts(every_third, target).accesses

    assert load.vector_bytes == 4
    assert load.stride_bytes is not None
    assert load.stride_bytes % 12 == 0
    assert load.sector_use == pytest.approx(1 / 3, rel=0.05)
    assert store.sector_use == 1.0


@BOTH
@pytest.mark.parametrize("odd", ["", "n"])
def test_stride_from_an_argument_uses_one_element_of_each_sector(target, odd):
    load, _ = facts(every_nth, target, odd=odd).accesses

    assert load.sector_use == 4 / 32
    assert load.stride_bytes is None
    assert not load.indirect


@BOTH
def test_tiles_are_coalesced_in_either_order(target):
    load, store = facts(transpose, target, BLOCK=64).accesses

    assert (load.vector_bytes, load.stride_bytes, load.sector_use) == (16, 16, 1.0)
    assert (store.vector_bytes, store.stride_bytes, store.sector_use) == (16, 16, 1.0)
    assert load.bytes_per_block == 64 * 64 * 4


@BOTH
def test_tile_with_two_unknown_strides_is_scattered(target):
    load, store = facts(two_strides, target, BLOCK=64).accesses

    assert load.sector_use == 1.0
    assert store.sector_use == 4 / 32
    assert store.stride_bytes is None


@BOTH
def test_index_arithmetic_is_followed(target):
    load, store = facts(tile_of_flat, target).accesses

    # Rows of 128 bytes, 400 bytes apart: every other one begins in the middle of a sector, and takes five for four.
    assert load.vector_bytes == 16
    assert load.sector_use == pytest.approx(8 / 9, rel=0.02)
    assert store.sector_use == 1.0


@BOTH
def test_gather_and_scatter_depend_on_data(target):
    index, load, atomic = facts(gather, target).accesses

    assert (index.pointer, index.indirect, index.sector_use) == ("ids", False, 1.0)
    assert (load.pointer, load.indirect, load.sector_use, load.stride_bytes) == ("x", True, None, None)
    assert load.vector_bytes == 4
    assert (atomic.kind, atomic.pointer, atomic.indirect) == (AccessKind.ATOMIC, "y", True)
    assert atomic.sector_use is None


@BOTH
def test_gather_of_whole_rows_fills_its_sectors(target):
    _, load, store = facts(gather_rows, target, ROWS=16, COLS=128).accesses

    assert load.indirect
    assert load.sector_use == 1.0
    assert load.vector_bytes == 16
    assert not store.indirect


@BOTH
def test_index_that_a_loop_refines_by_what_it_loads_is_data(target):
    _, load, store = facts(search, target, types={"x": "*i32", "y": "*i32"}, BLOCK=256).accesses

    assert load.indirect
    assert load.sector_use is None
    assert load.loop_depth == 1
    assert not store.indirect


def test_reads_amd_buffer_operations():
    text = asm(copy, AMD)["ttgir"]
    assert "amdg.buffer_load %x[" in text

    load, store = read_ttgir(text, SOURCE).accesses
    older = read_ttgir(text.replace("amdg.", "amdgpu."), SOURCE).accesses

    assert load.masked
    assert (load.pointer, store.pointer) == ("x", "y")
    assert older == (load, store)


@BOTH
def test_copies_of_one_access_count_once(target):
    found = facts(unrolled, target)

    assert [access.kind for access in found.accesses] == [AccessKind.LOAD, AccessKind.STORE]
    assert asm(unrolled, target)["ttgir"].count("tt.func") == 1


@BOTH
def test_accesses_of_a_called_function_belong_to_the_caller(target):
    found = facts(calls, target)

    load, store = found.accesses
    assert (load.pointer, store.pointer) == ("x", "x")
    assert (load.loop_depth, store.loop_depth) == (2, 2)
    assert [(loop.depth, loop.global_loads) for loop in found.loops] == [(1, 0), (2, 1)]
    assert load.vector_bytes == 16


# -- loops ----------------------------------------------------------------------------------------------------------

TILES = {"M": 128, "N": 128, "K": 64}


@pytest.mark.parametrize("target", ["cuda:80", NVIDIA, "cuda:100", AMD, "hip:gfx942"])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_stages_of_a_pipelined_product(target, stages):
    found = facts(product, target, stages=stages, PRECISION="ieee", **TILES)

    [loop] = found.loops
    assert loop.stages == stages
    assert (loop.depth, loop.global_loads, loop.matrix_operations, loop.trip_count) == (1, 2, 1, None)
    assert loop.where is not None
    assert loop.where.text == "for _ in range(0, k, K):"
    a, b, c = found.accesses
    assert (a.pointer, b.pointer, c.pointer) == ("a", "b", "c")
    assert (a.loop_depth, b.loop_depth, c.loop_depth) == (1, 1, 0)
    assert (a.sector_use, b.sector_use, c.sector_use) == (1.0, 1.0, 1.0)
    # What skips the last iterations is no mask of the source.
    assert (a.masked, b.masked) == (False, False)
    if target.startswith("cuda"):
        assert a.asynchronous == (stages > 1)


@pytest.mark.parametrize("target", ["cuda:80", NVIDIA, "cuda:100", AMD])
def test_iterations_outside_a_pipelined_loop_are_counted(target):
    strides = {"stride_a": 512, "stride_b": 128, "stride_c": 128}

    [loop] = facts(product, target, stages=3, k=512, PRECISION="ieee", **strides, **TILES).loops

    assert loop.trip_count == 8
    assert loop.stages == 3


@BOTH
def test_what_the_pipeliner_takes_out_of_an_inner_loop_is_not_the_outer_loops(target):
    outer, inner = facts(products_of_taps, target, stages=3, **TILES).loops

    assert (outer.depth, outer.global_loads, outer.matrix_operations, outer.stages) == (1, 0, 0, None)
    assert (inner.depth, inner.global_loads, inner.matrix_operations, inner.stages) == (2, 2, 1, 3)


@BOTH
def test_loops_without_pipelining(target):
    constant, outer, inner = facts(loops, target).loops

    assert (constant.depth, constant.global_loads, constant.stages, constant.trip_count) == (1, 1, 1, 16)
    assert (outer.depth, outer.global_loads, outer.stages, outer.trip_count) == (1, 0, None, None)
    assert (inner.depth, inner.global_loads, inner.matrix_operations, inner.stages) == (2, 0, 0, None)
    assert inner.where is not None
    assert inner.where.text == "for i in range(n):"


@BOTH
def test_prefetch_by_hand_keeps_two_iterations_in_flight(target):
    [loop] = facts(prefetched, target).loops

    assert (loop.global_loads, loop.stages) == (1, 2)


def test_warp_specialized_loop_is_one_loop():
    tiles = {"a": "tensordesc<fp16[128,64]>", "b": "tensordesc<fp16[128,64]>", "c": "tensordesc<fp16[128,128]>"}

    found = facts(product_specialized, "cuda:100", types=tiles, stages=3, **TILES)

    [loop] = found.loops
    assert (loop.global_loads, loop.matrix_operations, loop.stages) == (2, 1, 3)
    assert [access.pointer for access in found.accesses] == ["a", "b", "c"]


# -- matrix operations and descriptors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "dtype", "precision", "unit", "seen"),
    [
        ("cuda:80", "*fp16", "ieee", "mma", "float16"),
        (NVIDIA, "*fp16", "ieee", "wgmma", "float16"),
        (NVIDIA, "*bf16", "ieee", "wgmma", "bfloat16"),
        (NVIDIA, "*fp8e4nv", "ieee", "wgmma", "float8_e4m3fn"),
        (NVIDIA, "*fp32", "tf32", "wgmma", "tf32"),
        (NVIDIA, "*fp32", "ieee", "fma", "float32"),
        ("cuda:100", "*fp16", "ieee", "tcgen05", "float16"),
        (AMD, "*fp16", "ieee", "mfma", "float16"),
        (AMD, "*fp32", "ieee", "mfma", "float32"),
        ("hip:gfx1200", "*fp16", "ieee", "wmma", "float16"),
    ],
)
def test_unit_and_type_of_a_product(target, dtype, precision, unit, seen):
    found = facts(product, target, types={"a": dtype, "b": dtype}, M=128, N=64, K=32, PRECISION=precision)

    [operation] = found.matrix_operations

    assert (operation.unit, operation.input_dtype, operation.shape) == (unit, seen, (128, 64, 32))
    assert operation.where is not None
    assert "tl.dot(tl.load(at_a)" in operation.where.text


def test_tensor_memory_accelerator_moves_blocks():
    found = facts(product_described, NVIDIA, types={"c": "*fp16"}, stages=3, **TILES)

    assert [access.pointer for access in found.accesses] == ["a", "b", "c"]
    assert [access.kind for access in found.accesses] == [AccessKind.LOAD, AccessKind.LOAD, AccessKind.STORE]
    for access in found.accesses:
        assert access.asynchronous
        assert (access.sector_use, access.stride_bytes, access.vector_bytes) == (1.0, None, None)
    assert found.accesses[0].bytes_per_block == 128 * 64 * 2
    assert found.loops[0].stages == 3


def test_descriptors_without_such_a_unit_become_pointers():
    a, b, c = facts(product_described, AMD, types={"c": "*fp16"}, **TILES).accesses

    assert [a.pointer, b.pointer, c.pointer] == ["a", "b", "c"]
    assert a.masked
    assert (a.vector_bytes, a.sector_use) == (16, 1.0)


# -- conversions, divisions, places ---------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("kernel", "block"),
    [(copy, 1024), (shifted, 1024), (two_strides, 64), (transpose, 64),
     (tile_of_flat, 1024), (every_nth, 1024)],
)  # fmt: skip
def test_conversions_are_where_shared_memory_is_used(kernel, block, target):
    stages = asm(kernel, target, BLOCK=block)

    uses = "addrspace(3)" in re.sub(r"(?m)^@global_smem.*$", "", stages["llir"])

    assert (read_ttgir(stages["ttgir"], SOURCE).shared_conversions > 0) == uses


def test_reductions_are_no_conversions():
    assert "st.shared" in asm(total, NVIDIA)["ptx"]
    assert facts(total, NVIDIA).shared_conversions == 0
    assert facts(transpose, NVIDIA, BLOCK=64).shared_conversions == 1


@BOTH
def test_divisions_are_those_that_cost(target):
    found = facts(divides, target)

    # Not the scalar one outside the loop, nor the one by 7; a division in Triton's library counts where it is called.
    assert [line.text for line in found.divisions] == [
        "value = tl.load(x + tl.cdiv(at, n)) + inlined(x, at, n)",
        "return tl.load(p + at // n)",
        "tl.store(y + (i % n) * n + at // 7, value)",
    ]


@BOTH
def test_lines_are_those_of_the_file(target):
    found = facts(divides, target)

    lines = SOURCE.splitlines()
    for line in (*found.divisions, *(access.where for access in found.accesses), *(loop.where for loop in found.loops)):
        assert line is not None
        assert line.text == lines[line.line - 1].strip()


# -- odd texts ------------------------------------------------------------------------------------------------------


def test_every_stage_but_the_first_has_layouts():
    found = read_ttgir(asm(product, NVIDIA, PRECISION="ieee", **TILES)["ttir"], SOURCE)

    assert [access.pointer for access in found.accesses] == ["a", "b", "c"]
    assert [access.sector_use for access in found.accesses] == [None, None, None]
    assert [(loop.global_loads, loop.matrix_operations, loop.stages) for loop in found.loops] == [(2, 1, 1)]
    assert found.matrix_operations[0].unit == "unknown"
    assert "layout" in found.notes[0]


def test_unknown_layouts_and_operations_are_passed_over():
    text = asm(copy, NVIDIA)["ttgir"]
    strange = text.replace("#ttg.blocked<{", "#ttg.woven<{threads = #ttg.of<[1, {a = <2>}]>, ")
    strange = strange.replace(
        "    tt.return", '    %q:2 = new.thing<[{"}"}]> (%x -> {1}) {\n      new.end\n    }\n    tt.return'
    )

    load, store = read_ttgir(strange, SOURCE).accesses

    assert (load.pointer, load.masked, load.sector_use) == ("x", True, None)
    assert store.bytes_per_block == 4096
    assert "woven" in read_ttgir(strange, SOURCE).notes[0]


@pytest.mark.parametrize("text", ["", "hello", "}\n}\n", "module {\n", "^bb0:\n", "#a = #a\n%x = tt.load %x"])
def test_what_is_no_module_has_no_facts(text):
    found = read_ttgir(text, SOURCE)

    assert (found.accesses, found.loops, found.matrix_operations) == ((), (), ())
    assert "The TTGIR has no function." in found.notes


def test_places_are_found_through_names_calls_and_fusion():
    text = """
#loc = loc("/here/mine (at 2).py":1:1)
#loc1 = loc("/lib/triton/language/standard.py":40:2)
#loc2 = loc("/here/mine (at 2).py":2:5)
#loc3 = loc("value"(#loc2))
#loc4 = loc(callsite(#loc1 at #loc3))
#loc5 = loc(callsite(callsite(#loc1 at "/here/mine (at 2).py":3:1) at #loc3))
#loc6 = loc(fused<{a = "b]"}>[unknown, #loc5])
#loc7 = loc(#loc7)
module {
  tt.func public @f(%p: !tt.ptr<f32> loc("p"(#loc))) {
    %0 = tt.load %p : !tt.ptr<f32> loc(#loc4)
    %1 = tt.load %p : !tt.ptr<f32> loc(#loc6)
    %2 = tt.load %p : !tt.ptr<f32> loc(#loc1)
    %3 = tt.load %p : !tt.ptr<f32> loc(#loc7)
    %4 = tt.load %p : !tt.ptr<f32> loc("w"("/here/mine (at 2).py":99:1))
    tt.return loc(#loc)
  } loc(#loc)
} loc(#loc)
"""
    found = read_ttgir(text, "def f():\n  two\n  three\n")

    assert [access.where and access.where.text for access in found.accesses] == ["two", "three", None, None, None]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_text_never_raises(data):
    kernel, target = data.draw(st.sampled_from([(product, NVIDIA), (product, AMD), (gather_rows, NVIDIA)]))
    constants = {"PRECISION": "ieee", **TILES} if kernel is product else {"ROWS": 16, "COLS": 128}
    text = asm(kernel, target, **constants)["ttgir"]
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 200))
    piece = data.draw(st.text(alphabet='<>(){}[]%#,:="x0 \n', max_size=20))

    found = read_ttgir(text[:start] + piece + text[start + length :], SOURCE)

    assert isinstance(found, TtgirFacts)
