"""Softmax over rows: a reduction whose maximum is subtracted first, so that `exp` can't overflow.

Short rows fit into registers and can be read once; a row of 32768 elements hardly does. A good kernel handles both.
"""

import torch

CASES = {
    "small": {"rows": 16, "cols": 100},
    "main": {"rows": 4096, "cols": 1000, "weight": 4.0},
    "long_rows": {"rows": 128, "cols": 32768, "weight": 2.0},
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
