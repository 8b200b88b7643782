"""Iterate x ← x² + c from 0, for many c at once: long arithmetic on little data.

With c in [-0.5, 0.2] the iteration draws near a fixed point, so that rounding errors die out.
"""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"count": 5000, "steps": 4},
    "main": {"count": 1 << 25, "steps": 256, "weight": 4.0},
}


def make_inputs(case):
    return (torch.rand(case.count) * 0.7 - 0.5, case.steps)


def reference(c, steps):
    x = torch.zeros_like(c)
    for _ in range(steps):
        x = x * x + c
    return x


def bytes(case):
    """Every number is read once and written once."""
    return 4 * 2 * case.count


def flops(case):
    """One multiplication and one addition for each step."""
    return 2 * case.count * case.steps
