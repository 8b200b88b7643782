"""How good a candidate is: its weighted geometric mean speed-up against the stated baseline, 0 unless correct."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.verdict import CaseTiming, Verdict


class Fitness(Contract):
    """A speed-up (time of the baseline over time of the candidate) with its confidence interval; no unit."""

    speedup: float = 0.0
    """0 where the candidate is not correct or was not timed."""
    low: float = 0.0
    """Lower end of the interval."""
    high: float = 0.0
    """Upper end of the interval."""


def fitness_of(verdict: Verdict, platform: str, baseline: str) -> Fitness:
    """The fitness a verdict stands for.

    Args:
        verdict: the judge's answer.
        platform: the platform that is searched for.
        baseline: `eager` or `compile`.

    Returns:
        Zeros unless the platform's status is *correct* and the baseline was measured.
    """
    entry = verdict.of(platform)
    speed = next((speed for speed in entry.speeds if speed.baseline == baseline), None)
    if entry.status is not Status.CORRECT or speed is None or not 0 < speed.speedup < math.inf:
        return Fitness()
    return Fitness(speedup=speed.speedup, low=speed.low, high=speed.high)


def mean_ms(timings: Sequence[CaseTiming], baseline: str, of_baseline: bool = False) -> float | None:
    """Weighted geometric mean over the cases of the time of one call, milliseconds.

    Args:
        timings: times by case and baseline.
        baseline: the baseline whose rows count.
        of_baseline: the baseline's time rather than the candidate's.
    """
    rows = [timing for timing in timings if timing.baseline == baseline]
    values = [timing.baseline_ms if of_baseline else timing.candidate_ms for timing in rows]
    if not rows or min(values) <= 0:
        return None
    logs = [timing.weight * math.log(value) for timing, value in zip(rows, values, strict=True)]
    return math.exp(sum(logs) / sum(timing.weight for timing in rows))


def steadied(fitness: Fitness, latency_ms: float | None, anchor_ms: float | None, margin: float) -> Fitness:
    """The same fitness against the baseline's time of the search's first node, where pairing was too noisy.

    Pairing cancels what slows both sides, such as a clock that changes; on a busy processor the baseline's own noise is
    larger than that, and would decide which of two candidates leads. So where the interval is wide, every node of a
    search is compared with one and the same baseline time. What is reported of a winner is always the paired figure.

    Args:
        fitness: the paired speed-up with its interval.
        latency_ms: the candidate's time, milliseconds.
        anchor_ms: the baseline's time as measured beside the first node, milliseconds.
        margin: relative difference that is more than noise.
    """
    tight = fitness.high <= fitness.low * (1.0 + margin) ** 4
    if latency_ms is None or anchor_ms is None or tight or not fitness.speedup:
        return fitness
    factor = anchor_ms / latency_ms / fitness.speedup
    return Fitness(speedup=fitness.speedup * factor, low=fitness.low * factor, high=fitness.high * factor)


def improves(challenger: Fitness, best: Fitness, margin: float) -> bool:
    """Whether a challenger takes the place of the best.

    A single measurement is noisy, and the luckiest of many equal candidates looks faster than it is. So the challenger
    wins only if the low end of its interval lies above the best's speed-up, or its speed-up exceeds the best's by more
    than the margin. Otherwise the best, which came first, stays.

    Args:
        challenger: fitness of the newer node.
        best: fitness of the older node.
        margin: relative difference that is more than noise, e.g. 0.02.
    """
    return challenger.low > best.speedup or challenger.speedup > best.speedup * (1.0 + margin)


def roofline_share(timings: Sequence[CaseTiming], baseline: str) -> float | None:
    """How near to the hardware's limit a candidate is: weighted geometric mean over the cases of the time that the
    limit allows over the time it takes; None where the limit of a case is not known.

    Args:
        timings: times by case and baseline.
        baseline: the baseline whose rows count.
    """
    rows = [timing for timing in timings if timing.baseline == baseline]
    logs = [
        timing.weight * math.log(timing.floor_ms / timing.candidate_ms)
        for timing in rows
        if timing.floor_ms and timing.candidate_ms > 0
    ]
    if not rows or len(logs) < len(rows):
        return None
    return math.exp(sum(logs) / sum(timing.weight for timing in rows))
