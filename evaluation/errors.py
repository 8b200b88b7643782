"""Failures that are foreseen: each carries its finding and a text that says what to do."""

from __future__ import annotations

from kernelevolve.evaluation.finding import STATUS_OF, Finding, Status


class KernelEvolveError(Exception):
    """A foreseen failure.

    Args:
        finding: the kind of failure; decides the status.
        summary: what was wrong, with the value.
        advice: what to change.
        log: compiler or traceback text, when there is some.
    """

    def __init__(self, finding: Finding, summary: str, advice: str = "", log: str = "") -> None:
        super().__init__(f"{summary} {advice}".strip())
        self.finding = finding
        self.summary = summary
        self.advice = advice
        self.log = log

    @property
    def status(self) -> Status:
        """The status that the finding implies."""
        return STATUS_OF[self.finding]


class TaskError(KernelEvolveError):
    """The task itself cannot be used; no candidate is to blame."""


class CandidateError(KernelEvolveError):
    """The candidate was refused before or while it ran."""


class PlatformError(KernelEvolveError):
    """A platform or language is unknown, or cannot do here what was asked."""
