"""The convolution of `task.py` in float16, with shapes from the KernelEvolve paper (arXiv 2512.23236): for a GPU.

`paper` is the paper's main shape, `large` the one outside the range it was tuned for, where the paper's own kernel
lost to the library; the paper also varies the batch. It doesn't give the filter length: 3 taps are our choice.
"""

import math

import torch
import torch.nn.functional as F

CASES = {
    "small_batch": {"batch": 32, "cin": 96, "cout": 96, "length": 200, "taps": 3},
    "paper": {"batch": 2048, "cin": 96, "cout": 96, "length": 200, "taps": 3, "weight": 4.0},
    "large": {"batch": 64, "cin": 768, "cout": 768, "length": 1024, "taps": 3},
    "odd": {"batch": 7, "cin": 100, "cout": 90, "length": 211, "taps": 5, "hidden": True},
}
DTYPES = ("float16",)
STARTING_POINTS = ("triton.py",)  # kernel.cpp is float32 only


def make_inputs(case):
    x = torch.randn(case.batch, case.cin, case.length)
    filters = torch.randn(case.cout, case.cin, case.taps) / math.sqrt(case.cin * case.taps)
    return (x, filters, torch.randn(case.cout))


def reference(x, filters, bias):
    return F.conv1d(x, filters, bias)


def bytes(case):
    """Input, filters and bias are read once, the output is written once; two bytes each."""
    positions = case.length - case.taps + 1
    read = case.batch * case.cin * case.length + case.cout * case.cin * case.taps + case.cout
    return 2 * (read + case.batch * case.cout * positions)


def flops(case):
    """One multiplication and one addition for each output position, input channel and tap."""
    return 2 * case.batch * case.cout * (case.length - case.taps + 1) * case.cin * case.taps
