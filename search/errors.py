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
