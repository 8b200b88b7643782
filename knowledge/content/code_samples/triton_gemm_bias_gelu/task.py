"""Linear layer with bias and GELU (float16): the epilogue runs on the accumulator, before it is stored."""

import math

import torch
import torch.nn.functional as F

CASES = {
    "small": {"m": 48, "n": 64, "k": 80},
    "main": {"m": 128, "n": 192, "k": 128, "weight": 4.0},
    "odd": {"m": 131, "n": 77, "k": 99, "hidden": True},
}
DTYPES = ("float16",)
SPECIAL_VALUES = ("zero", "negative_zero", "subnormal", "nan")  # GELU of infinity differs between torch's own paths


def make_inputs(case):
    weight = torch.randn(case.n, case.k) / math.sqrt(case.k)
    return (torch.randn(case.m, case.k), weight, torch.randn(case.n))


def reference(x, weight, bias):
    return F.gelu(F.linear(x, weight, bias))


def bytes(case):
    """Input, weight and bias are read once, the result is written once; two bytes each."""
    return 2 * (case.m * case.k + case.n * case.k + case.n + case.m * case.n)


def flops(case):
    """The product, the bias, and about eight operations for a GELU."""
    return case.m * case.n * (2 * case.k + 9)
