"""Matrix product in float32 on the CPU, large enough that neither factor stays in the first-level cache."""

import math

import torch

CASES = {
    "small": {"m": 33, "n": 48, "k": 64},
    "main": {"m": 512, "n": 512, "k": 512, "weight": 4.0},
    "odd": {"m": 131, "n": 257, "k": 299, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.m, case.k), torch.randn(case.k, case.n) / math.sqrt(case.k))


def reference(a, b):
    return a @ b


def bytes(case):
    """Both factors are read once, the result is written once."""
    return 4 * (case.m * case.k + case.k * case.n + case.m * case.n)


def flops(case):
    """One multiplication and one addition for each product."""
    return 2 * case.m * case.n * case.k
