"""CPUs, and accelerators that report their engines."""

from __future__ import annotations

from collections.abc import Iterator

from kernelevolve.profilers.report import Bottleneck
from kernelevolve.profilers.report import BottleneckKind as Kind
from kernelevolve.profilers.rules.view import KernelView, Rule, found, line_of, seen


def _not_vectorized(view: KernelView) -> Iterator[Bottleneck]:
    code = view.code
    if code is None or view.report.platform != "cpu":
        return
    mix = code.loop_mix if code.loop_mix.total else code.mix
    arithmetic = mix.scalar_float + mix.vector
    scalar = mix.scalar_float / arithmetic if arithmetic else 0.0
    left = [entry for entry in code.remarks if not entry.vectorized]
    if left and scalar > 0.3:
        yield found(
            view, Kind.NOT_VECTORIZED, 0.85 * scalar,
            f"{scalar:.0%} of the floating-point instructions in loops work on single values; the loop"
            f"{line_of(left[0].where)} is not vectorised: {left[0].reason or 'the compiler says no more'}.",
            "Make the loop's iterations independent: __restrict__ pointers, no calls, no early exit; for float sums "
            "-fassociative-math or several accumulators; `#pragma omp simd` where you know better.",
            seen("scalar_share", scalar, 0.3, "static", where=left[0].where),
        )  # fmt: skip
    elif mix.matrix == 0 and code.mix.division > 0 and mix.division:
        share = 0.3 * min(1.0, 20 * mix.division / mix.total)
        yield found(
            view, Kind.INDEX_ARITHMETIC, share,
            f"A loop of {view.name} divides integers {mix.division} times in an iteration.",
            "Carry row and column counters through the loop in place of dividing.",
            seen("divisions", mix.division, 0, "static"),
        )  # fmt: skip


def _engines(view: KernelView) -> Iterator[Bottleneck]:
    """Accelerators that report their engines, such as MTIA's: `engine_stall_share.<engine>`, `pe_utilisation`."""
    if view.measured is None:
        return
    stalled = {
        name.removeprefix("engine_stall_share."): metric
        for name, metric in view.measured.metrics.items()
        if name.startswith("engine_stall_share.") and metric.value > 0.2
    }
    for engine, metric in stalled.items():
        yield found(
            view, Kind.ENGINE_STALLS, metric.value,
            f"The {engine} engine of {view.name} stalls {metric.value:.0%} of the time.",
            "Give the engine its operands earlier: deeper circular buffers, or loads issued before the work that needs "
            "them.",
            seen(f"engine_stall_share.{engine}", metric.value, 0.2, metric.source),
        )  # fmt: skip
    idle = view.metric("pe_utilisation")
    if idle is not None and idle < 0.6:
        source = view.measured.metrics["pe_utilisation"].source
        yield found(
            view, Kind.LOW_PARALLELISM, 1.0 - idle,
            f"{view.name} keeps {idle:.0%} of the processing elements busy.",
            "Spread the work over the whole grid of processing elements.",
            seen("pe_utilisation", idle, 0.6, source, "<"),
        )  # fmt: skip


def _caches(view: KernelView) -> Iterator[Bottleneck]:
    missed = view.metric("cache_miss_rate.llc")
    if missed is not None and missed > 0.5 and view.report.platform == "cpu" and view.number("ipc") < 1.0:
        yield found(
            view, Kind.CACHE_MISSES, 0.4 * missed,
            f"{missed:.0%} of the accesses that reach the last-level cache miss it, at {view.number('ipc'):.2f} "
            "instructions a cycle.",
            "Block the loops so that what is used again stays in a cache; read and write each array once.",
            seen("cache_miss_rate.llc", missed, 0.5, "perf"),
            seen("ipc", view.number("ipc"), 1.0, "perf", "<"),
        )  # fmt: skip


RULES: tuple[Rule, ...] = (_not_vectorized, _engines, _caches)
"""Rules about other processors."""
