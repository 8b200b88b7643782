"""Independent attempts from the starting points; nothing is learnt from one to the next."""

from __future__ import annotations

import random

from kernelevolve.search import policies
from kernelevolve.search.order import MemoryMode
from kernelevolve.search.policies import Choice, PlainPolicy
from kernelevolve.search.view import SearchView


class BestOfN(PlainPolicy):
    """Takes the starting points in turn. What it is good for: as a measure of what search adds to the author."""

    name = "best_of_n"

    class Parameters(policies.Parameters):
        """None: the budget is the n."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters = parameters or self.Parameters()

    def select(self, view: SearchView, number: int, randomness: random.Random) -> Choice | None:
        """See `Policy.select`."""
        points = view.starting_points()
        if not points:
            return None
        return Choice((points[number % len(points)],), MemoryMode.CLEAN_SLATE, note="an independent attempt")
