"""An audit: a second look at a fast kernel, in a process of its own, by a clock outside of what it can reach."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from kernelevolve.evaluation.contract import Contract


class AuditOutcome(StrEnum):
    """What an audit came to."""

    CONFIRMED = "confirmed"
    """Right on fresh data in every timed call, and as fast as the verdict says."""
    NOT_CONFIRMED = "not_confirmed"
    """Wrong, or slower than the verdict says."""
    NOT_POSSIBLE = "not_possible"
    """There was nothing to measure, or nothing to measure it with."""


class AuditedCase(Contract):
    """One case, as the verdict and as the audit saw it."""

    case: str
    """Case name."""
    stated: float
    """The verdict's speed-up against its first baseline."""
    stated_low: float
    """Lower end of the verdict's interval."""
    seen: float
    """The audit's speed-up against the same baseline."""
    seen_low: float
    """Lower end of the audit's interval."""
    seen_high: float
    """Upper end of the audit's interval."""


class Audit(Contract):
    """The result of an audit. It is part of the verdict that its receipt covers."""

    outcome: AuditOutcome
    """The word."""
    reason: str = ""
    """Why it was not confirmed or not possible, or what was left out."""
    method: str = ""
    """What measured."""
    cases: tuple[AuditedCase, ...] = Field(default=())
    """The cases that were measured."""
    checks: int = 0
    """Outputs of timed calls that were compared with the oracle."""
