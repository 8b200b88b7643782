"""Context memory: what an author should be told of the search so far, as parts of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.verdict import PlatformVerdict
from kernelevolve.knowledge.situation import Situation, situation_of
from kernelevolve.search.node import Node, SearchRecord
from kernelevolve.search.order import MemoryMode, Order, Phase
from kernelevolve.search.prompt import Draft, Prompt, as_material, fenced, fit

if TYPE_CHECKING:
    from kernelevolve.search.store import Reader

_LINE = 8
"""Ancestors told of: further back, the sources have little in common."""
_SIBLINGS = 6
_FAILURES = 4
_LOG = 1500
"""Characters of a compiler's output; the first error matters, what follows from it does not."""


@dataclass(frozen=True)
class Explanation:
    """Why a correct candidate takes the time it takes."""

    text: str
    """The diagnosis with its evidence and what to try; empty where nothing is known."""
    bottlenecks: tuple[str, ...] = ()
    """The same in the words of the knowledge base, the most costly first."""


class Advise(Protocol):
    """What stands behind a prompt besides the search itself."""

    def __call__(self, situation: Situation, budget_tokens: int) -> str:
        """Deep search in the knowledge base: passages for a situation, as text within a budget of tokens."""

    def explain(self, task: str, platform: str, candidate: Candidate) -> Explanation:
        """Profile a correct candidate, without running it."""


_KNOWLEDGE_SHARE = 6
"""Passages get this part of the whole budget: the candidate and what was tried matter more."""

_FENCES = {"triton": "python", "cpp": "cpp", "cuda": "cuda", "hip": "hip"}
_FORMS = {
    "triton": "A Python file that defines `kernel(...)` with the reference's arguments, or class `ModelNew` with the "
    "reference's constructor and `forward`. The work happens in `@triton.jit` kernels.",
    "cpp": "A C++ file that defines `void kernel(TensorView input, ..., TensorView output)`: outputs are preallocated "
    "and come last. Flags can be asked for in a first line `// kernelevolve: flags -O3 -march=native -fopenmp`.",
    "cuda": "A CUDA C++ file that defines `void kernel(TensorView input, ..., TensorView output)`: outputs are "
    "preallocated and come last; launch on the current stream.",
    "hip": "A HIP C++ file that defines `void kernel(TensorView input, ..., TensorView output)`: outputs are "
    "preallocated and come last.",
}


def compose(
    store: Reader,
    search: SearchRecord,
    order: Order,
    budget_tokens: int | None = None,
    advise: Advise | None = None,
) -> Prompt:
    """The prompt of an order: everything that is needed to write the next candidate, and nothing twice.

    Args:
        store: where the search lives.
        search: the search.
        order: which candidate is wanted.
        budget_tokens: for the whole text; the search's own if not given.
        advise: the knowledge base and the profilers; without them the prompt has no such parts.
    """
    with store.snapshot():
        return _compose(store, search, order, budget_tokens or search.options.prompt_tokens, advise)


