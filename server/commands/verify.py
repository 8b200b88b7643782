"""`kernelevolve verify`: judge one candidate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.client import Progress as Report
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.server.rendering import stderr_console


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Report | None]:
    """A progress bar on stderr that a judge can report to; nothing where nobody would see it."""
    console = stderr_console()
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting the judge", total=1.0)
        yield lambda text, share: progress.update(bar, description=text, completed=share)


def run_verify(
    task: str,
    candidate: Path,
    platforms: tuple[str, ...],
    language: str | None,
    baselines: tuple[str, ...],
    trials: int,
    timed_calls: int,
    limit_s: float,
    state: Path,
    quiet: bool,
    audit: bool = False,
) -> Verdict:
    """Judge a file; see `JudgeRequest` for the arguments."""
    request = JudgeRequest(
        task=task if task.startswith("aten::") else str(Path(task).resolve()),
        candidate=Candidate.from_file(candidate, language),
        platforms=platforms,
        trials=trials,
        timed_calls=timed_calls,
        baselines=baselines,
        limit_s=limit_s,
        audit=audit,
    )
    with progress_bar(quiet) as report, Judge(state) as judge:
        return judge.judge(request, report)
