"""Softmax over rows that are too long for registers."""

import torch

CASES = {
    "small": {"rows": 8, "cols": 3000},
    "main": {"rows": 4, "cols": 8192, "weight": 4.0},
    "odd": {"rows": 3, "cols": 5001, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)


def reference(x):
    return torch.softmax(x, dim=-1)


def bytes(case):
    """Every element is read once and written once at least."""
    return 4 * 2 * case.rows * case.cols


def flops(case):
    """Maximum, subtraction, exponential, sum, division."""
    return 5 * case.rows * case.cols
