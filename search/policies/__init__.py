"""Which nodes to build on next: each policy is one file, pure functions over a read-only view.

A new policy is one file with one class, named under the entry point group `kernelevolve.policies`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from pydantic import ValidationError

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.plug_ins import load_plug_ins
from kernelevolve.evaluation.verdict import PlatformVerdict
from kernelevolve.search.errors import SearchError
from kernelevolve.search.order import MemoryMode
from kernelevolve.search.view import Brief, SearchView

_BUILT_IN = {
    "best_of_n": "kernelevolve.search.policies.best_of_n:BestOfN",
    "random": "kernelevolve.search.policies.random_sampling:RandomSampling",
    "greedy": "kernelevolve.search.policies.greedy:Greedy",
    "beam": "kernelevolve.search.policies.beam:Beam",
    "mcts": "kernelevolve.search.policies.mcts:Mcts",
    "evolutionary": "kernelevolve.search.policies.evolutionary:Evolutionary",
}


@dataclass(frozen=True)
class Choice:
    """What a policy decided for one order."""

    parents: tuple[Brief, ...]
    """Nodes to build on, the main one first; a second one is to be combined with it."""
    memory: MemoryMode = MemoryMode.BOTH
    """What the author is told."""
    island: int = 0
    """Sub-population the child will belong to."""
    note: str = ""
    """Why these, in a few words."""


class Parameters(Contract):
    """A policy's parameters, each with its default and the reason for it."""


class Policy(Protocol):
    """Chooses what the next candidate is built on. It keeps no state: all there is to know is in the view."""

    name: str
    parameters: Parameters
    along_path: bool
    """Whether visits and rewards count for all ancestors, not for the parents alone."""
    least_novelty: float
    """Reject sources whose embedding differs by less from one of their island's, as 1 - cosine; 0 rejects none."""

    def __init__(self, parameters: Any = None) -> None: ...

    def select(self, view: SearchView, number: int, randomness: random.Random) -> Choice | None:
        """Choose the parents of an order.

        Args:
            view: the search as it is now.
            number: the order's number.
            randomness: the only source of chance, so that a search can be repeated.

        Returns:
            The choice, or None when no node is left that anything can be tried from.
        """
        ...

    def cell(self, entry: PlatformVerdict, size: float) -> str | None:
        """The cell of the archive for which a correct candidate competes; None where there is no archive.

        Args:
            entry: the judge's word for the search's platform.
            size: length of its source over that of the starting point's.
        """
        ...


class PlainPolicy:
    """What most policies have in common: no archive, no paths, no rejection."""

    along_path = False
    least_novelty = 0.0

    def cell(self, entry: PlatformVerdict, size: float) -> str | None:
        """See `Policy.cell`."""
        return None


@cache
def policies() -> dict[str, type[Any]]:
    """All policies by name, those of plug-ins included."""
    return load_plug_ins("kernelevolve.policies", _BUILT_IN)


def get_policy(name: str, parameters: Mapping[str, float] | None = None) -> Policy:
    """A policy by its name.

    Args:
        name: e.g. `greedy`.
        parameters: those that shall differ from their defaults.

    Raises:
        SearchError: there is no such policy, or a parameter is unknown or out of its range.
    """
    chosen = policies().get(name)
    if chosen is None:
        raise SearchError(f"There is no policy {name!r}.", f"Use one of {', '.join(sorted(policies()))}.")
    kind: type[Parameters] = chosen.Parameters
    try:
        policy: Policy = chosen(kind.model_validate(dict(parameters or {})))
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"])) or name
        known = ", ".join(f"{key} ({field.default})" for key, field in kind.model_fields.items()) or "none"
        raise SearchError(
            f"Policy {name}: {place} = {found['input']!r}: {found['msg'].lower()}.", f"Its parameters: {known}."
        ) from error
    return policy
