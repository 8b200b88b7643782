"""How much a small output moves when its inputs move by a rounding: what no algorithm, however good, can get below.

A sum that cancels to almost nothing is off by the same amount as one that does not, which for it is many times its own
size. In a large output the reference's own error shows that. In an output of a few elements the reference may have
been lucky, and an honest kernel that was not would be refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from kernelevolve.evaluation.tasks.program import Inputs

FEW_ELEMENTS = 256
"""Outputs of no more elements are looked at; a larger one has elements enough to show the reference's usual error."""
_SAMPLES = 4
_LARGEST_RELATIVE = 2.0**-12
"""Most of a value that is believed."""
_LONGEST = 128.0


def wanted_for(output: torch.Tensor) -> bool:
    """Whether an output is small enough for its reference to be lucky, and precise enough for that to matter."""
    return output.is_floating_point() and output.element_size() >= 4 and 0 < output.numel() <= FEW_ELEMENTS


def rounding_effects(
    high: Callable[..., Any], raised: Inputs, oracle: tuple[torch.Tensor, ...], eps: float
) -> list[tuple[float, float]]:
    """Move every input by up to one rounding at random, several times.

    Args:
        high: the reference in float64.
        raised: its inputs in float64.
        oracle: what it gives for them.
        eps: machine epsilon of the judged dtype.

    Returns:
        For each output, the largest change of an element and the largest norm of all changes, as they may be for a sum
        that is added up one by one: its error grows with the root of the number of terms.
    """
    generator = torch.Generator().manual_seed(0)
    worst = [(0.0, 0.0)] * len(oracle)
    terms = max((tensor.numel() for tensor in raised.tensors()), default=1)
    for _ in range(_SAMPLES):
        up, down = (_outputs(high, moved) for moved in _moved(raised, eps, generator))
        if any([leaf.shape for leaf in side] != [truth.shape for truth in oracle] for side in (up, down)):
            return [(0.0, 0.0)] * len(oracle)
        for index, truth in enumerate(oracle):
            if not wanted_for(truth):
                continue
            # Sums of n random numbers added one by one were seen off by up to 1.3·sqrt(n) times what rounding the
            # numbers does; the bounds have a factor of 4 of their own.
            growth = min(_LONGEST, max(1.0, math.sqrt(terms / truth.numel()) / 3))
            change = _change(up[index].double(), down[index].double(), truth) * growth
            largest, norm = worst[index]
            worst[index] = (max(largest, float(change.max())), max(norm, float(change.square().sum().sqrt())))
    return worst


def _moved(raised: Inputs, eps: float, generator: torch.Generator) -> tuple[Inputs, Inputs]:
    """Two copies of the inputs, moved by the same amounts in opposite directions."""
    noise = [
        (torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 2 - 1).to(tensor.device) * eps
        for tensor in raised.tensors()
    ]

    def shifted(sign: int) -> Inputs:
        amounts = iter(noise)

        def move(tensor: torch.Tensor) -> torch.Tensor:
            amount = next(amounts)
            return tensor * (1 + sign * amount) if tensor.is_floating_point() else tensor.clone()

        return raised.map_tensors(move)

    return shifted(1), shifted(-1)


def _outputs(high: Callable[..., Any], inputs: Inputs) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(high(*inputs.args, **inputs.kwargs)) if isinstance(leaf, torch.Tensor)]


def _change(up: torch.Tensor, down: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The size of the change where it is that of a smooth function, which moves as far one way as the other: an output
    that jumps (floor, a comparison) must not excuse what it likes."""
    change = (up - down).abs() / 2
    smooth = torch.isfinite(change) & ((up + down - 2 * truth).abs() <= change / 4)
    return torch.minimum(torch.where(smooth, change, 0.0), truth.abs() * _LARGEST_RELATIVE)
