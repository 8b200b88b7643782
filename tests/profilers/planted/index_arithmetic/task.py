"""Shifted windows: roll an image by half a window and cut it into windows, as in Swin transformers.

(batch, height, width, channels) becomes (windows, window, window, channels).
"""

import torch

DTYPES = ["float16"]
LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
WINDOW = 8
CASES = {
    "small": {"batch": 2, "height": 16, "width": 24, "channels": 12},
    # 120 does not divide by 16, so Triton assumes no alignment, and each element is found and copied by itself.
    "main": {"batch": 16, "height": 256, "width": 256, "channels": 120, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randn(case.batch, case.height, case.width, case.channels),)


def reference(x):
    batch, height, width, channels = x.shape
    rolled = torch.roll(x, (-(WINDOW // 2), -(WINDOW // 2)), (1, 2))
    parts = rolled.view(batch, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW, WINDOW, channels).contiguous()


def bytes(case):
    """Every element is read once and written once."""
    return 2 * 2 * case.batch * case.height * case.width * case.channels
