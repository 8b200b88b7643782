"""Scale and shift for each channel, then SiLU, on (batch, channels, length): bound by memory."""

import torch
import torch.nn.functional as F

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"batch": 2, "channels": 20, "length": 100},
    "main": {"batch": 32, "channels": 256, "length": 8192, "weight": 4.0},
}


def make_inputs(case):
    x = torch.randn(case.batch, case.channels, case.length)
    return (x, torch.rand(case.channels) + 0.5, torch.randn(case.channels))


def reference(x, scale, shift):
    return F.silu(x * scale[:, None] + shift[:, None])


def bytes(case):
    """x is read once, the output is written once; the channels' numbers hardly count."""
    return 4 * (2 * case.batch * case.channels * case.length + 2 * case.channels)
