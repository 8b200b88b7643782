"""The statistics of a speed: paired ratios, and an interval that assumes nothing about their distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kernelevolve.evaluation.verdict import Interval

CONFIDENCE = 0.95
"""Coverage that an interval must reach."""


def median(values: Sequence[float]) -> float:
    """Middle value; the mean of the two middle ones for an even count. Raises ValueError when empty."""
    if not values:
        raise ValueError("the median of nothing")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval_ranks(count: int, confidence: float = CONFIDENCE) -> tuple[int, float]:
    """Rank `r` so that [r-th smallest, r-th largest] of `count` values covers the median with at least `confidence`.

    The coverage is `1 - 2·P(B < r)` with `B ~ Binomial(count, 1/2)`: distribution-free (Conover, Practical
    Nonparametric Statistics, section 3.2). Ranks count from 1.

    Returns:
        The rank and the coverage it gives. Below six values even the whole range covers less than 95 %: the rank is
        then 1 and the coverage says how much it is worth.
    """
    below, rank, coverage = 0.0, 1, 1 - 2 * 0.5**count
    for candidate in range(1, count // 2 + 1):
        below += math.comb(count, candidate - 1) * 0.5**count
        if 1 - 2 * below < confidence:
            break
        rank, coverage = candidate, 1 - 2 * below
    return rank, coverage


def paired_interval(
    baseline_ms: Sequence[float], candidate_ms: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """Speed-up from paired rounds, with an interval.

    Args:
        baseline_ms: one time of the baseline for each round, milliseconds.
        candidate_ms: one time of the candidate for each round, milliseconds, measured next to it.
        confidence: coverage the interval must reach.

    Raises:
        ValueError: no rounds, rounds that don't pair up, or a time that is not positive and finite.
    """
    if len(baseline_ms) != len(candidate_ms):
        raise ValueError(f"{len(baseline_ms)} baseline rounds do not pair with {len(candidate_ms)} candidate rounds")
    for value in (*baseline_ms, *candidate_ms):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{value} ms is no time")
    ratios = sorted(base / time for base, time in zip(baseline_ms, candidate_ms, strict=True))
    rank, coverage = median_interval_ranks(len(ratios), confidence)
    return Interval(
        speedup=median(ratios),
        low=ratios[rank - 1],
        high=ratios[-rank],
        confidence=round(coverage, 4),
        rounds=len(ratios),
    )
