"""`kernelevolve search list | show | resume | stop | compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from kernelevolve.search.comparison import best_so_far
from kernelevolve.search.curve import spark
from kernelevolve.search.engine import summarize
from kernelevolve.search.report import write_report
from kernelevolve.server.commands.optimize import OptimizeArguments, node_line, run_optimize
from kernelevolve.server.settings import open_store
from kernelevolve.tools.judges import JudgePool
from kernelevolve.tools.searches import get_search, stop_search, summary_text


def list_searches(state: Path) -> list[dict[str, Any]]:
    """All searches as JSON values, the newest first."""
    with open_store(state) as store:
        return [
            {
                "search_id": search.search_id,
                "task": search.task,
                "platform": search.platform,
                "policy": search.policy,
                "synthesizer": search.synthesizer,
                "state": search.state.value,
                "reason": search.reason.value if search.reason else None,
                "evaluations": search.step + 1,
                "budget": search.options.evaluations,
                "best": search.leader_score,
                "made": search.made,
            }
            for search in store.searches()
        ]


def searches_view(entries: Sequence[dict[str, Any]]) -> RenderableType:
    """The list as a table."""
    if not entries:
        return Text("There are no searches yet: kernelevolve optimize TASK, or start_search through MCP.")
    view = Table(box=None, pad_edge=False)
    for title in ("search", "task", "platform", "policy", "author", "judged", "best", "state"):
        view.add_column(title, justify="right" if title in ("judged", "best") else "left")
    for entry in entries:
        view.add_row(
            entry["search_id"],
            Path(entry["task"]).name,
            entry["platform"],
            entry["policy"],
            entry["synthesizer"],
            f"{entry['evaluations']}/{entry['budget']}",
            f"{entry['best']:.2f}x" if entry["best"] else "–",
            entry["reason"] or entry["state"],
        )
    return view


def show_search(
    state: Path,
    search_id: str,
    tree: bool,
    node: int | None,
    events: bool,
    as_of: int | None,
    report: Path | None,
) -> tuple[dict[str, Any], RenderableType]:
    """What was asked of a search, as JSON values and for a terminal.

    Raises:
        SearchError: there is no such search or node.
    """
    with open_store(state) as store:
        if report is not None:
            write_report(store, search_id, report)
        if as_of is not None:
            nodes = store.nodes(search_id, as_of)
            value = {
                "search_id": search_id,
                "as_of": as_of,
                "nodes": [entry.model_dump(mode="json") for entry in nodes],
            }
            return value, Group(*(node_line(entry) for entry in nodes))
        kind = "node" if node is not None else "tree" if tree else "events" if events else "summary"
        found, text = get_search(store, search_id, kind, step=node)
        parts: list[RenderableType] = [Text(text)]
        if kind == "node" and found.node is not None:
            head = text.split("\n\n", 1)[0]
            language = "python" if found.node.language == "triton" else "cpp"
            parts = [Text(head), Syntax(found.source, language, line_numbers=True)]
        if kind == "summary":
            curve = best_so_far(
                store.nodes(search_id), store.search(search_id).options.margin, found.summary.evaluations
            )
            parts += [Text(f"best so far: {spark(curve)}")] if curve else []
            parts += [node_line(entry) for entry in store.ranked(search_id, 5)]
        if report is not None:
            parts.append(Text(f"report: {report}"))
        return found.model_dump(mode="json"), Group(*parts)


def resume_search(
    state: Path,
    search_id: str,
    evaluations: int | None,
    minutes: float | None,
    stall: int | None,
    output: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    """Go on with a search; what is None stays as it was.

    Raises:
        SearchError: there is no such search, or an assistant writes for it.
    """
    with open_store(state) as store:
        search = store.search(search_id)
    changes: dict[str, Any] = {}
    if evaluations is not None:
        changes["evaluations"] = evaluations
    if minutes is not None:
        changes["wall_clock_s"] = 60 * minutes
    if stall is not None:
        changes["stall"] = stall or None
    options = search.options.model_copy(update=changes)
    arguments = OptimizeArguments(
        task=search.task, start=None, platform=search.platform, policy=search.policy, synthesizer=search.synthesizer,
        options=options, endpoint={}, output=output, resume=search_id, state=state,
    )  # fmt: skip
    return run_optimize(arguments, quiet)


def stop(state: Path, search_id: str) -> tuple[dict[str, Any], str]:
    """End a search.

    Raises:
        SearchError: there is no such search.
    """
    pool = JudgePool(state)
    try:
        with open_store(state) as store:
            summary = stop_search(pool, store, search_id)
    finally:
        pool.close()
    return summary.model_dump(mode="json"), summary_text(summary)


def compare_searches(state: Path, search_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Searches as JSON values, with their best so far after each evaluation.

    Raises:
        SearchError: there is no such search.
    """
    with open_store(state) as store:
        entries = []
        for search_id in search_ids:
            summary = summarize(store, search_id)
            margin = store.search(search_id).options.margin
            curve = best_so_far(store.nodes(search_id), margin, summary.evaluations)
            entries.append({**summary.model_dump(mode="json"), "best_so_far": curve})
    return entries


def comparison_view(entries: Sequence[dict[str, Any]]) -> RenderableType:
    """The comparison as a table; a speed-up against another baseline or task says so."""
    view = Table(box=None, pad_edge=False)
    for title in ("search", "task", "against", "policy", "author", "judged", "25 %", "50 %", "75 %", "end", "curve"):
        view.add_column(title, justify="right" if title[0].isdigit() or title in ("judged", "end") else "left")
    for entry in entries:
        curve = entry["best_so_far"]
        at = [curve[max(0, len(curve) * part // 4 - 1)] if curve else 0.0 for part in (1, 2, 3, 4)]
        view.add_row(
            entry["search_id"], Path(entry["task"]).name, entry["baseline"], entry["policy"], entry["synthesizer"],
            str(entry["evaluations"]), *(f"{value:.2f}x" for value in at), spark(curve),
        )  # fmt: skip
    return view
