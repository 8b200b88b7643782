"""A kernel against itself: times recorded on two cores that fourteen processes wanted are never called a difference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kernelevolve.evaluation.judge.executed import MARGIN
from kernelevolve.evaluation.judge.statistics import median, paired_interval
from kernelevolve.evaluation.verdict import Speed

RECORDED = Path(__file__).parent / "samples" / "same_kernel_on_a_busy_machine.json"


def wrong_share(factor: float, wanted: set[Speed]) -> float:
    """Share of 200 runs of ten rounds, drawn from all that were recorded, whose word is not among the wanted ones."""
    pairs = [
        (median(rival), median(mine) * factor)
        for run in json.loads(RECORDED.read_text())
        for rival, mine in zip(run["eager"], run["candidate"], strict=True)
    ]
    generator = np.random.default_rng(5)
    wrong = 0
    for _ in range(200):
        chosen = [pairs[index] for index in generator.integers(len(pairs), size=10)]
        interval = paired_interval([rival for rival, _ in chosen], [mine for _, mine in chosen])
        wrong += interval.verdict(MARGIN["cpu"]) not in wanted
    return wrong / 200


def test_the_same_kernel_is_called_neither_faster_nor_slower() -> None:
    assert wrong_share(1.0, {Speed.SAME, Speed.INCONCLUSIVE}) <= 0.05


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_twice_the_work_is_never_called_the_same(factor: float) -> None:
    assert wrong_share(factor, {Speed.FASTER if factor < 1 else Speed.SLOWER, Speed.INCONCLUSIVE}) == 0
