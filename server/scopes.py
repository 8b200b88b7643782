"""What a caller of the server may do."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do. Each allows what the ones before it allow."""

    READ = "read"
    """Ask, look at searches, profiles and platforms."""
    EVALUATE = "evaluate"
    """Have candidates judged and profiled."""
    SEARCH = "search"
    """Start searches and hand in candidates, keep patterns."""
    ADMIN = "admin"
    """Everything."""

    def allows(self, wanted: Scope) -> bool:
        """Whether this scope is enough."""
        order = list(Scope)
        return order.index(self) >= order.index(wanted)
