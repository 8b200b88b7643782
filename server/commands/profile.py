"""`kernelevolve profile` and `kernelevolve platforms --calibrate`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.platform import get_platform, known_platforms
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.profilers.ceilings import Ceilings, calibrate
from kernelevolve.profilers.diagnosis import same_kernel
from kernelevolve.profilers.profile import ProfileRequest
from kernelevolve.profilers.report import KernelMeasurement, PartState, ProfileReport, StaticKernel
from kernelevolve.server.commands.verify import progress_bar
from kernelevolve.tools.profile_kernel import profile_folder, profile_id, profiled

_STYLE = {
    PartState.DONE: "green",
    PartState.PARTIAL: "yellow",
    PartState.MISSING: "dim",
    PartState.FAILED: "red",
}


def run_profile(
    task: str,
    candidate: Path,
    platform: str,
    language: str | None,
    parts: tuple[str, ...],
    imported: Path | None,
    case: str | None,
    more: bool,
    limit_s: float,
    state: Path,
    quiet: bool,
) -> ProfileReport:
    """Profile a file; see `ProfileRequest` for the arguments."""
    request = ProfileRequest(
        task=task if task.startswith("aten::") else str(Path(task).resolve()),
        candidate=Candidate.from_file(candidate, language),
        platform=platform,
        parts=parts,
        imported=imported,
        case=case,
        more=more,
        limit_s=limit_s,
    )
    with progress_bar(quiet) as report, Judge(state) as judge:
        return profiled(judge, request, state, lambda: KnowledgeBase(state), report)


def run_calibrate(names: list[str], state: Path) -> list[Ceilings]:
    """Measure the devices of these platforms, or of all that are here."""
    platforms = [get_platform(name) for name in names or known_platforms()]
    here = [entry for entry in platforms if names or entry.device_kind == "cpu" or entry.availability().device]
    return [calibrate(platform, state) for platform in here]


def ceilings_view(found: list[Ceilings]) -> RenderableType:
    """Measured ceilings as a table."""
    table = Table("platform", "device", "copy bandwidth", "matrix products")
    for entry in found:
        rates = ", ".join(f"{name} {value / 1e12:.3g} TFLOP/s" for name, value in entry.rates.items())
        table.add_row(entry.platform, entry.device, f"{entry.bandwidth / 1e9:.4g} GB/s", rates)
    return table


def profile_view(report: ProfileReport, state: Path) -> RenderableType:
    """A profile for people: where it stands, what to mend, what was seen, where the files are."""
    head = Text(f"{report.candidate} for {report.platform} ({report.level.value})", style="bold")
    lines: list[RenderableType] = [head]
    if report.candidate_ms is not None and not report.roofline:
        lines.append(Text(f"  {report.case}: {report.candidate_ms:.4g} ms"))
    for point in report.roofline:
        share = point.share_of_measured if point.share_of_measured is not None else point.share_of_sheet
        against = "measured ceilings" if point.share_of_measured is not None else "the spec sheet"
        where = f"{share or 0:.0%} of the roofline ({against}, {point.bound})"
        lines.append(Text(f"  {point.case}: {point.time_s * 1e3:.4g} ms, {where}"))
    for number, entry in enumerate(report.bottlenecks, 1):
        lines.append(Text(f"\n{number}. {entry.kind.value.replace('_', ' ')}", style="bold", end=""))
        lines.append(Text(f"   about {entry.share:.0%} of the time", style="cyan"))
        lines += [Text(f"   {entry.summary}"), Text(f"   try: {entry.advice}")]
        seen = "; ".join(
            f"{evidence.metric} {evidence.value:.3g} {evidence.relation} {evidence.threshold:.3g} ({evidence.source})"
            for evidence in entry.evidence
        )
        lines.append(Text(f"   {seen}", style="dim"))
        place = next((evidence.where for evidence in entry.evidence if evidence.where is not None), None)
        if place is not None and place.text:
            lines.append(Text(f"   line {place.line}: {place.text}", style="dim"))
        lines += [Text(f"   {link}", style="dim") for link in entry.knowledge]
    if not report.bottlenecks:
        lines.append(Text("Nothing stands out."))
    lines.append(Text(""))
    lines.append(_kernels(report))
    for part in report.parts:
        line = Text(f"{part.name}: {part.state.value}", style=_STYLE[part.state])
        lines.append(line.append(f" – {part.why}" if part.why else "", style="default"))
    lines += [Text(f"note: {note}", style="dim") for note in report.notes]
    folder = profile_folder(state, profile_id(report))
    lines.append(Text(f"report   {folder / 'report.json'}"))
    if (folder / "trace.pftrace").is_file():
        lines.append(Text(f"trace    {folder / 'trace.pftrace'} (opens in ui.perfetto.dev)"))
    return Group(*lines)


def _kernels(report: ProfileReport) -> RenderableType:
    """One row for each kernel, with what its code and what its counters say."""
    table = Table("kernel", "calls", "time", "registers", "spills", "shared", "occupancy")
    measured = {kernel.kernel: kernel for kernel in report.kernels}
    for code in report.static:
        name = next((name for name in measured if same_kernel(name, code.kernel)), None)
        table.add_row(*_row(code, measured.pop(name) if name is not None else None))
    for kernel in measured.values():
        table.add_row(*_row(None, kernel))
    return table


def _row(code: StaticKernel | None, kernel: KernelMeasurement | None) -> list[str]:
    time = f"{kernel.time_s.value * 1e6:.4g} µs" if kernel is not None and kernel.time_s else ""
    resources = code.resources if code is not None else None
    taken, occupancy = ["", "", ""], ""
    if resources is not None:
        taken = [str(resources.registers), str(resources.spills), f"{resources.shared_bytes} B"]
        if resources.occupancy:
            occupancy = f"{resources.occupancy:.0%} ({resources.occupancy_limiter})"
    if kernel is not None and "occupancy" in kernel.metrics:
        occupancy += f"{', ' if occupancy else ''}{kernel.metrics['occupancy'].value:.0%} reached"
    name = kernel.kernel if kernel is not None else code.kernel if code is not None else ""
    calls = kernel.calls if kernel is not None else code.calls if code is not None else 1
    return [name[:60], str(calls), time, *taken, occupancy]
