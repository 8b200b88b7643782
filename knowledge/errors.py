"""What can go wrong when knowledge is asked for or added."""

from __future__ import annotations


class KnowledgeError(Exception):
    """A foreseen failure; its text says what was wrong and what to do."""
