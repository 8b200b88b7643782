"""`kernelevolve optimize`: search for a faster kernel, show how it goes, leave the winner behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.text import Text

from kernelevolve.evaluation.candidate import SUFFIXES, Candidate
from kernelevolve.evaluation.errors import KernelEvolveError, TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.platform import Level, get_platform
from kernelevolve.evaluation.task import Task
from kernelevolve.profilers.ceilings import calibrate, known_ceilings
from kernelevolve.profilers.profile import ProfileRequest
from kernelevolve.profilers.report import Part, PartState, ProfileReport
from kernelevolve.search.brief import brief_of
from kernelevolve.search.driver import optimize, resume
from kernelevolve.search.events import (
    BestImproved,
    Event,
    JudgeProgress,
    NodeConfirmed,
    NodeJudged,
    NodeRefuted,
    OrderFailed,
    SearchStarted,
    Stopped,
)
from kernelevolve.search.memory import what_changed
from kernelevolve.search.node import Node
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.report import render_report
from kernelevolve.search.store import Reader
from kernelevolve.search.summary import SearchSummary
from kernelevolve.search.synthesizers import Synthesizer
from kernelevolve.server.commands.knowledge import opened
from kernelevolve.server.rendering import stderr_console, table, timings_view
from kernelevolve.server.settings import open_store, synthesizer_for
from kernelevolve.tools.advice import Advisor
from kernelevolve.tools.profile_kernel import profiled
from kernelevolve.tools.searches import default_language, describe, starting_points

_PARTS = {True: ("static", "perf"), False: ("static", "timeline")}
"""Whether it is a CPU → parts of the winner's profile."""


@dataclass(frozen=True)
class OptimizeArguments:
    """What the command line says; see there."""

    task: str
    start: Path | None
    platform: str
    policy: str
    synthesizer: str
    options: OptimizeOptions
    endpoint: dict[str, Any]
    output: Path | None
    resume: str | None
    state: Path


def run_optimize(arguments: OptimizeArguments, quiet: bool) -> dict[str, Any]:
    """Run or resume a search and write its files.

    Returns:
        The summary as JSON values, with the paths that were written.

    Raises:
        KernelEvolveError: the task or the starting point can't be used.
        SearchError: the search, the policy or the endpoint can't.
    """
    options = arguments.options
    with (
        open_store(arguments.state) as store,
        Judge(arguments.state, many_triton=arguments.platform != "cpu") as judge,
    ):
        kind = arguments.synthesizer if arguments.resume is None else store.search(arguments.resume).synthesizer
        author: Synthesizer = synthesizer_for(kind, **arguments.endpoint)
        advise = None
        if author.reads_prompt:
            advise = Advisor(lambda: opened(arguments.state), lambda: nullcontext(judge), arguments.state)
        with _live(quiet, options) as on_event:
            if arguments.resume is not None:
                summary = resume(arguments.resume, judge, store, options, on_event, synthesizer=author, advise=advise)
            else:
                task = arguments.task if arguments.task.startswith("aten::") else str(Path(arguments.task).resolve())
                described = describe(judge, task)
                points = _starting_points(described, arguments)
                summary = optimize(
                    task, arguments.platform, points, judge, store, options, on_event, policy=arguments.policy,
                    synthesizer=author, brief=brief_of(described), advise=advise,
                )  # fmt: skip
            profile = _winner_s_profile(judge, store, summary, arguments.state, on_event)
        files = write_files(store, summary, arguments.output, profile)
        if not quiet:
            show_summary(store, summary, files)
    return {**summary.model_dump(mode="json"), "files": {name: str(path) for name, path in files.items()}}


def _starting_points(task: Task, arguments: OptimizeArguments) -> list[Candidate]:
    if arguments.start is not None:
        return [Candidate.from_file(arguments.start)]
    language = default_language(arguments.platform)
    points = starting_points(task, language)
    if not points and arguments.synthesizer == "mutator":
        raise TaskError(
            Finding.TASK_UNREADABLE,
            f"The task names no {language} candidate to start from.",
            "Give one with --start, or put kernel.cpp or triton.py beside the task.",
        )
    return points


@contextmanager
def _live(quiet: bool, options: OptimizeOptions) -> Iterator[Callable[[Event], None] | None]:
    """Show the search as it goes: one line for each node, and a bar with the best so far and the budget."""
    if quiet:
        yield None
        return
    console = stderr_console()
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[best]}  [dim]{task.fields[stage]}[/dim]"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=options.evaluations, best="", stage="starting the judge")

        def show(event: Event) -> None:
            if isinstance(event, SearchStarted):
                console.print(f"search {event.search_id}{' resumed' if event.resumed else ''}", highlight=False)
            elif isinstance(event, JudgeProgress):
                progress.update(bar, stage=event.stage)
            elif isinstance(event, NodeJudged):
                console.print(node_line(event.node), highlight=False)
                progress.update(bar, completed=event.evaluations)
            elif isinstance(event, BestImproved):
                progress.update(bar, best=f"best {event.node.score.speedup:.2f}x")
            elif isinstance(event, OrderFailed):
                console.print(f"      no candidate: {event.order.reason}", style="dim", highlight=False)
            elif isinstance(event, NodeConfirmed):
                audited = f"; audit: {event.audit.outcome.value}" if event.audit is not None else ""
                console.print(f"[green]confirmed[/green] step {event.node.step} by a second, fuller verdict{audited}")
            elif isinstance(event, NodeRefuted):
                console.print(f"[red]refuted[/red] step {event.node.step}: {event.summary}", highlight=False)
            elif isinstance(event, Stopped):
                progress.update(bar, stage=f"stopped: {event.reason.value}")

        yield show


