"""What a client asks the judge."""

from __future__ import annotations

from pydantic import Field

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract

WAITING = "waiting for the device"
"""What a judge says it does while another one has its device."""


class JudgeRequest(Contract):
    """One candidate to judge."""

    task: str
    """Path of a task file or folder, or `aten::<operator>`."""
    candidate: Candidate
    """What to judge."""
    platforms: tuple[str, ...] = Field(default=("cpu",), min_length=1)
    """Platform names."""
    trials: int = Field(default=5, ge=1, le=1000)
    """Correctness trials with plain inputs, at least; special values and layouts come on top."""
    timed_calls: int = Field(default=100, ge=0, le=100_000)
    """Calls to time on each side; 0 to leave timing out. Fewer are made where they would outlast `timing_budget_s`."""
    baselines: tuple[str, ...] = ("eager",)
    """`eager`, `compile`, or both."""
    limit_s: float = Field(default=60.0, gt=0)
    """Seconds that one answer of the candidate may take."""
    timing_budget_s: float = Field(default=4.0, gt=0)
    """Seconds of timed calls and cache flushes for each side, shared out over the cases (at least six rounds are
    made, whatever they take)."""
    audit: bool = False
    """Whether to audit a candidate that is correct and was timed; see `evaluation.audit`."""
    lock_limit_s: float = Field(default=600.0, gt=0)
    """Seconds to wait for the device."""
