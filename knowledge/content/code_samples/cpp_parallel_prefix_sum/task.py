"""Inclusive prefix sum of int64 values on the CPU: every result depends on all before it."""

import torch

CASES = {
    "small": {"numel": 1000},
    "main": {"numel": 1000000, "weight": 4.0},
    "odd": {"numel": 70001, "hidden": True},
}


def make_inputs(case):
    return (torch.randint(100, (case.numel,)),)


def reference(x):
    return x.cumsum(0)


def bytes(case):
    """Read once, written once; the first of the two passes is not counted."""
    return 8 * 2 * case.numel
