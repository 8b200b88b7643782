"""One search as one HTML file that needs nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.resources import KernelResources
from kernelevolve.evaluation.verdict import PlatformVerdict, Verdict
from kernelevolve.profilers.plots import roofline_svg, timeline_svg
from kernelevolve.profilers.report import ProfileReport
from kernelevolve.search.curve import search_curve
from kernelevolve.search.fitness import mean_ms
from kernelevolve.search.memory import verdict_lines, what_changed
from kernelevolve.search.node import Node
from kernelevolve.search.page import diagnosis_facts, diff_lines, page_environment, pretty
from kernelevolve.search.store import Reader

_LONGEST_LOG = 4000
_MOST_SHOWN = 400
"""Nodes of which the report shows everything: more would make a page that no browser likes."""
_DEEPEST = 16
"""Steps of indentation in the tree."""


@dataclass(frozen=True)
class _Baseline:
    name: str
    milliseconds: float | None
    speedup: float
    low: float
    high: float
    word: str


@dataclass(frozen=True)
class _Refusal:
    node: Node
    entry: PlatformVerdict
    facts: tuple[tuple[str, str], ...]
    log: str


@dataclass(frozen=True)
class _Branch:
    node: Node
    depth: int
    what: str
    verdict: str
    diff: list[tuple[str, str]]
    receipt: str


def render_report(
    store: Reader,
    search_id: str,
    resources: Sequence[KernelResources] = (),
    profile: ProfileReport | None = None,
) -> str:
    """The report as HTML text.

    Args:
        store: where the search lives.
        search_id: the search; it need not have ended.
        resources: what the winner takes on targets it was compiled for apart from the search.
        profile: why the winner takes the time it takes.

    Raises:
        SearchError: there is no such search.
    """
    search = store.search(search_id)
    nodes = store.nodes(search_id)
    best = store.leader(search_id)
    verdict = None if best is None else store.confirmation(best) or store.verdict(best)
    entry = None if verdict is None else verdict.of(search.platform)
    source = "" if best is None else store.candidate(best).source
    start = nodes[0] if nodes else None
    before = "" if start is None else store.candidate(start).source
    shown = nodes if len(nodes) <= _MOST_SHOWN else _worth_showing(store, search_id, nodes)
    refused = [node for node in shown if node.status is not Status.CORRECT or node.refuted]
    template = page_environment().get_template("report.html")
    return template.render(
        search=search,
        title=search.task if start is None else store.verdict(start).task,
        nodes=nodes,
        shown=shown,
        tree=_tree(store, search.platform, shown),
        best=best,
        start=start,
        device=None if verdict is None else _device(verdict, search.platform),
        baselines=() if entry is None else _baselines(entry),
        entry=entry,
        judged_s=sum(node.judged_s for node in nodes),
        curve=search_curve(nodes, search.options.margin, best),
        source=source.splitlines(),
        diff=diff_lines(before, source, "" if start is None else start.name, "" if best is None else best.name),
        refusals=[_refusal(store, node, search.platform) for node in refused],
        resources=[*(entry.resources if entry is not None else ()), *resources],
        profile=profile,
        roofline=None if profile is None or not profile.roofline else Markup(roofline_svg(profile.roofline)),
        timeline=None if profile is None or profile.timeline is None else Markup(timeline_svg(profile.timeline)),
        receipt=None if verdict is None else pretty(verdict.receipt.model_dump(mode="json")),
    )


def write_report(store: Reader, search_id: str, path: Path, resources: Sequence[KernelResources] = ()) -> Path:
    """Write the report to a file, which a reader sees whole or not at all; see `render_report`."""
    text = render_report(store, search_id, resources)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".html", delete=False) as file:
        file.write(text)
    temporary = Path(file.name)
    temporary.chmod(0o644)
    return temporary.replace(path)


def _worth_showing(store: Reader, search_id: str, nodes: Sequence[Node]) -> list[Node]:
    """Of a large search the fastest, the lines they descend from, and the newest."""
    chosen: dict[str, Node] = {}
    for node in store.ranked(search_id, _MOST_SHOWN // 2):
        for one in (node, *store.ancestors(node.node_id)):
            chosen[one.node_id] = one
        if len(chosen) >= _MOST_SHOWN * 3 // 4:
            break
    chosen |= {node.node_id: node for node in nodes[-_MOST_SHOWN // 4 :]}
    return sorted(chosen.values(), key=lambda node: node.step)


def _tree(store: Reader, platform: str, nodes: Sequence[Node]) -> list[_Branch]:
    """The nodes, each after the one it was derived from."""
    there = {node.node_id for node in nodes}
    below: dict[str | None, list[Node]] = {}
    for node in nodes:
        parent = node.parents[0] if node.parents and node.parents[0] in there else None
        below.setdefault(parent, []).append(node)
    branches: list[_Branch] = []
    pending = [(node, 0) for node in reversed(below.get(None, []))]
    while pending:
        node, depth = pending.pop()
        verdict = store.confirmation(node) or store.verdict(node)
        diff: list[tuple[str, str]] = []
        if node.parents:
            before, its_source = store.parent(node.parents[0])
            diff = diff_lines(its_source.source, store.candidate(node).source, before.name, node.name)
        entry = verdict.of(platform)
        branches.append(
            _Branch(
                node, min(depth, _DEEPEST), what_changed(node), verdict_lines(entry), diff, verdict.receipt.receipt_hash
            )
        )
        pending.extend((child, depth + 1) for child in reversed(below.get(node.node_id, [])))
    return branches


def _device(verdict: Verdict, platform: str) -> str:
    facts = verdict.receipt.devices.get(platform)
    name = facts.get("device") if isinstance(facts, dict) else facts
    return str(name or verdict.receipt.machine.get("processor", "unknown"))


def _baselines(entry: PlatformVerdict) -> list[_Baseline]:
    return [
        _Baseline(
            speed.baseline,
            mean_ms(entry.timings, speed.baseline, of_baseline=True),
            speed.speedup,
            speed.low,
            speed.high,
            speed.speed.value,
        )
        for speed in entry.speeds
    ]


def _refusal(store: Reader, node: Node, platform: str) -> _Refusal:
    verdict = (store.confirmation(node) if node.refuted else None) or store.verdict(node)
    entry = verdict.of(platform)
    found = entry.diagnosis
    if found is None:
        return _Refusal(node, entry, (), "")
    log = found.log if len(found.log) <= _LONGEST_LOG else f"{found.log[:_LONGEST_LOG]}\n…"
    return _Refusal(node, entry, diagnosis_facts(found), log)
