"""Matrix product in float16; the sums are kept in float32."""

import math

import torch

DTYPES = ["float16"]
LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"m": 40, "n": 48, "k": 72},
    "main": {"m": 2048, "n": 2048, "k": 2048, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randn(case.m, case.k), torch.randn(case.k, case.n) / math.sqrt(case.k))


def reference(a, b):
    return a @ b


def bytes(case):
    """Both factors are read once, the result is written once."""
    return 2 * (case.m * case.k + case.k * case.n + case.m * case.n)


def flops(case):
    """One multiplication and one addition for each of m·n·k products."""
    return 2 * case.m * case.n * case.k
