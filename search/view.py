"""A read-only view of a search: all that a policy may know, and nothing that grows with the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kernelevolve.search.node import SearchRecord


@dataclass(frozen=True)
class Brief:
    """What policies need of a node."""

    node_id: str
    step: int
    viable: bool
    """Whether it is correct and was timed."""
    score: float
    """Speed-up by all that is known; 0 unless viable."""
    low: float
    """Lower end of its interval."""
    depth: int
    """Edges between it and its starting point."""
    children: int
    """Nodes derived from it, viable or not."""
    visits: int
    """Orders that chose it, or (MCTS) something below it, those under way included."""
    reward: float
    """Sum over all nodes below it of the logarithm of their speed-up over the search's start, 0 where there is none
    (MCTS)."""
    island: int
    """Sub-population."""
    cell: str | None
    """Cell of the archive that it competes for."""
    exhausted: bool
    """Whether the synthesizer has nothing left to try from it."""
    mutation: str
    """How it was derived."""


class SearchView(Protocol):
    """One state of a search. Each question costs at most the logarithm of the search's size."""

    search: SearchRecord
    """The search, its options and its counters."""
    under_way: int
    """Orders that others hold."""

    def node(self, node_id: str) -> Brief:
        """One node."""
        ...

    def leader(self) -> Brief | None:
        """The leading node; it may be exhausted."""
        ...

    def starting_points(self) -> list[Brief]:
        """Viable starting points that are not exhausted, in the order of their steps."""
        ...

    def top(self, limit: int) -> list[Brief]:
        """The fastest viable nodes that are not exhausted, the best first; of equals, the earliest."""
        ...

    def some(self, start: float) -> Brief | None:
        """The first viable node, not exhausted, from a share of the way through the search on (0 to 1).

        With a random share this is a sample that favours nodes after a run of failures a little.
        """
        ...

    def children(self, node_id: str) -> list[Brief]:
        """Viable nodes whose first parent a node is, in the order of their steps."""
        ...

    def elites(self, island: int) -> list[Brief]:
        """The best of each cell of an island's archive that are not exhausted, by cell."""
        ...
