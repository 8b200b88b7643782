"""What a kernel computes with: tiles, matrix units, dtypes, pipelining, index arithmetic, barriers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kernelevolve.profilers.report import AccessKind, Bottleneck, StaticKernel
from kernelevolve.profilers.report import BottleneckKind as Kind
from kernelevolve.profilers.rules.view import KernelView, Rule, found, line_of, seen

_HALF = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
_WIDE = ("float32", "tf32", "float64")


def _small_tiles(view: KernelView) -> Iterator[Bottleneck]:
    code = view.code
    shapes = [entry for entry in code.matrix_operations if entry.shape and entry.unit != "fma"] if code else []
    if code is None or not shapes:
        return
    smallest = min(shapes, key=lambda entry: _reuse(entry.shape))
    reuse = _reuse(smallest.shape)
    sms = view.sm_count() or 1.0
    if reuse >= 24 or math.prod(code.grid or (0,)) < 2 * sms or not any(loop.matrix_operations for loop in code.loops):
        return
    if view.counted and view.number("matrix_unit_share") > 0.5:
        return
    assert smallest.shape is not None
    yield found(
        view, Kind.SMALL_TILES, 0.95 * (1.0 - reuse / 48.0),
        f"Each block multiplies {smallest.shape[0]}×{smallest.shape[1]} tiles, so a loaded element is used {reuse:.0f} "
        f"times on average{line_of(smallest.where)}.",
        "Use larger tiles, such as 128×128 or 128×256 with 8 warps; autotune over them.",
        seen("uses_of_a_loaded_element", reuse, 24, "static", "<", where=smallest.where),
        *([seen("matrix_unit_share", view.number("matrix_unit_share"), 0.5, "counters", "<")] if view.counted else []),
    )  # fmt: skip


def _reuse(shape: tuple[int, int, int] | None) -> float:
    """Multiply-adds for each loaded element of an M×N tile: M·N / (M + N)."""
    rows, columns, _depth = shape or (128, 128, 1)
    return rows * columns / (rows + columns)


def _matrix_units(view: KernelView) -> Iterator[Bottleneck]:
    code = view.code
    if code is None or view.report.platform == "cpu":
        return
    by_vector = [entry for entry in code.matrix_operations if entry.unit == "fma"]
    point = next((entry for entry in view.report.roofline if entry.case == view.report.case and not entry.kernel), None)
    # A matrix product as a broadcast and a sum has no operation of its own, but as many operations as bytes allow.
    product = point is not None and point.bound == "compute" and not code.mix.matrix and (point.intensity or 0.0) > 50
    multiplied = _broadcast_product(code)
    if not by_vector and not product and not multiplied:
        return
    where = by_vector[0].where if by_vector else None
    fraction = 0.9
    if view.counted:
        fraction = min(0.9 * (1.0 - view.number("matrix_unit_share")), 1.0 - view.number("dram_share"))
    evidence = [seen("matrix_instructions", code.mix.matrix, 1, "static", "<", where=where)]
    if product and point is not None:
        evidence.append(seen("intensity", point.intensity or 0.0, 50, "task", unit="FLOP/B"))
    yield found(
        view, Kind.NO_MATRIX_UNITS, fraction,
        f"{view.name} multiplies matrices on the vector units{line_of(where)}.",
        'Use tl.dot on fp16, bf16 or fp8 operands with fp32 accumulation; for fp32 inputs input_precision="tf32" or '
        '"tf32x3", where the tolerance allows.',
        *evidence,
    )  # fmt: skip


def _broadcast_product(code: StaticKernel) -> bool:
    """Whether loops do far more multiply-adds than loads would need: the mark of a product without `tl.dot`."""
    mix = code.loop_mix
    loads = sum(entry.kind is AccessKind.LOAD and entry.loop_depth > 0 for entry in code.accesses)
    return not code.mix.matrix and loads >= 2 and mix.float + mix.half > 0.6 * mix.total and mix.float + mix.half > 256


def _wide_dtype(view: KernelView) -> Iterator[Bottleneck]:
    code = view.code
    if code is None or view.report.dtype not in _HALF:
        return
    wide = [entry for entry in code.matrix_operations if entry.input_dtype in _WIDE and entry.unit != "fma"]
    if not wide:
        return
    peak = view.sheet.peak_flops
    narrow_rate = peak[view.report.dtype].value if view.report.dtype in peak else None
    wide_rate = peak[wide[0].input_dtype].value if wide[0].input_dtype in peak else None
    # Where rates are not known: TF32 runs at half the rate of 16 bits on NVIDIA's matrix units and moves twice as much.
    saved = 1.0 - wide_rate / narrow_rate if narrow_rate and wide_rate else 0.5
    yield found(
        view, Kind.WIDE_DTYPE, max(0.0, saved),
        f"{view.name} multiplies {wide[0].input_dtype} operands, and the inputs are {view.report.dtype}"
        f"{line_of(wide[0].where)}.",
        "Give the matrix units the operands as they are and accumulate in fp32: no .to(tl.float32) before tl.dot.",
        seen("operand_bytes", 4, 2, "static", unit="B", where=wide[0].where),
    )  # fmt: skip


def _pipelining(view: KernelView) -> Iterator[Bottleneck]:
    code = view.code
    if code is None or view.report.platform == "cpu":
        return
    bare = [loop for loop in code.loops if loop.global_loads and loop.stages == 1]
    if not bare:
        return
    loop = max(bare, key=lambda entry: (entry.matrix_operations > 0, entry.depth))
    if loop.trip_count is not None and loop.trip_count < 3:
        return
    evidence = [seen("iterations_in_flight", 1, 2, "static", "<", where=loop.where)]
    if view.counted:
        waits = sum(view.number(f"stall.{reason}") for reason in ("long_scoreboard", "barrier", "short_scoreboard"))
        if waits < 0.3 or (not loop.matrix_operations and view.number("occupancy") > 0.5):
            return
        # Where atomics are among the requests, part of the waiting is for them, and a pipeline does not help.
        share = waits * view.idle_share * (1.0 - view.atomic_share)
        evidence.append(seen("memory_wait_share", waits, 0.3, "counters"))
    else:
        occupancy = code.resources.occupancy if code.resources and code.resources.occupancy is not None else 0.5
        share = 0.5 if loop.matrix_operations else 0.3 * (1.0 - occupancy)
    yield found(
        view, Kind.UNPIPELINED_LOOP, share,
        f"The loop{line_of(loop.where)} of {view.name} waits for its own loads in every iteration.",
        "num_stages=3 or 4 (num_stages of tl.range, or of the launch), so that the next tiles load while this one is "
        "multiplied.",
        *evidence,
    )  # fmt: skip


def _index_arithmetic(view: KernelView) -> Iterator[Bottleneck]:
    code = view.code
    if code is None or view.report.platform == "cpu" or code.mix.matrix:
        return
    # Once before a loop, a division costs nothing; compilers divide there by themselves, to count the iterations.
    mix = code.loop_mix if code.loop_mix.total > 0.1 * code.mix.total else code.mix
    integer = (mix.integer + mix.conversion) / mix.total if mix.total else 0.0
    divisions = len(code.divisions) if mix.division else 0
    where = code.divisions[0] if code.divisions else None
    if not divisions or integer < 0.4:
        return
    if view.counted:
        busy = max(view.number("issue_share"), view.number("pipe_share.alu"), view.number("pipe_share.fma"))
        if busy < 0.4:
            return
        # However few instructions are left, the bytes still have to move.
        share, source = min(integer * busy, 1.0 - view.number("dram_share")), "counters"
    else:
        share, source, busy = 0.8 * integer, "static", 0.0
    yield found(
        view, Kind.INDEX_ARITHMETIC, share,
        f"{integer:.0%} of the instructions of {view.name} are integer arithmetic, with {divisions} lines that divide "
        f"by values that are not known at compile time{line_of(where)}.",
        "Pass sizes as tl.constexpr, so that divisions become multiplications; put each dimension on a grid axis of "
        "its own; use 32-bit indices.",
        seen("integer_share", integer, 0.4, "static", where=where),
        seen("divisions", divisions, 0, "static", where=where),
        *([seen("issue_share", busy, 0.4, source)] if view.counted else []),
    )  # fmt: skip


def _barriers(view: KernelView) -> Iterator[Bottleneck]:
    stalled = view.number("stall.barrier")
    if stalled > 0.25:
        where = view.code.barrier_lines[0] if view.code and view.code.barrier_lines else None
        yield found(
            view, Kind.BARRIER_STALLS, stalled * view.idle_share,
            f"Warps of {view.name} wait at barriers {stalled:.0%} of the time{line_of(where)}.",
            "Fewer warps in a block, fewer reductions across warps, or two tiles in flight so that one computes while "
            "the other waits.",
            seen("stall.barrier", stalled, 0.25, "counters", where=where),
        )  # fmt: skip


RULES: tuple[Rule, ...] = (_small_tiles, _matrix_units, _wide_dtype, _pipelining, _index_arithmetic, _barriers)
"""Rules about arithmetic."""
