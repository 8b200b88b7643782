"""Product with a small result and a long inner dimension: too few tiles for a whole chip unless K is split."""

import math

import torch

CASES = {
    "small": {"m": 16, "n": 32, "k": 512},
    "main": {"m": 16, "n": 16, "k": 2048, "weight": 4.0},
    "odd": {"m": 13, "n": 21, "k": 1000, "hidden": True},
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
