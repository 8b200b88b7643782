"""A read-only view of a search, with what a policy needs to know of its history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kernelevolve.evaluation.finding import Status
from kernelevolve.search.fitness import improves
from kernelevolve.search.node import Node


def leader(nodes: Iterable[Node], margin: float) -> Node | None:
    """The best of some nodes.

    Args:
        nodes: in the order of their steps. A later node takes the lead only by `fitness.improves`, so of equals the
            earliest leads.
        margin: relative difference that is more than noise.
    """
    best: Node | None = None
    for node in nodes:
        if node.viable and (best is None or improves(node.score, best.score, margin)):
            best = node
    return best


@dataclass(frozen=True)
class _History:
    best: Node | None
    stalled: int
    setbacks: Mapping[str, int]


@dataclass(frozen=True)
class SearchView:
    """All nodes of a search so far."""

    nodes: Sequence[Node]
    """In the order of their steps."""
    margin: float
    """Relative difference in speed that counts as more than noise."""
    exhausted: frozenset[str] = frozenset()
    """Nodes from which the synthesizer has nothing left to propose."""

    @cached_property
    def _history(self) -> _History:
        best: Node | None = None
        stalled = 0
        setbacks: Counter[str] = Counter()
        for node in self.nodes:
            if node.viable and (best is None or improves(node.score, best.score, self.margin)):
                best, stalled = node, 0
            elif node.parents:
                stalled += 1
                # A change that broke the code will break it elsewhere too; one that brought nothing may still.
                setbacks[node.mutation] += 1 if node.status is Status.CORRECT else 2
        return _History(best, stalled, setbacks)

    @property
    def best(self) -> Node | None:
        """The leading node."""
        return self._history.best

    @property
    def stalled(self) -> int:
        """Derived candidates since the lead last changed."""
        return self._history.stalled

    @property
    def setbacks(self) -> Mapping[str, int]:
        """Description of a change → how often it brought no gain; changes that broke the candidate count double."""
        return self._history.setbacks
