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
from kernelevolve.profilers.profile import ProfileRequest
from kernelevolve.profilers.report import PartState, ProfileReport
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
    table = Table("kernel", "calls", "time", "registers", "spills", "shared", "occupancy")
    for code in report.static:
        resources = code.resources
        cells = ["", "", "", ""]
        if resources is not None:
            occupancy = f"{resources.occupancy:.0%} ({resources.occupancy_limiter})" if resources.occupancy else ""
            cells = [str(resources.registers), str(resources.spills), f"{resources.shared_bytes} B", occupancy]
        table.add_row(code.kernel, str(code.calls), "", *cells)
    for kernel in report.kernels:
        time = f"{kernel.time_s.value * 1e6:.4g} µs" if kernel.time_s else ""
        occupancy = f"{kernel.metrics['occupancy'].value:.0%} reached" if "occupancy" in kernel.metrics else ""
        table.add_row(kernel.kernel[:60], str(kernel.calls), time, "", "", "", occupancy)
    return table
