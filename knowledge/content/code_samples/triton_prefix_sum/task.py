"""Exclusive prefix sum of int64 lengths, as when offsets of a jagged tensor are made; one entry more than lengths."""

import torch

CASES = {
    "small": {"numel": 3000},
    "main": {"numel": 30000, "weight": 4.0},
    "odd": {"numel": 9001, "hidden": True},
}


def make_inputs(case):
    return (torch.randint(100, (case.numel,)),)


def reference(lengths):
    offsets = torch.zeros(lengths.numel() + 1, dtype=lengths.dtype, device=lengths.device)
    offsets[1:] = lengths.cumsum(0)
    return offsets


def bytes(case):
    """Lengths are read once, offsets are written once."""
    return 8 * (2 * case.numel + 1)
