"""Product of 8-bit integers, exact in 32 bits: activations uint8 (m, k), weights int8 (n, k) as in a linear layer."""

import torch

CASES = {
    "small": {"m": 5, "n": 24, "k": 100},
    "main": {"m": 64, "n": 256, "k": 1024, "weight": 4.0},
    "odd": {"m": 13, "n": 77, "k": 333, "hidden": True},
}


def make_inputs(case):
    x = torch.randint(0, 256, (case.m, case.k), dtype=torch.uint8)
    return (x, torch.randint(-128, 128, (case.n, case.k), dtype=torch.int8))


def reference(x, weight):
    return x.to(torch.int32) @ weight.to(torch.int32).T


def bytes(case):
    """One byte an input, four a result."""
    return case.m * case.k + case.n * case.k + 4 * case.m * case.n


def flops(case):
    """One multiplication and one addition for each product."""
    return 2 * case.m * case.n * case.k
