"""Islands, each with an archive of elites (MAP-Elites, Mouret and Clune, 2015), crossover, migration, novelty."""

from __future__ import annotations

import math
import random

from pydantic import Field

from kernelevolve.evaluation.verdict import PlatformVerdict
from kernelevolve.search import policies
from kernelevolve.search.order import MemoryMode
from kernelevolve.search.policies import Choice
from kernelevolve.search.view import Brief, SearchView


class Evolutionary:
    """Orders go round the islands. Parents are elites of the island, the faster the likelier.

    A candidate competes only with those of its own cell: alike in size, and in the case for which it is fastest. So
    what is best for one shape is kept although another is better on average.
    """

    name = "evolutionary"
    along_path = False

    class Parameters(policies.Parameters):
        """Size and habits of the population."""

        islands: int = Field(default=2, ge=1, le=64)
        """Sub-populations. With budgets of tens to hundreds of candidates, more would leave too few for each."""
        greed: float = Field(default=0.5, ge=0, le=1)
        """Share of orders that build on the island's best; the rest choose among all its elites."""
        crossover: float = Field(default=0.2, ge=0, le=1)
        """Share of orders with a second parent to combine with."""
        migration_interval: int = Field(default=8, ge=1)
        """Every so many orders of an island one builds on the best of its neighbour: often enough to pass on a find
        within a usual budget, rarely enough for islands to differ."""
        least_novelty: float = Field(default=0.001, ge=0, le=1)
        """Sources nearer than this to one of their island (1 - cosine of their embeddings) are not judged: about a
        changed comment or name."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters: Evolutionary.Parameters = parameters or self.Parameters()
        self.least_novelty = self.parameters.least_novelty

    def select(self, view: SearchView, number: int, randomness: random.Random) -> Choice | None:
        """See `Policy.select`."""
        settings = self.parameters
        island = number % settings.islands
        turn = number // settings.islands
        elites = view.elites(island)
        if turn % settings.migration_interval == settings.migration_interval - 1 and settings.islands > 1:
            guests = view.elites((island - 1) % settings.islands)
            if guests:
                best = max(guests, key=lambda node: (node.score, -node.step))
                return Choice((best,), MemoryMode.PARENT, island, f"migrates from island {best.island}")
        if not elites:
            points = view.starting_points() or view.top(1)
            if not points:
                return None
            return Choice((randomness.choice(points),), MemoryMode.PARENT, island, "the island is empty")
        ranked = sorted(elites, key=lambda node: (-node.score, node.step))
        first = ranked[0] if randomness.random() < settings.greed else _by_rank(ranked, randomness)
        others = [node for node in ranked if node.node_id != first.node_id]
        if others and randomness.random() < settings.crossover:
            second = _by_rank(others, randomness)
            return Choice((first, second), MemoryMode.PARENT, island, "crossover of two elites")
        return Choice((first,), MemoryMode.BOTH, island, f"elite of island {island}, cell {first.cell}")

    def cell(self, entry: PlatformVerdict, size: float) -> str | None:
        """See `Policy.cell`."""
        # Steps of a factor of sqrt(2) in length.
        length = max(-4, min(4, round(2 * math.log2(max(size, 1e-3)))))
        first = [timing for timing in entry.timings if timing.baseline == entry.timings[0].baseline]
        best = max(first, key=lambda timing: timing.interval.speedup).case if len(first) > 1 else "-"
        return f"{length:+d} {best}"[:64]


def _by_rank(ranked: list[Brief], randomness: random.Random) -> Brief:
    """One of them; each place half as likely again as the next (linear ranking would hardly prefer the best)."""
    return randomness.choices(ranked, weights=[1.5**-place for place in range(len(ranked))])[0]
