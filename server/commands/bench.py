"""`kernelevolve bench search`: policies side by side, on a real task or on a made-up one with a known optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.search.comparison import Comparison, Problem, RememberingJudge, compare
from kernelevolve.search.comparison_report import cells_of, marks_of, render_comparison
from kernelevolve.search.landscape import Landscape
from kernelevolve.search.node import SearchRecord
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.policies import get_policy
from kernelevolve.search.store import Store
from kernelevolve.search.synthesizers.mutator import Mutator
from kernelevolve.server.rendering import stderr_console, table
from kernelevolve.tools.searches import default_language, describe, starting_points


@dataclass(frozen=True)
class BenchArguments:
    """What the command line says; see there."""

    task: str | None
    platform: str
    policies: tuple[str, ...]
    seeds: int
    evaluations: int
    output: Path
    state: Path


def run_bench_search(arguments: BenchArguments, quiet: bool) -> dict[str, Any]:
    """Compare policies and write the page, the figures and the searches.

    Returns:
        The comparison as JSON values, with the paths that were written.

    Raises:
        KernelEvolveError: the task can't be used.
        SearchError: a policy is unknown.
    """
    for policy in arguments.policies:
        get_policy(policy)
    arguments.output.mkdir(parents=True, exist_ok=True)
    usual = OptimizeOptions()
    options = OptimizeOptions(
        evaluations=arguments.evaluations,
        stall=None,
        roofline_share=None,
        # What is compared are the choices of the policies: winners need no second verdict.
        confirm_baselines=(),
        confirm_trials=usual.trials,
        confirm_timed_calls=usual.timed_calls,
        confirm_timing_budget_s=usual.timing_budget_s,
    )
    seeds = range(arguments.seeds)
    total = len(arguments.policies) * arguments.seeds
    with Store(arguments.output / "searches.sqlite") as store:
        if arguments.task is None:
            with _Bar(quiet, total) as told:
                found = compare(
                    store, _made_up, arguments.policies, seeds, options,
                    "A made-up task: share of its optimum that was found", told,
                )  # fmt: skip
        else:
            with Judge(arguments.state, many_triton=arguments.platform != "cpu") as judge:
                problem = _real(arguments, judge, store)
                with _Bar(quiet, total) as told:
                    title = f"{Path(arguments.task).name} on {arguments.platform}, author: mutator"
                    found = compare(store, lambda seed: problem, arguments.policies, seeds, options, title, told)
    files = {"page": arguments.output / "search.html", "figures": arguments.output / "search.json"}
    files["page"].write_text(render_comparison(found), encoding="utf-8")
    files["figures"].write_text(found.model_dump_json(indent=1), encoding="utf-8")
    if not quiet:
        _show(found, files)
    return {**found.model_dump(mode="json"), "files": {name: str(path) for name, path in files.items()}}


def _made_up(seed: int) -> Problem:
    landscape = Landscape(seed)
    return Problem("landscape", "cpu", landscape.start, landscape, landscape.author, landscape.optimum)


def _real(arguments: BenchArguments, judge: Judge, store: Store) -> Problem:
    task = str(arguments.task)
    path = task if task.startswith("aten::") else str(Path(task).resolve())
    points = starting_points(describe(judge, path), default_language(arguments.platform))
    if not points:
        raise TaskError(
            Finding.TASK_UNREADABLE,
            f"The task names no {default_language(arguments.platform)} candidate to start from.",
            "Put kernel.cpp or triton.py beside it.",
        )
    return Problem(path, arguments.platform, points[0], RememberingJudge(judge, store), Mutator)


class _Bar:
    """A bar over the searches, and a line for each that ended."""

    def __init__(self, quiet: bool, total: int) -> None:
        self._console = stderr_console()
        columns = (SpinnerColumn(), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns, TextColumn("{task.fields[now]}"), console=self._console, transient=True,
            disable=quiet or not self._console.is_terminal,
        )  # fmt: skip
        self._quiet = quiet
        self._job = self._bar.add_task("", total=total, now="")

    def __enter__(self) -> Callable[[str, int, SearchRecord | None], None]:
        self._bar.start()
        return self._told

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _told(self, policy: str, seed: int, search: SearchRecord | None) -> None:
        if search is None:
            self._bar.update(self._job, now=f"{policy}, seed {seed}")
            return
        self._bar.advance(self._job)
        if not self._quiet:
            line = f"{policy:<14} seed {seed}: {search.leader_score:.3f}x after {search.step + 1} candidates"
            self._console.print(line, highlight=False)


def _show(found: Comparison, files: dict[str, Path]) -> None:
    console = Console()
    console.print(Text(f"\n{found.title}", style="bold"))
    view = Table(box=None, pad_edge=False)
    view.add_column("policy")
    *early, last = marks_of(found)
    for mark in early:
        view.add_column(f"after {mark}", justify="right")
    view.add_column(f"after {last} [range]", justify="right", no_wrap=True)
    for row in found.policies:
        view.add_row(row.policy, *(f"{row.median[mark - 1]:.2f}" for mark in early), cells_of(found, row)[-1])
    console.print(view)
    console.print(
        Text(
            f"{found.unit}: median of {len(found.seeds)} seeds and their range, which covers the median with "
            f"{found.coverage:.1%}; {found.judged} different candidates were judged",
            style="dim",
        )
    )
    rows = table("", "")
    for name, path in files.items():
        rows.add_row(name, str(path))
    console.print(rows)
