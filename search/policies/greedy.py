"""Always build on the best node."""

from __future__ import annotations

import random

from kernelevolve.search import policies
from kernelevolve.search.policies import Choice, PlainPolicy
from kernelevolve.search.view import SearchView


class Greedy(PlainPolicy):
    """Selects the leader; once nothing is left to try from it, the fastest node where something is."""

    name = "greedy"

    class Parameters(policies.Parameters):
        """None."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters = parameters or self.Parameters()

    def select(self, view: SearchView, number: int, randomness: random.Random) -> Choice | None:
        """See `Policy.select`."""
        leader = view.leader()
        if leader is not None and not leader.exhausted:
            return Choice((leader,), note="the best so far")
        rest = view.top(1)
        return Choice((rest[0],), note="the best with something left to try") if rest else None
