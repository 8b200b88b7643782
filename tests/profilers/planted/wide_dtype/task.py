"""Linear layer in float16; the sums are kept in float32."""

import math

import torch
import torch.nn.functional as F

DTYPES = ["float16"]
LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"m": 40, "n": 48, "k": 72},
    "main": {"m": 4096, "n": 4096, "k": 2048, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randn(case.m, case.k), torch.randn(case.n, case.k) / math.sqrt(case.k))


def reference(x, weight):
    return F.linear(x, weight)


def bytes(case):
    """Both factors are read once, the result is written once."""
    return 2 * (case.m * case.k + case.n * case.k + case.m * case.n)


def flops(case):
    """One multiplication and one addition for each of m·n·k products."""
    return 2 * case.m * case.n * case.k
