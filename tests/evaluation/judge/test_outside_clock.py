"""The clock outside: disturbances never confirm a false claim, and one undisturbed burst is enough for a true one."""

from __future__ import annotations

import random

import pytest

from kernelevolve.evaluation.judge.outside_clock import seen_from_outside


def bursts(true_ms: float, disturbed_share: float, seed: int):  # type: ignore[no-untyped-def]
    """A machine on which a share of all bursts takes two to ten times as long."""
    generator = random.Random(seed)

    def burst(count: int) -> float:
        slower = generator.uniform(2, 10) if generator.random() < disturbed_share else 1.0
        return count * true_ms * slower + 0.1

    return burst


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("seed", range(200))
def test_a_true_claim_is_believed_on_a_busy_machine(seed: int, kind: str) -> None:
    fits, seen_ms = seen_from_outside(bursts(1.0, 0.7, seed), 1.0, kind)

    assert fits
    assert seen_ms >= 1.0


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("seed", range(200))
def test_a_claim_of_half_the_time_never_is(seed: int, kind: str) -> None:
    assert not seen_from_outside(bursts(2.0, 0.7, seed), 1.0, kind)[0]
