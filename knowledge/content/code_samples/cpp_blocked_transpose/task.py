"""Transposed copy of a matrix on the CPU, with sizes that are powers of two: the worst case for a cache."""

import torch

CASES = {
    "small": {"rows": 48, "cols": 80},
    "main": {"rows": 1024, "cols": 1024, "weight": 4.0},
    "odd": {"rows": 531, "cols": 277, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)


def reference(x):
    return x.t().contiguous()


def bytes(case):
    """Read once, written once."""
    return 4 * 2 * case.rows * case.cols
