"""Softmax over rows on the CPU: exponentials are most of the work once they are vectors."""

import torch

CASES = {
    "small": {"rows": 16, "cols": 100},
    "main": {"rows": 1024, "cols": 1000, "weight": 4.0},
    "odd": {"rows": 131, "cols": 1537, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)


def reference(x):
    return torch.softmax(x, dim=-1)


def bytes(case):
    """Every element is read once and written once."""
    return 4 * 2 * case.rows * case.cols


def flops(case):
    """Maximum, subtraction, exponential, sum, division."""
    return 5 * case.rows * case.cols
