"""Linear layer with 8-bit weights, a scale for each output channel, float16 activations (weight-only quantisation)."""

import math

import torch

CASES = {
    "small": {"m": 16, "n": 48, "k": 96},
    "main": {"m": 16, "n": 128, "k": 256, "weight": 4.0},
    "odd": {"m": 21, "n": 77, "k": 131, "hidden": True},
}
DTYPES = ("float16",)
# An infinite scale times a weight of zero is NaN; whether zero or the sum is scaled decides where that happens.
SPECIAL_VALUES = ("zero", "negative_zero", "subnormal", "nan")


def make_inputs(case):
    weight = torch.randint(-127, 128, (case.n, case.k), dtype=torch.int8)
    scale = (torch.rand(case.n) + 0.5) / (64 * math.sqrt(case.k))
    return (torch.randn(case.m, case.k), weight, scale)


def reference(x, weight, scale):
    return x @ (weight.to(x.dtype) * scale[:, None]).T


def bytes(case):
    """One byte a weight, two a number of everything else."""
    return case.n * case.k + 2 * (case.m * case.k + case.n + case.m * case.n)


def flops(case):
    """One multiplication and one addition for each product, and the scale."""
    return case.m * case.n * (2 * case.k + 1)
