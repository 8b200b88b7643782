"""Softmax over rows of 16384: a row fits into the registers of sixteen warps, and not into those of one."""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"rows": 3, "cols": 1000},
    "main": {"rows": 4096, "cols": 16384, "weight": 4.0},
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
