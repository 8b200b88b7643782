"""Rounds of: divide by the largest magnitude, then y (1.25 - y² / 2). Each round needs the whole of the one before."""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"count": 5000, "rounds": 3},
    "main": {"count": 12 << 20, "rounds": 12, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randn(case.count), case.rounds)


def reference(x, rounds):
    for _ in range(rounds):
        y = x / x.abs().max()
        x = y * (1.25 - 0.5 * y * y)
    return x


def bytes(case):
    """Every round reads and writes the vector, and the first maximum reads it once more."""
    return 4 * case.count * (2 * case.rounds + 1)
