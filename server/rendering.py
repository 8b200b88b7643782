"""Verdicts and tables as people read them in a terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kernelevolve.evaluation.audit import Audit
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.platform import Availability
from kernelevolve.evaluation.resources import KernelResources
from kernelevolve.evaluation.verdict import Diagnosis, PlatformVerdict, Speed, Verdict

_COLOUR = {Status.CORRECT: "green", Status.UNSUPPORTED: "yellow"}
_SPEED_COLOUR = {Speed.FASTER: "green", Speed.SLOWER: "red", Speed.SAME: "default", Speed.INCONCLUSIVE: "yellow"}


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table in the project's look; the columns in `right` hold numbers."""
    result = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        number = column in right
        result.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=number)
    return result


def verdict_view(verdict: Verdict) -> RenderableType:
    """A whole verdict."""
    parts: list[RenderableType] = []
    title = Text.assemble((verdict.candidate, "bold"), f" for {verdict.task}: ", _status(verdict.status))
    parts.append(title)
    for entry in verdict.platforms:
        parts.append(Text())
        parts.extend(_platform_view(entry))
    parts.append(Text())
    parts.append(Text(f"receipt {verdict.receipt.receipt_hash[:16]}", style="dim"))
    return Group(*parts)


def _status(status: Status) -> tuple[str, str]:
    return status.value, f"bold {_COLOUR.get(status, 'red')}"


def _platform_view(entry: PlatformVerdict) -> list[RenderableType]:
    head = Text.assemble((entry.platform, "bold"), "  ", _status(entry.status))
    if entry.level is not None:
        head.append(f"  level: {entry.level.value}")
    if entry.checks:
        head.append(f", {entry.checks} outputs checked", style="dim")
    parts: list[RenderableType] = [head]
    if entry.diagnosis is not None:
        parts.append(diagnosis_view(entry.diagnosis))
    if entry.timings:
        parts.append(timings_view(entry))
    if entry.resources:
        parts.append(resources_view(entry.resources))
    if entry.audit is not None:
        parts.append(Text(audit_line(entry.audit)))
    parts.extend(Text(f"note: {note}", style="dim") for note in entry.notes)
    return parts


def audit_line(audit: Audit) -> str:
    """An audit in a line."""
    cases = ", ".join(
        f"{case.case} {case.seen:.3g}x [{case.seen_low:.3g}, {case.seen_high:.3g}]" for case in audit.cases
    )
    why = "; ".join(part for part in (audit.reason, cases) if part)
    return f"audit: {audit.outcome.value}{f', {audit.checks} outputs checked' if audit.checks else ''}: {why}"


def diagnosis_view(diagnosis: Diagnosis) -> RenderableType:
    """Why a candidate was refused."""
    where = ", ".join(f"{key} {value}" for key, value in diagnosis.where.items())
    lines = [f"[red]{escape(diagnosis.finding.value)}[/red]: {escape(diagnosis.summary)}"]
    if where:
        lines.append(f"[dim]at {escape(where)}[/dim]")
    numbers = []
    if diagnosis.max_error is not None:
        numbers.append(f"largest error {diagnosis.max_error:.3g}")
    if diagnosis.max_error_ulps is not None:
        numbers.append(f"{diagnosis.max_error_ulps:.3g} ULPs at the first")
    if diagnosis.error_ratio is not None:
        numbers.append(f"{diagnosis.error_ratio:.3g} times the reference's own")
    if numbers:
        lines.append(f"[dim]{', '.join(numbers)}[/dim]")
    if diagnosis.advice:
        lines.append(escape(diagnosis.advice))
    if diagnosis.log:
        lines.append(f"[dim]{escape(diagnosis.log.rstrip())}[/dim]")
    return Text.from_markup("\n".join(lines))


def timings_view(entry: PlatformVerdict) -> Table:
    """Times by case and baseline, and the weighted means."""
    result = table(
        "case", "against", "ms", "baseline ms", "speed-up", "interval", "", right=("ms", "baseline ms", "speed-up")
    )
    for timing in entry.timings:
        interval = timing.interval
        result.add_row(
            timing.case,
            timing.baseline,
            f"{timing.candidate_ms:.4g}",
            f"{timing.baseline_ms:.4g}",
            f"{interval.speedup:.2f}x",
            f"{interval.low:.2f} – {interval.high:.2f}",
            Text(timing.speed.value, style=_SPEED_COLOUR[timing.speed]),
        )
    if len({timing.case for timing in entry.timings}) > 1:
        for mean in entry.speeds:
            result.add_row(
                "all, weighted", mean.baseline, "", "", f"{mean.speedup:.2f}x", f"{mean.low:.2f} – {mean.high:.2f}",
                Text(mean.speed.value, style=f"bold {_SPEED_COLOUR[mean.speed]}"),
            )  # fmt: skip
    return result


def resources_view(resources: tuple[KernelResources, ...]) -> Table:
    """What each compiled kernel takes on its platform."""
    numbers = ("registers", "spills", "shared", "code", "occupancy")
    result = table("kernel", *numbers, "limited by", right=numbers)
    for entry in resources:
        result.add_row(
            entry.kernel,
            _number(entry.registers),
            _number(entry.spills),
            _bytes(entry.shared_bytes),
            _bytes(entry.code_bytes),
            "–" if entry.occupancy is None else f"{entry.occupancy:.0%}",
            entry.occupancy_limiter or "–",
        )
    return result


def platforms_view(entries: list[Availability]) -> RenderableType:
    """What can be judged here, and below it what is missing for more."""
    result = table("platform", "device", "languages and levels, best first")
    missing: dict[str, list[str]] = {}
    for entry in entries:
        languages = [
            f"{language}: {', '.join(level.value for level in levels)}"
            for language, levels in entry.levels.items()
            if levels
        ]
        result.add_row(
            entry.platform, entry.device or Text("not here", style="dim"), " · ".join(languages) or "nothing"
        )
        for sentence in entry.missing:
            missing.setdefault(sentence, []).append(entry.platform)
    if not missing:
        return result
    rows = table("missing", "for")
    for sentence, names in missing.items():
        rows.add_row(sentence, ", ".join(names))
    return Group(result, Text(), rows)


def _number(value: int | None) -> str:
    return "–" if value is None else str(value)


def _bytes(value: int | None) -> str:
    if value is None:
        return "–"
    return f"{value} B" if value < 1024 else f"{value / 1024:.1f} KiB"


def stderr_console() -> Console:
    """Where progress and errors go, so that stdout stays for results."""
    return Console(stderr=True)
