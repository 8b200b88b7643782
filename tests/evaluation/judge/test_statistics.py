"""Paired ratios and their interval: what it covers, and how rarely equal kernels come out as different."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelevolve.evaluation.judge.statistics import (
    CONFIDENCE,
    median,
    median_interval_ranks,
    paired_interval,
)
from kernelevolve.evaluation.verdict import Interval, Speed

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test fails because the machine is busy."""

TIMES = st.floats(min_value=1e-4, max_value=1e4)
PAIRS = st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=40)


def exact_coverage(count: int, rank: int) -> Fraction:
    """Probability that [rank-th smallest, rank-th largest] holds the median of a continuous distribution."""
    outside = sum(math.comb(count, below) for below in range(rank))
    return 1 - 2 * Fraction(outside, 2**count)


def interval(low: float, speedup: float, high: float) -> Interval:
    return Interval(speedup=speedup, low=low, high=high, confidence=0.95, rounds=10)


def rate_of(verdict: Speed, ratio: float, noise: float, rounds: int, repeats: int, margin: float) -> float:
    """How often simulated paired rounds of two kernels with a true speed-up give a verdict."""
    generator = np.random.default_rng(17)
    hits = 0
    for _ in range(repeats):
        baseline = ratio * np.exp(noise * generator.standard_normal(rounds))
        candidate = np.exp(noise * generator.standard_normal(rounds))
        hits += paired_interval(baseline.tolist(), candidate.tolist()).verdict(margin) is verdict
    return hits / repeats


@pytest.mark.parametrize("count", range(6, 80))
def test_the_rank_is_the_narrowest_that_still_covers(count: int) -> None:
    rank, coverage = median_interval_ranks(count)

    assert coverage == pytest.approx(float(exact_coverage(count, rank)), abs=1e-12)
    assert exact_coverage(count, rank) >= Fraction(95, 100)
    assert exact_coverage(count, rank + 1) < Fraction(95, 100)


@pytest.mark.parametrize("count", range(1, 6))
def test_few_values_give_the_whole_range_and_say_what_it_is_worth(count: int) -> None:
    rank, coverage = median_interval_ranks(count)

    assert rank == 1
    assert coverage == pytest.approx(float(exact_coverage(count, 1)))
    assert coverage < CONFIDENCE


@pytest.mark.parametrize(("count", "rank"), [(10, 2), (20, 6), (30, 10)])
def test_known_ranks(count: int, rank: int) -> None:
    # Coverage 97.85 %, 95.86 % and 95.72 %.
    assert median_interval_ranks(count)[0] == rank


@pytest.mark.parametrize("count", [6, 10, 16, 30])
def test_coverage_holds_for_a_skewed_distribution(count: int) -> None:
    rank, coverage = median_interval_ranks(count)
    samples = np.sort(np.random.default_rng(count).lognormal(mean=0.0, sigma=2.0, size=(20_000, count)), axis=1)

    covered = np.mean((samples[:, rank - 1] <= 1.0) & (samples[:, -rank] >= 1.0))

    assert covered == pytest.approx(coverage, abs=0.006)


@settings(PATIENT)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_median_is_the_usual_one(values: list[float]) -> None:
    assert median(values) == pytest.approx(float(np.median(values)), abs=1e-9)


def test_median_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        median([])


@settings(PATIENT)
@given(PAIRS)
def test_the_interval_holds_the_speedup(pairs: list[tuple[float, float]]) -> None:
    baseline, candidate = ([pair[side] for pair in pairs] for side in (0, 1))

    result = paired_interval(baseline, candidate)

    assert result.low <= result.speedup <= result.high
    assert result.rounds == len(pairs)


@settings(PATIENT)
@given(PAIRS, st.floats(1e-3, 1e3))
def test_the_unit_of_time_does_not_matter(pairs: list[tuple[float, float]], unit: float) -> None:
    baseline, candidate = ([pair[side] for pair in pairs] for side in (0, 1))

    one = paired_interval(baseline, candidate)
    other = paired_interval([unit * time for time in baseline], [unit * time for time in candidate])

    assert (one.low, one.speedup, one.high) == pytest.approx((other.low, other.speedup, other.high))


