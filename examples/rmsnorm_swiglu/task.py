"""RMSNorm, then SwiGLU: the row is normalised, cut into two halves, and silu(first half) multiplies the second.

Eager torch writes every step to memory and reads it back. Fused, x is read once and half as much is written, so the
gain is almost only memory traffic. No matrix multiplication: simple loops are a fair start.
"""

import torch
import torch.nn.functional as F

CASES = {
    "small": {"rows": 16, "cols": 64},
    "main": {"rows": 4096, "cols": 2048, "weight": 4.0},
    "odd": {"rows": 257, "cols": 770, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.cols), torch.rand(case.cols) + 0.5, 1e-6)


def reference(x, weight, eps):
    normalised = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight
    gate, up = normalised.chunk(2, dim=-1)
    return F.silu(gate) * up


def bytes(case):
    """x is read once, half its size is written, the weight is read once."""
    return 4 * (case.rows * case.cols + case.rows * case.cols // 2 + case.cols)


def flops(case):
    """Four for each element of x (square, sum, scale, weight), five for each element of the output."""
    return 4 * case.rows * case.cols + 5 * case.rows * case.cols // 2
