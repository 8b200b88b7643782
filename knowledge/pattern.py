"""A pattern: a technique learned from searches, with the evidence for it. Values only; `patterns.py` keeps them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.verdict import Verdict


class Outcome(StrEnum):
    """What one try of a pattern came to."""

    SUCCESS = "success"
    NO_GAIN = "no_gain"
    SLOWER = "slower"
    INCORRECT = "incorrect"


class PatternStatus(StrEnum):
    """What all tries together say."""

    CANDIDATE = "candidate"
    """It has helped, in one task only."""
    CONFIRMED = "confirmed"
    """It has helped in several tasks or runs."""
    REFUTED = "refuted"
    """It has failed more often than it has helped."""


class PatternText(Contract):
    """What an author says of a technique."""

    name: str = Field(min_length=4, max_length=100)
    """The technique in a few words, e.g. `split the reduction over blocks`."""
    mechanism: str = Field(min_length=20, max_length=2_000)
    """Why it helps."""
    method: str = Field(min_length=10, max_length=4_000)
    """What to do, step by step."""
    structure: str = Field(default="", max_length=6_000)
    """Code that shows it."""
    conditions: str = Field(min_length=4, max_length=1_000)
    """When it applies, and when it does not."""
    operator: str
    """What the operator is about: a topic such as `gemm`."""
    platform: str
    """What it was seen on, e.g. `cuda:sm_90`."""
    language: str
    parameters: dict[str, str] = Field(default_factory=dict)
    """Settings that make it this pattern and not another, e.g. `{"num_stages": "4"}`."""
    bottlenecks: tuple[str, ...] = ()
    """Diagnoses it is for."""


class Proof(Contract):
    """A judged node that shows what a pattern does."""

    node_id: str
    verdict: Verdict
    parent: Verdict | None = None
    """Verdict of the node without the pattern; the baseline counts where there is none."""


class Evidence(Contract):
    """One try, as it is kept. Never changed, never merged."""

    evidence_id: str
    pattern_id: str
    outcome: Outcome
    node_id: str
    task: str
    task_hash: str
    platform: str
    gain: float | None
    """Time without over time with the pattern; `None` where it was not correct."""
    low: float | None
    high: float | None
    against: str
    """`parent`, or the baseline."""
    receipt_hash: str
    parent_receipt_hash: str = ""
    environment: dict[str, str]
    """Versions and device of the run."""
    made: str


class Pattern(Contract):
    """A technique with what is known of it."""

    pattern_id: str
    text: PatternText
    status: PatternStatus
    successes: int
    failures: int
    gain: float
    """Geometric mean of all gains, drawn towards 1 by two imagined tries that gained nothing."""
    made: str
    changed: str
    stale: str = ""
    """Why it must be verified again: what changed since its newest evidence; empty if nothing did."""


class StoredPattern(Contract):
    """The answer to storing a pattern."""

    pattern: Pattern
    new: bool
    """Whether it was not known before."""
    evidence: tuple[Evidence, ...]
    """What was added now."""
    neighbours: tuple[str, ...] = ()
    """Patterns that sound alike; the author may say that they are the same, with `duplicate_of`."""
