"""Whether a candidate's process held the baseline back: every timed case is timed again once the process has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernelevolve.evaluation.judge.statistics import median
from kernelevolve.evaluation.task import Case

ROUNDS = 3
"""Rounds of a baseline once the candidate is gone."""
_HELD_BACK = 0.15
"""How much slower, relatively, the baseline may have been beside the candidate."""
_SLACK_MS = 0.005


@dataclass(frozen=True)
class TimedBaseline:
    """How a baseline was timed beside a candidate."""

    case: Case
    dtype: str
    name: str
    copies: int
    """Copies of the inputs that calls took in turn."""
    calls: int
    """In a round."""
    slowest_ms: float
    """What a call of the slowest side takes, roughly."""
    beside_ms: float
    """What a call took beside the candidate: the median of rounds."""

    def share(self, rounds_ms: Sequence[float]) -> float | None:
        """What part of the time beside the candidate a call takes alone, below 1; None where it was not held back.

        Args:
            rounds_ms: medians of rounds without the candidate, milliseconds.
        """
        if self.beside_ms <= max(rounds_ms) * (1 + _HELD_BACK) + _SLACK_MS:
            return None
        return median(list(rounds_ms)) / self.beside_ms

    def note(self, share: float) -> str:
        """What a reader should know; a hidden case keeps its name to itself."""
        name = self.case.name if not self.case.hidden else "a hidden case"
        return (
            f"{name}: the baseline took {self.beside_ms:.4g} ms beside the candidate's process and "
            f"{self.beside_ms * share:.4g} ms alone: speeds count the latter"
        )
