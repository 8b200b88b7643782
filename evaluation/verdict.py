"""A verdict: what the judge found about one candidate, on every platform that was asked for."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from kernelevolve.evaluation.audit import Audit, AuditOutcome
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.finding import STATUS_OF, Finding, Status
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.receipt import Receipt
from kernelevolve.evaluation.resources import KernelResources


class Speed(StrEnum):
    """The candidate against a baseline, given the confidence interval."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


class Diagnosis(Contract):
    """Why a candidate was refused, made for a model to read."""

    finding: Finding
    """The kind of failure."""
    summary: str
    """What was wrong, with values, in a sentence or two."""
    advice: str = ""
    """What to change."""
    where: dict[str, Any] = Field(default_factory=dict)
    """Case, dtype, layout, trial and output index, as far as they apply."""
    first_index: tuple[int, ...] | None = None
    """Index of the first element out of bounds."""
    expected: float | int | bool | None = None
    """The oracle's value there."""
    got: float | int | bool | None = None
    """The candidate's value there."""
    mismatched: int | None = None
    """Elements out of bounds."""
    elements: int | None = None
    """Elements compared."""
    max_error: float | None = None
    """Largest absolute error against the oracle."""
    max_error_ulps: float | None = None
    """The same in units in the last place of the output's dtype, at the element where it occurs."""
    error_ratio: float | None = None
    """Largest error divided by the reference's own largest error; absent when the reference is exact."""
    log: str = ""
    """Compiler output or traceback, shortened."""

    @property
    def status(self) -> Status:
        """The status the finding implies."""
        return STATUS_OF[self.finding]

    @classmethod
    def of(cls, error: KernelEvolveError) -> Diagnosis:
        """The diagnosis that an error amounts to."""
        return cls(finding=error.finding, summary=error.summary, advice=error.advice, log=error.log)


class Interval(Contract):
    """A ratio of times, baseline over candidate, with its confidence interval."""

    speedup: float
    """Median of the paired ratios; above 1 the candidate is faster."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    confidence: float
    """Coverage the interval guarantees, e.g. 0.95."""
    rounds: int
    """Paired rounds the interval rests on."""

    def verdict(self, margin: float) -> Speed:
        """Put the interval into words.

        Args:
            margin: relative difference below which two kernels count as the same, e.g. 0.01.
        """
        if self.low > 1.0 and self.speedup >= 1.0 + margin:
            return Speed.FASTER
        if self.high < 1.0 and self.speedup <= 1.0 / (1.0 + margin):
            return Speed.SLOWER
        if self.low >= 1.0 / (1.0 + margin) ** 2 and self.high <= (1.0 + margin) ** 2:
            return Speed.SAME
        return Speed.INCONCLUSIVE


class CaseTiming(Contract):
    """Times of one case against one baseline."""

    case: str
    """Case name."""
    baseline: str
    """`eager` or `compile`."""
    weight: float
    """The case's weight."""
    candidate_ms: float
    """Median device time of one call (wall time on a CPU), milliseconds."""
    candidate_wall_ms: float | None = None
    """Median wall time of one synchronised call, milliseconds."""
    baseline_ms: float
    """Median device time of one call of the baseline, milliseconds."""
    interval: Interval
    """Speed-up with its interval."""
    speed: Speed
    """The interval in words."""
    calls: int
    """Timed calls on each side."""
    floor_ms: float | None = None
    """Least time the hardware allows for this case by the roofline, milliseconds."""
    moved_bytes: float | None = None
    """Bytes that one call must move through device memory."""
    moved_bytes_source: str = ""
    """Who says so: `task`, or `inputs and outputs` where each is counted once."""
    flops: float | None = None
    """Operations of one call, where the task says."""