@settings(PATIENT)
@given(PAIRS)
def test_swapping_the_sides_mirrors_the_interval(pairs: list[tuple[float, float]]) -> None:
    baseline, candidate = ([pair[side] for pair in pairs] for side in (0, 1))

    one, other = paired_interval(baseline, candidate), paired_interval(candidate, baseline)

    assert (one.low, one.high) == pytest.approx((1 / other.high, 1 / other.low))


def test_rounds_are_paired_and_not_pooled() -> None:
    # The machine slows down tenfold half way; within a round the candidate always takes half the time.
    baseline = [2.0] * 5 + [20.0] * 5
    candidate = [1.0] * 5 + [10.0] * 5

    result = paired_interval(baseline, candidate)

    assert (result.low, result.speedup, result.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [([], []), ([1.0], [1.0, 1.0]), ([1.0], [0.0]), ([-1.0], [1.0]), ([1.0], [math.nan]), ([math.inf], [1.0])],
)
def test_what_is_no_time_is_refused(baseline: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pair|no time|nothing"):
        paired_interval(baseline, candidate)


@pytest.mark.parametrize(
    ("low", "speedup", "high", "word"),
    [
        (1.02, 1.05, 1.08, Speed.FASTER),
        (0.92, 0.95, 0.98, Speed.SLOWER),
        (0.995, 1.0, 1.005, Speed.SAME),
        (1.001, 1.005, 1.01, Speed.SAME),  # surely faster, but by less than the margin
        (0.99, 1.05, 1.10, Speed.INCONCLUSIVE),  # the interval holds 1
        (0.90, 1.00, 1.10, Speed.INCONCLUSIVE),
        (1.001, 1.005, 1.09, Speed.INCONCLUSIVE),
    ],
)
def test_words(low: float, speedup: float, high: float, word: Speed) -> None:
    assert interval(low, speedup, high).verdict(margin=0.01) is word


@settings(PATIENT)
@given(st.tuples(*[st.floats(0.2, 5.0)] * 3), st.floats(0.001, 0.1))
def test_faster_mirrored_is_slower(numbers: tuple[float, float, float], margin: float) -> None:
    low, speedup, high = sorted(numbers)
    mirrored = interval(1 / high, 1 / speedup, 1 / low)
    opposite = {Speed.FASTER: Speed.SLOWER, Speed.SLOWER: Speed.FASTER}

    word = interval(low, speedup, high).verdict(margin)

    if min(abs(number - edge) for number in numbers for edge in (1.0, 1 + margin, (1 + margin) ** 2)) > 1e-9 and (
        min(abs(1 / number - edge) for number in numbers for edge in (1 + margin, (1 + margin) ** 2)) > 1e-9
    ):
        assert mirrored.verdict(margin) is opposite.get(word, word)


@pytest.mark.parametrize("noise", [0.001, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("rounds", [6, 10, 30])
def test_equal_kernels_come_out_faster_no_more_often_than_the_nominal_rate(noise: float, rounds: int) -> None:
    rate = rate_of(Speed.FASTER, ratio=1.0, noise=noise, rounds=rounds, repeats=1000, margin=0.01)

    # One tail of a 95 % interval, and three standard deviations of this simulation.
    assert rate <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 1000)


def test_equal_kernels_on_a_quiet_machine_are_the_same() -> None:
    assert rate_of(Speed.SAME, ratio=1.0, noise=0.002, rounds=10, repeats=500, margin=0.01) >= 0.99


@pytest.mark.parametrize(("ratio", "word"), [(1.05, Speed.FASTER), (1 / 1.05, Speed.SLOWER)])
def test_a_known_difference_is_found(ratio: float, word: Speed) -> None:
    assert rate_of(word, ratio=ratio, noise=0.01, rounds=10, repeats=500, margin=0.01) >= 0.99


def test_a_difference_below_the_margin_is_not_sold_as_faster() -> None:
    assert rate_of(Speed.FASTER, ratio=1.003, noise=0.002, rounds=10, repeats=500, margin=0.01) == 0
