"""A chain of small steps on one small vector: scale, shift, leaky ReLU, 64 times over."""

import torch
import torch.nn.functional as F

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"count": 500, "steps": 5},
    "main": {"count": 4096, "steps": 64, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randn(case.count), torch.rand(case.steps) * 0.5 + 0.75, torch.randn(case.steps))


def reference(x, scale, shift):
    for step in range(scale.numel()):
        x = F.leaky_relu(x * scale[step] + shift[step], 0.1)
    return x


def bytes(case):
    """The vector is read once and written once, and so are the steps' numbers read."""
    return 4 * (2 * case.count + 2 * case.steps)