class SpeedSummary(Contract):
    """Speed over all cases against one baseline."""

    baseline: str
    """`eager` or `compile`."""
    speedup: float
    """Weighted geometric mean of the cases' speed-ups."""
    low: float
    """The same of the lower ends."""
    high: float
    """The same of the upper ends."""
    speed: Speed
    """In words."""

    @classmethod
    def of(cls, timings: list[CaseTiming], margin: float) -> SpeedSummary:
        """Combine the cases of one baseline.

        Args:
            timings: at least one, all against the same baseline.
            margin: see `Interval.verdict`.
        """
        weights = [timing.weight for timing in timings]

        def mean(values: list[float]) -> float:
            logs = [weight * math.log(value) for weight, value in zip(weights, values, strict=True)]
            return math.exp(sum(logs) / sum(weights))

        whole = Interval(
            speedup=mean([timing.interval.speedup for timing in timings]),
            low=mean([timing.interval.low for timing in timings]),
            high=mean([timing.interval.high for timing in timings]),
            confidence=min(timing.interval.confidence for timing in timings),
            rounds=min(timing.interval.rounds for timing in timings),
        )
        return cls(
            baseline=timings[0].baseline,
            speedup=whole.speedup,
            low=whole.low,
            high=whole.high,
            speed=whole.verdict(margin),
        )


class PlatformVerdict(Contract):
    """The verdict for one platform."""

    platform: str
    """Platform name."""
    status: Status
    """The word."""
    level: Level | None
    """The best level that was reached; none where nothing could be done."""
    diagnosis: Diagnosis | None = None
    """Why it was refused; absent when correct."""
    timings: tuple[CaseTiming, ...] = ()
    """Times by case and baseline; only at the level *executed*."""
    speeds: tuple[SpeedSummary, ...] = ()
    """Speed over all cases, one for each baseline."""
    resources: tuple[KernelResources, ...] = ()
    """Resources of each kernel that was compiled."""
    checks: int = 0
    """Outputs compared with the oracle."""
    notes: tuple[str, ...] = ()
    """Everything a reader should know: cases left out and why, a tightened tolerance, a missing guard."""
    phases_ms: dict[str, float] = Field(default_factory=dict)
    """Wall time of the judge's phases, milliseconds."""
    audit: SkipJsonSchema[Audit | None] = Field(default=None, exclude_if=lambda audit: audit is None)
    """The audit, where one was asked for; no tool asks for one, so the tools' schemas do not mention it."""

    @property
    def stands(self) -> bool:
        """Whether it is correct and no audit found otherwise."""
        unconfirmed = self.audit is not None and self.audit.outcome is AuditOutcome.NOT_CONFIRMED
        return self.status is Status.CORRECT and not unconfirmed

    def speedup(self, baseline: str) -> float | None:
        """Weighted speed-up against a baseline, if it was measured."""
        return next((entry.speedup for entry in self.speeds if entry.baseline == baseline), None)


_SEVERITY = (
    Status.HARNESS_ERROR,
    Status.REWARD_HACK,
    Status.RULE_VIOLATION,
    Status.COMPILE_ERROR,
    Status.TIMEOUT,
    Status.RUNTIME_ERROR,
    Status.WRONG,
    Status.UNSUPPORTED,
    Status.CORRECT,
)


class Verdict(Contract):
    """The whole answer to one candidate."""

    task: str
    """Task name."""
    candidate: str
    """Candidate name."""
    language: str
    """Candidate language."""
    source_hash: str
    """SHA-256 of the candidate."""
    status: Status
    """The most severe status of all platforms."""
    platforms: tuple[PlatformVerdict, ...]
    """One verdict for each platform, in the order asked."""
    receipt: Receipt
    """What stands behind this verdict."""

    @staticmethod
    def worst(statuses: list[Status]) -> Status:
        """The most severe of several statuses."""
        return min(statuses, key=_SEVERITY.index)

    def of(self, platform: str) -> PlatformVerdict:
        """The verdict for a platform that was asked for."""
        return next(entry for entry in self.platforms if entry.platform == platform)
