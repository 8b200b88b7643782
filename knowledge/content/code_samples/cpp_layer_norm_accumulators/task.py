"""Layer normalisation on the CPU: two dependent sums a row, each bound by the latency of additions if done naively."""

import torch
import torch.nn.functional as F

CASES = {
    "small": {"rows": 16, "cols": 64, "mean": 0.0},
    "main": {"rows": 1024, "cols": 1024, "mean": 0.0, "weight": 4.0},
    "shifted": {"rows": 128, "cols": 768, "mean": 1000.0, "hidden": True},
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
