"""Where a kernel stands under the limits of the hardware."""

from __future__ import annotations

from collections.abc import Iterator

from kernelevolve.profilers.report import Bottleneck
from kernelevolve.profilers.report import BottleneckKind as Kind
from kernelevolve.profilers.rules.view import KernelView, Rule, found, seen


def _limits(view: KernelView) -> Iterator[Bottleneck]:
    if not view.counted:
        yield from _limit_by_roofline(view)
        return
    memory, compute = view.number("memory_share"), view.number("compute_share")
    if memory > 0.6 and memory >= compute:
        where = "device memory" if view.number("dram_share") >= 0.6 else "its caches"
        yield found(
            view, Kind.MEMORY_BOUND, max(0.05, 1.0 - memory),
            f"{view.name} keeps {where} {memory:.0%} busy.",
            "Move fewer bytes: fuse with what comes before and after, narrower dtypes, no repeated reads.",
            seen("memory_share", memory, 0.6, "counters"),
        )  # fmt: skip
    elif compute > 0.6:
        yield found(
            view, Kind.COMPUTE_BOUND, max(0.05, 1.0 - compute),
            f"{view.name} keeps the multiprocessors {compute:.0%} busy.",
            "Do fewer operations: matrix units, cheaper functions, narrower dtypes.",
            seen("compute_share", compute, 0.6, "counters"),
        )  # fmt: skip
    else:
        yield found(
            view, Kind.LATENCY_BOUND, view.idle_share,
            f"{view.name} keeps neither memory ({memory:.0%}) nor arithmetic ({compute:.0%}) busy: it waits.",
            "More independent work in flight: more warps, more loads before their first use, deeper pipelines.",
            seen("idle_share", view.idle_share, 0.4, "counters"),
        )  # fmt: skip


def _limit_by_roofline(view: KernelView) -> Iterator[Bottleneck]:
    point = next((entry for entry in view.report.roofline if entry.case == view.report.case and not entry.kernel), None)
    share = (point.share_of_measured or point.share_of_sheet) if point else None
    if point is None or share is None:
        return
    source = "roofline"
    if share > 0.6:
        kind = Kind.MEMORY_BOUND if point.bound == "memory" else Kind.COMPUTE_BOUND
        yield found(
            view, kind, max(0.05, 1.0 - share),
            f"It reaches {share:.0%} of what the hardware allows; {point.bound} is the limit.",
            "Move fewer bytes." if kind is Kind.MEMORY_BOUND else "Do fewer operations.",
            seen("roofline_share", share, 0.6, source),
        )  # fmt: skip
    else:
        yield found(
            view, Kind.LATENCY_BOUND, 1.0 - share,
            f"It reaches {share:.0%} of what {point.bound} would allow.",
            "Look at the evidence above; a profile with counters says more.",
            seen("roofline_share", share, 0.6, source, "<"),
        )  # fmt: skip


RULES: tuple[Rule, ...] = (_limits,)
"""Rules about limits."""
