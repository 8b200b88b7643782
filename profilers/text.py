"""A profile as text: for a model, within a budget of characters; for people, the same."""

from __future__ import annotations

from kernelevolve.profilers.report import (
    Bottleneck,
    KernelMeasurement,
    PartState,
    ProfileReport,
    RooflinePoint,
    StaticKernel,
)

TEXT_LIMIT = 2_000
"""Characters for a model."""


def profile_text(report: ProfileReport, limit: int = TEXT_LIMIT) -> str:
    """What matters first: where it stands, what to mend, on what evidence, what is missing.

    Args:
        report: the profile.
        limit: characters, at most. What does not fit is left out whole, from the end of each list.
    """
    head = [_headline(report)]
    head += [_point_line(point) for point in report.roofline if point.case == report.case][:1]
    parts = [
        f"{part.name}: {part.state.value}{f' – {part.why}' if part.why else ''}"
        for part in report.parts
        if part.state is not PartState.DONE
    ]
    done = [part.name for part in report.parts if part.state is PartState.DONE]
    foot = [f"seen by: {', '.join(done) or 'nothing'}", *(_cut(line, 220) for line in parts)]
    lines = list(head)
    room = limit - sum(len(line) + 1 for line in [*head, *foot]) - 40
    for number, entry in enumerate(report.bottlenecks, 1):
        text = _bottleneck_text(number, entry, len(report.static) + len(report.kernels) > 2)
        if len(text) + 1 > room:
            lines.append(f"({len(report.bottlenecks) - number + 1} more in the full report)")
            break
        lines.append(text)
        room -= len(text) + 1
    if not report.bottlenecks:
        lines.append("Nothing stands out.")
    for line in [*map(_kernel_line, report.kernels), *map(_static_line, report.static)]:
        if len(line) + 1 > room:
            break
        lines.append(line)
        room -= len(line) + 1
    return _cut("\n".join([*lines, *foot]), limit)


def _headline(report: ProfileReport) -> str:
    where = f" on {report.device}" if report.device else ""
    time = f", {report.candidate_ms:.4g} ms (case {report.case}, {report.dtype})" if report.candidate_ms else ""
    return f"{report.candidate} for {report.platform}{where} ({report.level.value}){time}"


def _point_line(point: RooflinePoint) -> str:
    share = f"{point.share_of_sheet:.0%} of the spec sheet's roofline" if point.share_of_sheet is not None else ""
    if point.share_of_measured is not None:
        share += f", {point.share_of_measured:.0%} of what was measured on this device"
    work = f"{point.bytes / 1e6:.4g} MB" + (f", {point.flops / 1e9:.4g} GFLOP" if point.flops else "")
    return f"{share}; a perfect kernel would be bound by {point.bound} ({work})"


def _bottleneck_text(number: int, entry: Bottleneck, several: bool) -> str:
    kernel = f" in {_cut(entry.kernel, 40)}" if several and entry.kernel else ""
    seen = "; ".join(
        f"{evidence.metric} {_number(evidence.value)}{evidence.unit and ' ' + evidence.unit} {evidence.relation} "
        f"{_number(evidence.threshold)} ({evidence.source}{f', line {evidence.where.line}' if evidence.where else ''})"
        for evidence in entry.evidence[:2]
    )
    links = f"\n   read: {', '.join(entry.knowledge[:2])}" if entry.knowledge else ""
    return (
        f"{number}. {entry.kind.value}{kernel} (about {entry.share:.0%} of the time): {entry.summary}\n"
        f"   try: {entry.advice}\n   evidence: {seen}{links}"
    )


def _kernel_line(kernel: KernelMeasurement) -> str:
    time = f"{kernel.time_s.value * 1e6:.4g} µs" if kernel.time_s else "time unknown"
    shares = [
        f"{label} {kernel.metrics[name].value:.0%}"
        for name, label in (
            ("dram_share", "memory"),
            ("compute_share", "compute"),
            ("matrix_unit_share", "matrix units"),
            ("occupancy", "occupancy"),
        )
        if name in kernel.metrics
    ]
    return f"{_cut(kernel.kernel, 50)}: {kernel.calls} × {time}{', ' if shares else ''}{', '.join(shares)}"


def _static_line(kernel: StaticKernel) -> str:
    resources = kernel.resources
    if resources is None:
        return f"{kernel.kernel}: {kernel.mix.total} instructions, {kernel.mix.vector} of them SIMD"
    occupancy = f", occupancy {resources.occupancy:.0%} ({resources.occupancy_limiter})" if resources.occupancy else ""
    taken = f"{resources.registers} registers, {resources.spills} spills, {resources.shared_bytes} B shared"
    return f"{kernel.kernel}: {taken}{occupancy}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
