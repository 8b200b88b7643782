from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.search.fitness import Fitness, fitness_of, improves, mean_ms, roofline_share, steadied

speedups = st.floats(0.01, 1000)


def test_fitness_is_the_weighted_speedup_against_the_stated_baseline(make_verdict, row_sums: Candidate) -> None:
    verdict = make_verdict(row_sums, 3.0, baselines=("eager", "compile"))

    assert fitness_of(verdict, "cpu", "eager").speedup == pytest.approx(3.0)
    assert fitness_of(verdict, "cpu", "compile").speedup == pytest.approx(1.5)
    assert fitness_of(verdict, "cpu", "eager").low == pytest.approx(2.97)


def test_fitness_is_zero_unless_correct_and_timed(make_verdict, row_sums: Candidate) -> None:
    assert fitness_of(make_verdict(row_sums, 9.0, Finding.WRONG_VALUES), "cpu", "eager") == Fitness()
    assert fitness_of(make_verdict(row_sums, 9.0, timed=False), "cpu", "eager") == Fitness()
    assert fitness_of(make_verdict(row_sums, 9.0), "cpu", "compile") == Fitness()


def test_mean_time_is_weighted_over_the_cases(make_verdict, row_sums: Candidate) -> None:
    timings = make_verdict(row_sums, 4.0).platforms[0].timings

    assert mean_ms(timings, "eager") == pytest.approx(2.0)
    assert mean_ms(timings, "eager", of_baseline=True) == pytest.approx(8.0)
    assert mean_ms(timings, "compile") is None


def test_faster_within_noise_does_not_take_the_lead() -> None:
    best = Fitness(speedup=2.0, low=1.9, high=2.1)

    assert not improves(Fitness(speedup=2.03, low=1.95, high=2.1), best, margin=0.02)
    assert improves(Fitness(speedup=2.03, low=2.01, high=2.05), best, margin=0.02)
    assert improves(Fitness(speedup=2.05, low=1.5, high=2.6), best, margin=0.02)


@given(speedups, speedups, st.floats(0, 0.5))
def test_two_measurements_never_improve_on_each_other(one: float, other: float, margin: float) -> None:
    first, second = (Fitness(speedup=value, low=value * 0.99, high=value * 1.01) for value in (one, other))

    assert not (improves(first, second, margin) and improves(second, first, margin))
    assert not improves(first, first, margin)


def test_a_noisy_pairing_is_measured_against_the_anchor() -> None:
    noisy = Fitness(speedup=2.0, low=1.0, high=4.0)

    steadier = steadied(noisy, latency_ms=4.0, anchor_ms=10.0, margin=0.02)
    assert (steadier.speedup, steadier.low, steadier.high) == pytest.approx((2.5, 1.25, 5.0))


def test_a_tight_pairing_is_left_as_it_is() -> None:
    tight = Fitness(speedup=2.0, low=1.97, high=2.03)

    assert steadied(tight, latency_ms=4.0, anchor_ms=10.0, margin=0.02) == tight
    assert steadied(Fitness(), latency_ms=None, anchor_ms=10.0, margin=0.02) == Fitness()
    assert steadied(Fitness(), latency_ms=4.0, anchor_ms=10.0, margin=0.02) == Fitness()


def test_the_share_of_the_roofline_is_known_only_where_every_case_has_a_limit(make_verdict, row_sums) -> None:
    timings = make_verdict(row_sums, 4.0).platforms[0].timings
    unlimited = timings[0].model_copy(update={"floor_ms": None})

    assert roofline_share(timings, "eager") == pytest.approx(0.25 / 2.0)
    assert roofline_share((unlimited, *timings[1:]), "eager") is None
    assert roofline_share(timings, "compile") is None
