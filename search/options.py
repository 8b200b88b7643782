"""What a caller may decide about a search."""

from __future__ import annotations

from pydantic import Field

from kernelevolve.evaluation.contract import Contract


class OptimizeOptions(Contract):
    """Budget, goal and rigour of one search."""

    baseline: str = "eager"
    """What the speed-up is measured against: `eager` or `compile`."""
    evaluations: int = Field(default=40, ge=1)
    """Candidates to judge at most, starting points included, confirmations not."""
    wall_clock_s: float | None = Field(default=None, gt=0)
    """Seconds after which no further candidate is started; a resumed search counts from its resumption."""
    stall: int | None = Field(default=20, ge=1)
    """Stop after so many candidates in a row without a better one."""
    target_speedup: float | None = Field(default=None, gt=0)
    """Stop at this speed-up against the baseline."""
    roofline_share: float | None = Field(default=0.95, gt=0, le=1)
    """Stop when the best takes no longer than the hardware's own limit divided by this; DESIGN 4.6."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens that authors may use, read and written together."""
    usd: float | None = Field(default=None, gt=0)
    """US dollars that authors may cost."""
    margin: float = Field(default=0.02, ge=0)
    """Relative difference in speed that counts as more than noise."""
    seed: int = 0
    """Seed of the choices of policy and synthesizer."""
    drafts: int | None = Field(default=None, ge=0)
    """First candidates that are written without a memory; None for 4 where an author reads prompts, else 0. Independent
    drafts give the search several ways to go on from; the published runs use about ten of fifty."""
    stagnation: int = Field(default=8, ge=1)
    """After so many candidates without a gain every second order gets a clean slate, where an author reads prompts."""
    policy_parameters: dict[str, float] = Field(default_factory=dict)
    """Parameters of the policy; see the class of the policy."""
    lease_s: float = Field(default=900.0, gt=0)
    """Seconds an author has for a candidate before the order is taken back."""
    prompt_tokens: int = Field(default=16_000, ge=500)
    """Estimated tokens of a whole prompt, at most."""
    trials: int = Field(default=3, ge=1)
    """Correctness trials for each candidate."""
    timed_calls: int = Field(default=50, ge=1)
    """Timed calls for each candidate and case."""
    timing_budget_s: float = Field(default=0.8, gt=0)
    """Seconds of timed calls on each side for each candidate, at most (see `JudgeRequest.timing_budget_s`)."""
    confirm_baselines: tuple[str, ...] = ("eager", "compile")
    """Baselines that the winner is compared with when it is confirmed, besides the search's own."""
    confirm_trials: int = Field(default=5, ge=1)
    """Correctness trials when the winner is confirmed."""
    confirm_timed_calls: int = Field(default=200, ge=1)
    """Timed calls when the winner is confirmed."""
    confirm_timing_budget_s: float = Field(default=4.0, gt=0)
    """The same when the winner is confirmed."""
    limit_s: float = Field(default=60.0, gt=0)
    """Seconds that judging one candidate may take."""
