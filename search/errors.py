"""What can go wrong with a search as such, apart from its candidates."""

from __future__ import annotations


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
    def no_search(cls, search_id: str) -> SearchError:
        """There is no search with this handle, or none that the caller may know of."""
        return cls(
            f"There is no search {search_id[:80]!r}.", "Check the handle; `kernelevolve search list` shows them."
        )
