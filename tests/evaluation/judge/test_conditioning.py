"""Small outputs that cancel: honest sums are within bounds, rounded ones and jumps are not excused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from kernelevolve.evaluation.judge.oracle import compare, expect
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES
from kernelevolve.evaluation.tasks.program import Inputs

Function = Callable[[torch.Tensor], torch.Tensor]


def refused_share(function: Function, answer: Function, make: Function, runs: int = 200) -> float:
    """How often an answer is refused, over random inputs."""
    generator = torch.Generator().manual_seed(3)
    refused = 0
    for _ in range(runs):
        x = make(torch.randn(4096, generator=generator))
        expected = expect(function, function, Inputs((x,), {}))
        refused += compare(expected, [answer(x)], DEFAULT_TOLERANCES, {}) is not None
    return refused / runs


def one_by_one(x: torch.Tensor) -> torch.Tensor:
    return torch.tensor(np.add.accumulate(x.numpy())[-1]) / x.numel()


def same(x: torch.Tensor) -> torch.Tensor:
    return x


def test_a_mean_added_one_by_one_is_accepted() -> None:
    assert refused_share(torch.mean, one_by_one, same) <= 0.01


@pytest.mark.parametrize("rounding", [torch.float16, torch.bfloat16])
def test_a_mean_rounded_to_sixteen_bits_is_not(rounding: torch.dtype) -> None:
    assert refused_share(torch.mean, lambda x: x.mean().to(rounding).float(), same) >= 0.8


def test_a_function_that_jumps_excuses_nothing() -> None:
    # Every input is a whole number, where floor jumps one way and not the other.
    share = refused_share(lambda x: x.floor().mean(), lambda x: x.floor().mean() * 1.001, lambda x: (8 * x).round())
    assert share >= 0.9
