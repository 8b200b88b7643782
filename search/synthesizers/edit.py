"""A textual edit of a source: the author's formatting stays, only the named spans change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Replacement:
    """Put `text` where `source[start:end]` was; `start == end` inserts."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Edit:
    """One change that keeps the meaning."""

    description: str
    """What changes, for people; the same words for the same change in every source of a search."""
    rank: int
    """Smaller is tried earlier: how large the wins of this kind of change usually are."""
    replacements: tuple[Replacement, ...]
    """Spans that do not overlap."""

    def apply(self, source: str) -> str:
        """The source after the change."""
        for change in sorted(self.replacements, key=lambda change: change.start, reverse=True):
            source = source[: change.start] + change.text + source[change.end :]
        return source
