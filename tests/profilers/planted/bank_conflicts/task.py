"""Transpose a matrix: every element is read once and written once, both whole rows at a time."""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"rows": 70, "cols": 45},
    "main": {"rows": 8192, "cols": 8192, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)


def reference(x):
    return x.t().contiguous()


def bytes(case):
    """Every element is read once and written once."""
    return 4 * 2 * case.rows * case.cols