def node_line(node: Node) -> Text:
    """One line for a node: step, result, where it comes from."""
    parents = ",".join(parent.rpartition(".")[2] for parent in node.parents)
    text = Text(f"{node.step:>4} {'← ' + parents if parents else '':<8}")
    if node.viable:
        text.append(f"{node.score.speedup:>7.2f}x ", style="bold")
        text.append(f"{node.latency_ms:>9.4g} ms  " if node.latency_ms is not None else "")
    else:
        text.append(f"{node.status.value:>20}  ", style="red")
    text.append(what_changed(node), style="" if node.viable else "dim")
    return text


def _winner_s_profile(
    judge: Judge, store: Reader, summary: SearchSummary, state: Path, on_event: Callable[[Event], None] | None
) -> ProfileReport | None:
    """Why the winner takes the time it still takes, by the parts that cost little; None where there is no winner.

    Only the report wants it, so a profile that cannot be had is a line there and takes nothing else with it.
    """
    if summary.winner is None:
        return None
    candidate = store.candidate(summary.winner)
    if on_event is not None:
        on_event(JudgeProgress(search_id=summary.search_id, candidate=candidate.name, stage="profiling", fraction=0.0))
    request = ProfileRequest(
        task=summary.task, candidate=candidate, platform=summary.platform, parts=_PARTS[summary.platform == "cpu"]
    )
    try:
        platform = get_platform(summary.platform)
        if known_ceilings(platform, state) is None and platform.availability().device is not None:
            calibrate(platform, state)  # Once for each device: the roofline is drawn against what it reaches.
        return profiled(judge, request, state, None)
    except KernelEvolveError as error:
        return ProfileReport(
            task=summary.task, candidate=candidate.name, language=candidate.language,
            source_hash=candidate.source_hash, platform=summary.platform, level=Level.COMPILED, case="", dtype="",
            parts=(Part(name="profile", state=PartState.FAILED, why=str(error)[:1000]),),
        )  # fmt: skip


def write_files(
    store: Reader, summary: SearchSummary, output: Path | None, profile: ProfileReport | None = None
) -> dict[str, Path]:
    """Write the winner, its verdict with the receipt, and the report."""
    folder = output or Path(f"kernelevolve-{summary.search_id}")
    folder.mkdir(parents=True, exist_ok=True)
    files = {"report": folder / "report.html"}
    files["report"].write_text(render_report(store, summary.search_id, profile=profile), encoding="utf-8")
    if summary.winner is not None:
        candidate = store.candidate(summary.winner)
        suffix = next(suffix for suffix, language in SUFFIXES.items() if language == candidate.language)
        verdict = store.confirmation(summary.winner) or store.verdict(summary.winner)
        files["winner"] = folder / f"best{suffix}"
        files["winner"].write_text(candidate.source, encoding="utf-8")
        files["verdict"] = folder / "verdict.json"
        files["verdict"].write_text(verdict.model_dump_json(indent=1), encoding="utf-8")
        files["receipt"] = folder / "receipt.json"
        files["receipt"].write_text(json.dumps(verdict.receipt.model_dump(mode="json"), indent=1), encoding="utf-8")
    return files


def show_summary(store: Reader, summary: SearchSummary, files: dict[str, Path]) -> None:
    """Print how a search went, its winner and where the files are."""
    console = Console()
    seconds = f"{summary.elapsed_s:.0f} s"
    why = f"stopped by {summary.reason.value.replace('_', ' ')}" if summary.reason is not None else "still running"
    console.print(f"\n{summary.evaluations} candidates in {seconds}, {why}; policy {summary.policy}", highlight=False)
    if summary.cost.input_tokens or summary.cost.usd:
        cost = summary.cost
        console.print(f"{cost.input_tokens} tokens in, {cost.output_tokens} out, {cost.usd:.2f} USD", highlight=False)
    if summary.winner is None:
        start = summary.start
        why = "no candidate is correct" if summary.start is None else "no starting point is correct"
        if start is not None:
            diagnosis = store.verdict(start).of(summary.platform).diagnosis
            why = f"{why}: {diagnosis.summary} {diagnosis.advice}" if diagnosis is not None else why
        console.print(f"[red]no winner[/red]: {why}", highlight=False)
    else:
        candidate = store.candidate(summary.winner)
        verdict = store.confirmation(summary.winner) or store.verdict(summary.winner)
        syntax = Syntax(candidate.source, "cpp" if candidate.language != "triton" else "python", line_numbers=True)
        console.print(Group(Text("\nThe winner", style="bold"), syntax))
        head = "confirmed by a second, fuller verdict" if summary.confirmed else "not confirmed"
        console.print(Group(Text(f"\nSpeed on {summary.platform}, {head}", style="bold"), timings_view(
            verdict.of(summary.platform)
        )))  # fmt: skip
        console.print(Text(f"\nreceipt {verdict.receipt.receipt_hash[:16]}", style="dim"))
    rows = table("", "")
    for name, path in files.items():
        rows.add_row(name, str(path))
    console.print(rows)
