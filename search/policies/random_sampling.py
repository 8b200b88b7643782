"""Any viable node, by chance: the floor that a policy has to be better than."""

from __future__ import annotations

import random

from kernelevolve.search import policies
from kernelevolve.search.order import MemoryMode
from kernelevolve.search.policies import Choice, PlainPolicy
from kernelevolve.search.view import SearchView


class RandomSampling(PlainPolicy):
    """Builds on a random node, however slow."""

    name = "random"

    class Parameters(policies.Parameters):
        """None."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters = parameters or self.Parameters()

    def select(self, view: SearchView, number: int, randomness: random.Random) -> Choice | None:
        """See `Policy.select`."""
        node = view.some(randomness.random())
        return None if node is None else Choice((node,), MemoryMode.PARENT, note="by chance")
