"""The page of a node, its source as a file, and the numbers that the tree is drawn from."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from kernelevolve.profilers.plots import roofline_svg, timeline_svg
from kernelevolve.profilers.report import ProfileReport
from kernelevolve.search.errors import SearchError
from kernelevolve.search.memory import what_changed
from kernelevolve.search.node import Node, SearchRecord
from kernelevolve.search.page import diagnosis_facts, diff_lines, pretty
from kernelevolve.search.store import Store
from kernelevolve.server.dashboard.marks import BAR_WIDTH, interval_bars, source_lines
from kernelevolve.server.dashboard.rooms import Rooms, node_of, overview, page, rooms_of, search_of
from kernelevolve.server.dashboard.searches import title_of

_MOST_LABELS = 200
_MOST_FOUND = 500
_DIFFED = 400_000
"""Characters of two sources that are compared; the comparison takes time with the square of their lines."""
_CHILDREN = 50


def show_node(request: Request) -> Response:
    """Source, difference to the parent, verdict, times, profile, receipt."""
    store, search, node = node_of(request)
    first, second = store.verdict(node), store.confirmation(node)
    verdict = second or first
    entry = verdict.of(search.platform)
    source = store.candidate(node).source
    lines, more = source_lines(source, node.language)
    profile = _profile(rooms_of(request), search, node)
    return page(
        request,
        "node.html",
        search=search, node=node, title=title_of(search), what=what_changed(node), entry=entry, confirmed=second,
        leader=search.leader_id == node.node_id, lines=lines, more=more, diff=_diff(store, node, source),
        parents=[parent.rpartition(".")[2] for parent in node.parents],
        line=[above.step for above in reversed(store.ancestors(node.node_id))],
        children=store.best_children(node.node_id, _CHILDREN), failed=store.failed_children(node.node_id, _CHILDREN),
        bars=interval_bars(entry.timings), bar_width=BAR_WIDTH,
        facts=() if entry.diagnosis is None else diagnosis_facts(entry.diagnosis),
        profile=profile, receipt=verdict.receipt, receipt_text=pretty(verdict.receipt.model_dump(mode="json")),
    )  # fmt: skip


def _diff(store: Store, node: Node, source: str) -> list[tuple[str, str]] | None:
    """Lines of the difference to the parent; None where the two are too long to compare."""
    if not node.parents:
        return []
    before, its_source = store.parent(node.parents[0])
    if len(its_source.source) + len(source) > _DIFFED:
        return None
    return diff_lines(its_source.source, source, f"step {before.step}", f"step {node.step}")


def _profile(rooms: Rooms, search: SearchRecord, node: Node) -> ProfileReport | None:
    """The newest profile of a node's source on the search's platform."""
    pattern = f"{node.source_hash[:16]}-{search.platform.replace(':', '_')}-*"
    for path in sorted(
        (rooms.state / "profiles").glob(f"{pattern}/report.json"), key=lambda path: path.stat().st_mtime, reverse=True
    ):
        report = ProfileReport.model_validate(json.loads(path.read_text(encoding="utf-8")))
        if report.source_hash == node.source_hash and report.platform == search.platform:
            return report
    return None


def show_picture(request: Request) -> Response:
    """The roofline or the timeline of a node's profile."""
    _store, search, node = node_of(request)
    profile = _profile(rooms_of(request), search, node)
    svg = None
    if profile is not None and request.path_params["picture"] == "roofline" and profile.roofline:
        svg = roofline_svg(profile.roofline)
    elif profile is not None and request.path_params["picture"] == "timeline" and profile.timeline:
        svg = timeline_svg(profile.timeline)
    if svg is None:
        raise SearchError(f"Node {node.node_id} has no such picture.", "profile_kernel makes one.")
    # A picture has a style sheet of its own, and nothing that runs.
    policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return Response(svg, media_type="image/svg+xml", headers={"Content-Security-Policy": policy})


def show_source(request: Request) -> Response:
    """The source as it is, to be saved: never shown by the browser as anything but text."""
    store, _search, node = node_of(request)
    return PlainTextResponse(
        store.candidate(node).source,
        headers={"Content-Disposition": f'attachment; filename="step_{node.step}.txt"'},
    )


def give_tree(request: Request) -> Response:
    """Columns of the tree: parents, kinds and speed-ups, of all nodes, those after a step, or those named."""
    store, search = search_of(request)
    asked = request.query_params
    steps = _steps(asked.get("steps"))
    with store.snapshot():
        found = overview(store).outline(search.search_id, _number(asked.get("after"), -1), steps)
        search = store.search(search.search_id)
    kinds = sorted({row.kind for row in found})
    place = {kind: index for index, kind in enumerate(kinds)}
    return JSONResponse(
        {
            "steps": [row.step for row in found] if steps is not None else None,
            "first": found[0].step if found else 0,
            "parents": [row.parent for row in found],
            "kinds": kinds,
            "kind": [place[row.kind] for row in found],
            "speedups": [round(row.speedup, 3) for row in found],
            "leader": -1 if search.leader_id is None else int(search.leader_id.rpartition(".")[2]),
        }
    )


def give_labels(request: Request) -> Response:
    """Step → what the tree writes beside a node."""
    store, search = search_of(request)
    steps = _steps(request.query_params.get("steps")) or []
    return JSONResponse(overview(store).labels(search.search_id, steps[:_MOST_LABELS]))


def find_nodes(request: Request) -> Response:
    """Steps of nodes that fit a text."""
    store, search = search_of(request)
    words = request.query_params.get("q", "").strip()[:200]
    found: list[int] = []
    if words.removeprefix("#").isdecimal():
        found = [row.step for row in overview(store).outline(search.search_id, steps=[int(words.removeprefix("#"))])]
    if words and not found:
        found = overview(store).find(search.search_id, words, _MOST_FOUND)
    answer: dict[str, Any] = {"steps": found, "more": len(found) == _MOST_FOUND}
    return JSONResponse(answer)


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 12 else default


def _steps(text: str | None) -> list[int] | None:
    if text is None:
        return None
    return [int(part) for part in text.split(",") if part.isdecimal() and len(part) < 12]
