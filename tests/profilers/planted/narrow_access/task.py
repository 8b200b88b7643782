"""Count the bytes that are equal to a given one, such as the line ends of a text: every byte is read once."""

import torch

LAYOUTS = ["contiguous"]
CASES = {
    "small": {"count": 5000},
    "main": {"count": 1 << 28, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randint(0, 64, (case.count,), dtype=torch.uint8), 10)


def reference(x, wanted):
    return (x == wanted).sum(dtype=torch.int32).reshape(1)


def bytes(case):
    """Every byte is read once."""
    return case.count
