"""What can go wrong with a search as such, apart from its candidates."""

from __future__ import annotations

from typing import Self


class SearchError(Exception):
    """A foreseen failure of the engine or its store.

    Args:
        summary: what was wrong, with the value.
        advice: what to do next.
    """

    def __init__(self, summary: str, advice: str = "") -> None:
        super().__init__(f"{summary} {advice}".strip())
        self.summary = summary
        self.advice = advice

    @classmethod
    def no_search(cls, search_id: str) -> Self:
        """There is no search with this handle, or none that the caller may know of."""
        return cls(
            f"There is no search {search_id[:80]!r}.", "Check the handle; `kernelevolve search list` shows them."
        )


class DuplicateError(SearchError):
    """The search has this source already.

    Args:
        node_id: where; None while it is being judged for another order.
    """

    def __init__(self, node_id: str | None) -> None:
        where = f"as node {node_id}" if node_id else "and it is being judged right now"
        super().__init__(f"This source is in the search already, {where}.", "Hand in another one.")
        self.node_id = node_id