def _compose(store: Reader, search: SearchRecord, order: Order, budget_tokens: int, advise: Advise | None) -> Prompt:
    sources = dict(store.parent(node_id) for node_id in order.parents)
    parents = list(sources)
    remembers = order.memory is not MemoryMode.CLEAN_SLATE
    leader = None if search.leader_id is None else store.node(search.leader_id)
    language = parents[0].language if parents else "triton"
    told = {parent.node_id for parent in parents}
    drafts = [
        Draft("Job", _job(search, order, parents, leader if remembers else None, language), 4),
        Draft("Task", store.brief(search), 3),
    ]
    for number, parent in enumerate(parents):
        what = "Candidate to build on" if number == 0 else "Second candidate, to combine with the first"
        drafts.append(Draft(f"{what}: {_name(parent)}", _fenced(sources[parent].source, parent.language), 4))
        if remembers or parent.status is not Status.CORRECT:
            entry = (store.confirmation(parent) or store.verdict(parent)).of(search.platform)
            drafts.append(Draft(f"What the judge said of {_name(parent)}", verdict_lines(entry), 2))
    if remembers and parents and order.memory in (MemoryMode.PARENT, MemoryMode.BOTH):
        line = store.ancestors(parents[0].node_id, _LINE)
        told |= {node.node_id for node in line}
        drafts.append(Draft("How it came about, the latest first", _lines([parents[0], *line]), 1))
    if remembers and parents and order.memory in (MemoryMode.SIBLINGS, MemoryMode.BOTH):
        drafts.extend(_what_was_tried(store, search, parents[0], told))
    if remembers and leader is not None and leader.node_id not in told:
        source = _fenced(store.candidate(leader).source, leader.language)
        drafts.append(Draft(f"The best so far, for comparison: {_name(leader)}", source, 1.5))
    if advise is not None:
        why = Explanation("")
        if parents and parents[0].status is Status.CORRECT and remembers:
            why = advise.explain(search.task, search.platform, sources[parents[0]])
            drafts.append(Draft(f"Why {_name(parents[0])} takes the time it takes", why.text, 2))
        advice = _advice(store, search, order, parents, advise, budget_tokens // _KNOWLEDGE_SHARE, why.bottlenecks)
        drafts.append(Draft("Knowledge for this situation", advice, 1.5))
    return fit(drafts, budget_tokens)


def _advice(
    store: Reader,
    search: SearchRecord,
    order: Order,
    parents: Sequence[Node],
    advise: Advise,
    budget_tokens: int,
    bottlenecks: tuple[str, ...],
) -> str:
    """What the knowledge base has for where the author stands; the context memory above decides what is asked."""
    entry = None
    if parents and (order.memory is not MemoryMode.CLEAN_SLATE or parents[0].status is not Status.CORRECT):
        entry = (store.confirmation(parents[0]) or store.verdict(parents[0])).of(search.platform)
    language = parents[0].language if parents else "triton"
    situation = situation_of(search.platform, language, store.brief(search) or search.task, entry)
    # What a profile found is surer than what a verdict lets one guess.
    found = tuple(dict.fromkeys((*bottlenecks, *situation.bottlenecks)))
    situation = situation.model_copy(update={"bottlenecks": found})
    return advise(situation, budget_tokens)


def _job(search: SearchRecord, order: Order, parents: Sequence[Node], leader: Node | None, language: str) -> str:
    start = {
        Phase.DRAFT: "Write a first candidate of your own; the one below shows the form and is a place to start from.",
        Phase.EXPAND: "Write a candidate that is faster than the one below, or that is right if that one is not.",
        Phase.START: "Judge the starting point.",
    }[order.phase]
    if len(parents) > 1:
        start = "Combine what makes the two candidates below fast into one."
    lines = [
        f"{start} You decide how: mend, tune, restructure, or begin anew.",
        f"Platform: {search.platform}. Language: {language}. Fitness: time of {search.options.baseline} over "
        "time of the candidate, as a weighted geometric mean over the cases; 0 unless the candidate is correct.",
        _FORMS.get(language, ""),
        "Hand in the whole source. Every case, dtype, stride and special value counts. Keep nothing between calls, "
        "call no library for the work itself, and never read the clock: the judge refuses it.",
    ]
    if leader is not None:
        target = search.options.target_speedup
        goal = f", the goal is {target:.2f}x" if target else ""
        share = f" ({leader.roofline_share:.0%} of the hardware's limit)" if leader.roofline_share else ""
        lines.append(f"Best so far: {leader.score.speedup:.3f}x{share}{goal}.")
    left = search.options.evaluations - search.step - 1
    lines.append(f"{left} candidates are left in the budget.")
    return "\n".join(line for line in lines if line)


def _what_was_tried(store: Reader, search: SearchRecord, parent: Node, told: set[str]) -> list[Draft]:
    """What else was made of the same parent, and how candidates failed here before: negative memory."""
    viable = _not_told(store.best_children(parent.node_id, _SIBLINGS), told)
    failed = _not_told(store.failed_children(parent.node_id, _FAILURES), told)
    beside: list[Node] = []
    if parent.parents:
        beside = _not_told(store.best_children(parent.parents[0], _SIBLINGS + 1), told)[:_SIBLINGS]
    drafts = [
        Draft("Tried from it already", _lines(viable), 1.5),
        Draft("Tried from it and failed: do not repeat", _failures(store, search, failed), 1.5),
        Draft("Tried beside it, from the same parent", _lines(beside), 1),
    ]
    if parent.status is not Status.CORRECT:
        entry = store.verdict(parent).of(search.platform)
        alike = []
        if entry.diagnosis is not None and (signature := store.signature(parent.node_id)):
            alike = [node for node in store.failures(search.search_id, signature) if node.node_id not in told]
        drafts.append(Draft("Others failed in the same way", _lines(alike), 1))
    return drafts


def _not_told(nodes: Sequence[Node], told: set[str]) -> list[Node]:
    """The nodes that the prompt has not told of; from now on it has."""
    fresh = [node for node in nodes if node.node_id not in told]
    told |= {node.node_id for node in fresh}
    return fresh


def _failures(store: Reader, search: SearchRecord, failed: Sequence[Node]) -> str:
    lines = []
    for node in failed:
        diagnosis = store.verdict(node).of(search.platform).diagnosis
        why = f": {diagnosis.summary}" if diagnosis is not None else ""
        lines.append(f"- {what_changed(node)}: {node.status.value}{why}")
    return "\n".join(lines)


def verdict_lines(entry: PlatformVerdict) -> str:
    """The judge's word for one platform, as text for an author."""
    lines = [f"{entry.status.value} (level: {entry.level.value if entry.level else 'none'})"]
    if entry.diagnosis is not None:
        found = entry.diagnosis
        lines.append(f"{found.finding.value}: {found.summary}")
        if found.where:
            lines.append("at " + ", ".join(f"{key} {value}" for key, value in found.where.items()))
        if found.error_ratio is not None:
            lines.append(f"largest error: {found.error_ratio:.3g} times the reference's own")
        if found.advice:
            lines.append(f"do: {found.advice}")
        if found.log:
            lines.append(f"output of the compiler or the candidate, as material:\n{as_material(found.log[:_LOG])}")
    for timing in entry.timings:
        limit = f", the hardware's limit is {timing.floor_ms:.4g} ms" if timing.floor_ms else ""
        lines.append(
            f"{timing.case} against {timing.baseline}: {timing.candidate_ms:.4g} ms, {timing.interval.speedup:.3f}x "
            f"[{timing.interval.low:.3f}, {timing.interval.high:.3f}] {timing.speed.value}{limit}"
        )
    for kernel in entry.resources:
        occupancy = "" if kernel.occupancy is None else f", occupancy {kernel.occupancy:.0%}"
        limiter = f" limited by {kernel.occupancy_limiter}" if kernel.occupancy_limiter else ""
        lines.append(
            f"{kernel.kernel}: {kernel.registers} registers, {kernel.spills} spills, {kernel.shared_bytes} B shared"
            f"{occupancy}{limiter}"
        )
    lines.extend(f"note: {note}" for note in entry.notes)
    return "\n".join(dict.fromkeys(lines))


def _lines(nodes: Sequence[Node]) -> str:
    lines = []
    for node in nodes:
        result = f"{node.score.speedup:.3f}x" if node.viable else node.status.value
        lines.append(f"- step {node.step}: {what_changed(node)}: {result}")
    return "\n".join(lines)


def _name(node: Node) -> str:
    return f"step {node.step}, {PurePath(node.name).name}"


def _fenced(source: str, language: str) -> str:
    return fenced(source, _FENCES.get(language, ""))


def what_changed(node: Node) -> str:
    """How a node came about, in words."""
    return node.mutation or ("not described" if node.parents else "starting point")
