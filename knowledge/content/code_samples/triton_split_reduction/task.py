"""Sum over the rows of a tall, narrow matrix (the gradient of a bias): few results, each from many numbers."""

import torch

CASES = {
    "small": {"rows": 700, "cols": 24},
    "main": {"rows": 512, "cols": 64, "weight": 4.0},
    "odd": {"rows": 1023, "cols": 31, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)


def reference(x):
    return x.sum(dim=0)


def bytes(case):
    """Everything is read once; the results are few."""
    return 4 * (case.rows * case.cols + case.cols)


def flops(case):
    """One addition an element."""
    return case.rows * case.cols
