"""Monte Carlo tree search: descend by UCT, expand, send the reward back up the line (Kocsis and Szepesvári, 2006)."""

from __future__ import annotations

import math
import random

from pydantic import Field

from kernelevolve.search import policies
from kernelevolve.search.policies import Choice, PlainPolicy
from kernelevolve.search.view import Brief, SearchView


class Mcts(PlainPolicy):
    """Descends from a starting point while a node has as many children as its visits allow, then expands.

    An order under way counts as a visit, on all its ancestors, and brings no reward until it is judged: agents that
    work at the same time spread over the tree.
    """

    name = "mcts"
    along_path = True

    class Parameters(policies.Parameters):
        """How much it explores, and how wide the tree gets."""

        exploration: float = Field(default=0.1, ge=0, le=10)
        """UCT's constant; rewards lie between 0 (no gain over the start) and 1 (the leader's). Less than the usual 1.4:
        with tens of candidates instead of thousands of games there is no time to be that sure."""
        widening: float = Field(default=0.8, gt=0, le=100)
        """A node may have `widening * sqrt(visits)` children: one or two at first, more as it proves worth it. Each
        child costs a judgement, so a full tree is out of reach."""
        most_children: int = Field(default=12, ge=1, le=1000)
        """Children at most: bounds what one descent has to look at."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters: Mcts.Parameters = parameters or self.Parameters()

    def select(self, view: SearchView, number: int, randomness: random.Random) -> Choice | None:
        """See `Policy.select`."""
        leader = view.leader()
        level = view.starting_points()
        if leader is None or not level:
            rest = view.top(1)
            return Choice((rest[0],), note="the only one left") if rest else None
        start = view.search.start_score or leader.score
        # The logarithm that is worth 1; before the first gain all are worth nothing.
        scale = math.log(leader.score / start) if leader.score > start else 1.0
        visits = sum(node.visits for node in level)
        node = self._best(level, visits, start, scale)
        while not self._may_expand(node):
            level = view.children(node.node_id)
            if not level:
                break
            node = self._best(level, node.visits, start, scale)
        if node.exhausted:
            rest = view.top(1)
            return Choice((rest[0],), note="its own choice was exhausted") if rest else None
        return Choice((node,), note=f"UCT, depth {node.depth}, {node.visits} visits")

    def _may_expand(self, node: Brief) -> bool:
        room = min(self.parameters.most_children, math.ceil(self.parameters.widening * math.sqrt(node.visits + 1)))
        return not node.exhausted and node.children < room

    def _best(self, level: list[Brief], visits: int, start: float, scale: float) -> Brief:
        def value(node: Brief) -> tuple[float, float, int]:
            # Its own reward counts as one more visit, so a new node is as good as it was judged to be.
            own = max(0.0, math.log(node.score / start))
            mean = (node.reward + own) / (node.visits + 1) / scale
            bonus = self.parameters.exploration * math.sqrt(math.log(visits + 2) / (node.visits + 1))
            return mean + bonus, node.score, -node.step

        return max(level, key=value)
