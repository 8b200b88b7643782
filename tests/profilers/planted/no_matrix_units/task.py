"""Matrix product in float32 of factors that are small whole numbers.

TF32 holds such factors exactly and float32 holds their sums, so the matrix units give the exact result.
"""

import torch

DTYPES = ["float32"]
LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"m": 40, "n": 48, "k": 72},
    "main": {"m": 2048, "n": 2048, "k": 2048, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randint(-4, 5, (case.m, case.k)).float(), torch.randint(-4, 5, (case.k, case.n)).float())


def reference(a, b):
    return a @ b


def bytes(case):
    """Both factors are read once, the result is written once."""
    return 4 * (case.m * case.k + case.k * case.n + case.m * case.n)


def flops(case):
    """One multiplication and one addition for each of m·n·k products."""
    return 2 * case.m * case.n * case.k
