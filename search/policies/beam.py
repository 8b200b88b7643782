"""Keep several of the best alive, and build on each of them in turn."""

from __future__ import annotations

import random

from pydantic import Field

from kernelevolve.search import policies
from kernelevolve.search.policies import Choice, PlainPolicy
from kernelevolve.search.view import SearchView


class Beam(PlainPolicy):
    """Selects, of the fastest nodes, the one that was built on least; of equals, the faster."""

    name = "beam"

    class Parameters(policies.Parameters):
        """How wide the beam is."""

        width: int = Field(default=4, ge=1, le=1000)
        """Nodes kept alive. Four lets a slower start catch up within the usual budget of some 40 candidates; eight
        would leave each only five."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters: Beam.Parameters = parameters or self.Parameters()

    def select(self, view: SearchView, number: int, randomness: random.Random) -> Choice | None:
        """See `Policy.select`."""
        alive = view.top(self.parameters.width)
        if not alive:
            return None
        place = min(range(len(alive)), key=lambda index: (alive[index].visits, index))
        return Choice((alive[place],), note=f"place {place + 1} of a beam of {len(alive)}")
