"""The sum of each row."""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = []
CASES = {"large": {"rows": 8192, "cols": 4096}, "odd": {"rows": 1021, "cols": 2047, "hidden": True}}


def make_inputs(case):
    return (torch.rand(case.rows, case.cols) + 0.5,)


def reference(x):
    return x.sum(1)
