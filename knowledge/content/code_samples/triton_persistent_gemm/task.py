"""Matrix product in float16 with more tiles than the chip has multiprocessors; rows are multiples of 16 bytes."""

import math

import torch

CASES = {
    "small": {"m": 48, "n": 64, "k": 80},
    "main": {"m": 256, "n": 192, "k": 64, "weight": 4.0},
    "odd": {"m": 131, "n": 72, "k": 104, "hidden": True},
}
DTYPES = ("float16",)


def make_inputs(case):
    return (torch.randn(case.m, case.k), torch.randn(case.k, case.n) / math.sqrt(case.k))


def reference(a, b):
    return a @ b


def bytes(case):
    """Both factors are read once, the result is written once; two bytes each."""
    return 2 * (case.m * case.k + case.k * case.n + case.m * case.n)


def flops(case):
    """One multiplication and one addition for each product."""
    return 2 * case.m * case.n * case.k
