from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.search.fitness import Fitness, fitness_of, improves, mean_ms

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
