"""Histogram of integers from 0 to 31: few counters, many elements."""

import torch

LAYOUTS = ["contiguous"]
CASES = {
    "small": {"count": 3000},
    "main": {"count": 1 << 24, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randint(0, 32, (case.count,), dtype=torch.int32),)


def reference(x):
    return torch.bincount(x, minlength=32).to(torch.int32)


def bytes(case):
    """Every element is read once; the counters hardly count."""
    return 4 * case.count
