"""Matrix multiplication with ReLU: tiles, reuse of data, and an epilogue that costs no extra pass.

The comparison is with a vendor library, so this is the hardest of the examples to win. In float32 the product must be
a float32 product: a kernel that rounds its factors to TF32 is refused by the tolerance.
"""

import torch

CASES = {
    "small": {"m": 32, "n": 48, "k": 64},
    "main": {"m": 512, "n": 512, "k": 512, "weight": 4.0},
    "wide": {"m": 64, "n": 1024, "k": 256},
    "odd": {"m": 131, "n": 257, "k": 99, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.m, case.k), torch.randn(case.k, case.n))


def reference(a, b):
    return torch.relu(a @ b)


def bytes(case):
    """Both factors are read once, the result is written once."""
    return 4 * (case.m * case.k + case.k * case.n + case.m * case.n)


def flops(case):
    """One multiplication and one addition for each of m·n·k products."""
    return 2 * case.m * case.n * case.k
