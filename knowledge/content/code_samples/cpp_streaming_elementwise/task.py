"""A chain of element-wise operators over more data than the caches hold: gate, scale, clamp, add, in one pass."""

import torch

CASES = {
    "small": {"rows": 16, "cols": 100},
    "main": {"rows": 2048, "cols": 2048, "weight": 4.0},
    "odd": {"rows": 131, "cols": 1003, "hidden": True},
}


def make_inputs(case):
    shape = (case.rows, case.cols)
    return (torch.randn(shape), torch.randn(shape), torch.randn(shape))


def reference(x, gate, residual):
    return torch.clamp(x * gate * 0.5, -1.0, 1.0) + residual


def bytes(case):
    """Three tensors are read, one is written."""
    return 4 * 4 * case.rows * case.cols


def flops(case):
    """Two multiplications, two comparisons, one addition."""
    return 5 * case.rows * case.cols
