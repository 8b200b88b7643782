"""Sum of each segment of a jagged tensor: values (total, dim), offsets (segments + 1) → (segments, dim)."""

import torch

CASES = {
    "small": {"segments": 12, "longest": 9, "dim": 20},
    "main": {"segments": 40, "longest": 20, "dim": 64, "weight": 4.0},
    "odd": {"segments": 7, "longest": 90, "dim": 37, "hidden": True},
}


def make_inputs(case):
    """0 to `longest` - 1 rows a segment: empty ones occur."""
    lengths = torch.randint(case.longest, (case.segments,))
    offsets = torch.zeros(case.segments + 1, dtype=torch.int64)
    offsets[1:] = lengths.cumsum(0)
    return (torch.randn(int(offsets[-1]), case.dim), offsets)


def reference(values, offsets):
    segments = torch.arange(offsets.numel() - 1, device=offsets.device).repeat_interleave(offsets.diff())
    sums = torch.zeros(offsets.numel() - 1, values.shape[1], dtype=values.dtype, device=values.device)
    return sums.index_add(0, segments, values)


def bytes(case):
    """Values and offsets are read once, sums are written once. Expected sizes."""
    rows = case.segments * (case.longest - 1) / 2
    return int(4 * case.dim * (rows + case.segments) + 8 * (case.segments + 1))


def flops(case):
    """One addition a value."""
    return int(case.segments * (case.longest - 1) / 2 * case.dim)
