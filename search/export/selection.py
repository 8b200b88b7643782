"""Which nodes an export holds, and which of them is the fastest in each case."""

from __future__ import annotations

from collections.abc import Sequence

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.verdict import CaseTiming, PlatformVerdict, Verdict
from kernelevolve.search.errors import SearchError
from kernelevolve.search.node import Node, SearchRecord
from kernelevolve.search.store.reading import Reader

_LOOKED_AT = 50
"""Best nodes of a search among which one may be faster than the leader in some case."""


class ExportNode(Contract):
    """A node with all that an export says of it."""

    node: Node
    """The node."""
    platform: str
    """Platform of its search."""
    baseline: str
    """Baseline of its search."""
    candidate: Candidate
    """Its source."""
    verdict: Verdict
    """The fuller verdict where there is one."""
    confirmed: bool
    """Whether a second, fuller verdict agreed."""

    @property
    def entry(self) -> PlatformVerdict:
        """The verdict for its platform."""
        return self.verdict.of(self.platform)

    def timing(self, case: str) -> CaseTiming | None:
        """Its time in a case against the search's baseline, where it was timed."""
        rows = (row for row in self.entry.timings if row.case == case and row.baseline == self.baseline)
        return next(rows, None)


def select_nodes(
    store: Reader, search_id: str, steps: Sequence[int], also: Sequence[str], allow_unexecuted: bool
) -> list[ExportNode]:
    """The nodes to export: those named, or each search's best and those that are clearly faster in some case.

    Args:
        store: where the searches are.
        search_id: the search.
        steps: nodes of it; empty for the best.
        also: further searches of the same task, whose best nodes are added.
        allow_unexecuted: take candidates that no device executed.

    Raises:
        SearchError: a node is not correct, or was not executed, or the searches are not of one task.
    """
    searches = [store.search(name) for name in dict.fromkeys((search_id, *also))]
    hashes = {search.task_hash for search in searches if search.task_hash is not None}
    if len(hashes) > 1:
        raise SearchError(
            "These searches are not of the same task: the task changed between them, or they are of two tasks.",
            "Export them one by one.",
        )
    chosen: list[ExportNode] = []
    for search in searches:
        named = steps if search.search_id == search_id else ()
        if named:
            chosen += [_read(store, search, step) for step in dict.fromkeys(named)]
        else:
            chosen += _best(store, search)
    for entry in chosen:
        _refuse(entry, allow_unexecuted)
    return chosen


def _read(store: Reader, search: SearchRecord, step: int) -> ExportNode:
    return _of(store, search, store.node(f"{search.search_id}.{step}"))


def _of(store: Reader, search: SearchRecord, node: Node) -> ExportNode:
    second = store.confirmation(node)
    return ExportNode(
        node=node,
        platform=search.platform,
        baseline=search.options.baseline,
        candidate=store.candidate(node),
        verdict=second or store.verdict(node),
        confirmed=node.confirmed is not None,
    )


def _best(store: Reader, search: SearchRecord) -> list[ExportNode]:
    leader = store.leader(search.search_id)
    if leader is None:
        # Nothing was timed: the first that is correct, if there is one.
        right = [node for node in store.nodes(search.search_id) if node.status is Status.CORRECT and not node.refuted]
        if not right:
            raise SearchError(f"Nothing in search {search.search_id} is correct yet.", "There is nothing to export.")
        return [_of(store, search, right[0])]
    first = _of(store, search, leader)
    others = [
        _of(store, search, node)
        for node in store.ranked(search.search_id, _LOOKED_AT)
        if node.node_id != leader.node_id and not node.refuted
    ]
    cases = dict.fromkeys(row.case for row in first.entry.timings)
    winners = {fastest([first, *others], case).node.node_id for case in cases}
    return [first, *(entry for entry in others if entry.node.node_id in winners)]


def fastest(entries: Sequence[ExportNode], case: str) -> ExportNode:
    """The entry to use in a case: the first, unless the interval of another lies wholly above its own.

    The luckiest of many equal candidates looks faster than it is, so a difference must be clear to count.
    """
    first = entries[0]
    mine = first.timing(case)
    if mine is None:
        return first
    clearly = [
        (timing.interval.speedup, entry)
        for entry in entries[1:]
        if (timing := entry.timing(case)) is not None and timing.interval.low > mine.interval.high
    ]
    return max(clearly, key=lambda pair: pair[0])[1] if clearly else first


def _refuse(entry: ExportNode, allow_unexecuted: bool) -> None:
    node, verdict = entry.node, entry.entry
    if node.refuted or verdict.status is not Status.CORRECT:
        word = "refuted by its second verdict" if node.refuted else verdict.status.value
        raise SearchError(
            f"Node {node.node_id} is {word}.", "Only correct nodes are exported; get_search shows which are."
        )
    if verdict.level is not Level.EXECUTED and not allow_unexecuted:
        level = verdict.level.value if verdict.level else "not judged"
        raise SearchError(
            f"Node {node.node_id} was {level} for {entry.platform}, not executed there: nobody has seen it run.",
            "Judge it where the device is, or allow unexecuted kernels (allow_unexecuted, --allow-unexecuted); the "
            "module then says so.",
        )
