"""Transposed copy of a matrix: every byte is moved once, and the only question is in which order."""

import torch

CASES = {
    "small": {"rows": 48, "cols": 80},
    "main": {"rows": 160, "cols": 192, "weight": 4.0},
    "odd": {"rows": 131, "cols": 77, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)


def reference(x):
    return x.t().contiguous()


def bytes(case):
    """Read once, written once."""
    return 4 * 2 * case.rows * case.cols
