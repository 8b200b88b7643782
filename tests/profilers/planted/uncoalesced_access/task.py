"""SiLU, then one factor for each column: bound by memory as long as whole sectors are used."""

import torch
import torch.nn.functional as F

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"rows": 70, "cols": 40},
    "main": {"rows": 65536, "cols": 1024, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols), torch.rand(case.cols) + 0.5)


def reference(x, scale):
    return F.silu(x) * scale


def bytes(case):
    """x is read once, the output is written once, the factors are read once."""
    return 4 * (2 * case.rows * case.cols + case.cols)
