"""Which node to build on next: each policy is one file, a pure function over a read-only view."""

from __future__ import annotations

from typing import Protocol

from kernelevolve.search.node import Node
from kernelevolve.search.view import SearchView


class Policy(Protocol):
    """Chooses the parent of the next candidate."""

    name: str

    def select(self, view: SearchView) -> Node | None:
        """The node to build on, or None when no node is left that anything can be tried from."""
        ...
