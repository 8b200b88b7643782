"""One-dimensional convolution with bias: a matrix multiplication for each tap of the filter, over shifted input.

Stride 1 and no padding, as `torch.nn.Conv1d` does by default: an input of length L gives L - taps + 1 positions.
The cases are sized for a CPU. `conv1d_paper.py` beside this file is the same operator in float16 with the shapes of the
KernelEvolve paper (arXiv 2512.23236), for a GPU.
"""

import math

import torch
import torch.nn.functional as F

CASES = {
    "small": {"batch": 2, "cin": 16, "cout": 24, "length": 50, "taps": 3},
    "main": {"batch": 32, "cin": 96, "cout": 96, "length": 200, "taps": 3, "weight": 4.0},
    "five_taps": {"batch": 16, "cin": 64, "cout": 64, "length": 256, "taps": 5},
    "odd": {"batch": 3, "cin": 37, "cout": 41, "length": 131, "taps": 4, "hidden": True},
}


def make_inputs(case):
    x = torch.randn(case.batch, case.cin, case.length)
    filters = torch.randn(case.cout, case.cin, case.taps) / math.sqrt(case.cin * case.taps)
    return (x, filters, torch.randn(case.cout))


def reference(x, filters, bias):
    return F.conv1d(x, filters, bias)


def bytes(case):
    """Input, filters and bias are read once, the output is written once."""
    positions = case.length - case.taps + 1
    read = case.batch * case.cin * case.length + case.cout * case.cin * case.taps + case.cout
    return 4 * (read + case.batch * case.cout * positions)


def flops(case):
    """One multiplication and one addition for each output position, input channel and tap."""
    return 2 * case.batch * case.cout * (case.length - case.taps + 1) * case.cin * case.taps
