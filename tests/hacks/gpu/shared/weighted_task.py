"""Rows scaled by the largest weight: y = x * max(|w|)."""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = []
CASES = {"large": {"rows": 4096, "cols": 4096}, "odd": {"rows": 1021, "cols": 257, "hidden": True}}


def make_inputs(case):
    return torch.randn(case.rows, case.cols), torch.randn(case.rows, case.cols)


def reference(x, w):
    return x * w.abs().max()
