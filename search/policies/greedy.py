"""Always build on the best node."""

from __future__ import annotations

from kernelevolve.search.node import Node
from kernelevolve.search.view import SearchView, leader


class Greedy:
    """Selects the best node that is not exhausted; of equals, the earliest."""

    name = "greedy"

    def select(self, view: SearchView) -> Node | None:
        """See `Policy.select`."""
        return leader([node for node in view.nodes if node.node_id not in view.exhausted], view.margin)
