"""Layer normalisation with weight and bias: two dependent reductions (mean, then variance) and one pointwise pass.

Reading a row once instead of three times is the whole game. The shortcut E[x²] - E[x]² saves a pass but cancels badly
when the mean is large against the spread, which the case `shifted` is there to notice.
"""

import torch
import torch.nn.functional as F

CASES = {
    "small": {"rows": 16, "cols": 64, "mean": 0.0},
    "main": {"rows": 4096, "cols": 1024, "mean": 0.0, "weight": 4.0},
    "long_rows": {"rows": 256, "cols": 12288, "mean": 0.0},
    "shifted": {"rows": 512, "cols": 768, "mean": 1000.0, "hidden": True},
    "odd": {"rows": 131, "cols": 1003, "mean": 0.0, "hidden": True},
}


def make_inputs(case):
    x = torch.randn(case.rows, case.cols) + case.mean
    return (x, torch.rand(case.cols) + 0.5, torch.randn(case.cols), 1e-5)


def reference(x, weight, bias, eps):
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def bytes(case):
    """Every element is read once and written once; weight and bias are read once."""
    return 4 * (2 * case.rows * case.cols + 2 * case.cols)


def flops(case):
    """Sum, subtraction, square, sum, scale, weight, bias."""
    return 7 * case.rows * case.cols
