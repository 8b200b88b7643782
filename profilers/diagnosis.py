"""Why a candidate is slow: rules over a profile, each of which estimates the share of the time that it explains.

A rule looks at one kernel, or at the whole candidate, and answers with what it would save to mend one thing: measured
where counters or the timeline are there, guessed from the code where they are not. The guesses only rank; what was seen
stands beside them as evidence. Limits of the hardware (bound by memory, by arithmetic, by latency) say where a kernel
stands and not what is wrong with it, so they come last.
"""

from __future__ import annotations

from kernelevolve.evaluation.platform import SpecSheet
from kernelevolve.profilers.report import Bottleneck, BottleneckKind, KernelMeasurement, ProfileReport
from kernelevolve.profilers.rules import arithmetic, limits, memory, processors, residency
from kernelevolve.profilers.rules.host import host_rules
from kernelevolve.profilers.rules.view import KernelView, Rule

LEAST_SHARE = 0.03
"""What would save less is not worth a line."""
MOST = 12
"""Bottlenecks that are kept."""

_LIMITS = (BottleneckKind.LATENCY_BOUND, BottleneckKind.MEMORY_BOUND, BottleneckKind.COMPUTE_BOUND)
_HOST = (BottleneckKind.LAUNCH_BOUND, BottleneckKind.HOST_SYNCHRONIZATION)
_RULES: tuple[Rule, ...] = (
    *memory.RULES,
    *residency.RULES,
    *arithmetic.RULES,
    *processors.RULES,
    *limits.RULES,
)


def diagnose(report: ProfileReport, sheet: SpecSheet) -> tuple[Bottleneck, ...]:
    """Rank what keeps a candidate slow.

    Args:
        report: what was seen; its own `bottlenecks` are not looked at.
        sheet: the chip's numbers.

    Returns:
        At most `MOST`, the most costly first; the limits of the hardware after everything that can be mended.
    """
    found = list(host_rules(report))
    device_share = 1.0 - sum(entry.share for entry in found if entry.kind in _HOST)
    for view in _views(report, sheet):
        for rule in _RULES:
            for entry in rule(view):
                share = entry.share * view.weight * max(0.0, device_share)
                found.append(entry.model_copy(update={"share": round(min(1.0, share), 4)}))
    kept = [entry for entry in found if entry.share >= LEAST_SHARE]
    kept.sort(key=lambda entry: (entry.kind in _LIMITS, -entry.share))
    return tuple(kept[:MOST])


def _views(report: ProfileReport, sheet: SpecSheet) -> list[KernelView]:
    """The kernels with their weights; those that only move data are the host's affair (`LAYOUT_CONVERSION`)."""
    moving = report.timeline.conversions if report.timeline else ()
    total = sum(_time(entry) * entry.calls for entry in report.kernels)
    codes = list(report.static)
    views = []
    for entry in report.kernels:
        if entry.kernel in moving:
            continue
        code = next((code for code in codes if same_kernel(code.kernel, entry.kernel)), None)
        weight = _time(entry) * entry.calls / total if total else 1.0 / len(report.kernels)
        views.append(KernelView(entry.kernel, weight, code, entry, report, sheet))
    seen = [view.code for view in views]
    alone = [code for code in codes if not any(code is other for other in seen)]
    if not report.kernels:
        launches = sum(code.calls for code in alone) or 1
        views += [KernelView(code.kernel, code.calls / launches, code, None, report, sheet) for code in alone]
    return views


def same_kernel(one: str, other: str) -> bool:
    """Whether two names mean one kernel: with or without its signature, or mangled."""

    def bare(name: str) -> str:
        return name.removeprefix("void ").split("(")[0].split("<")[0].split("::")[-1].strip()

    return bare(one) == bare(other)


def _time(entry: KernelMeasurement) -> float:
    return entry.time_s.value if entry.time_s else 0.0
