"""Scale and shift: y = 2x + 1."""

import torch

LAYOUTS = ["contiguous"]
CASES = {"large": {"rows": 4096, "cols": 4096}, "odd": {"rows": 1021, "cols": 257, "hidden": True}}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)


def reference(x):
    return 2.0 * x + 1.0


def bytes(case):
    return 8 * case.rows * case.cols
