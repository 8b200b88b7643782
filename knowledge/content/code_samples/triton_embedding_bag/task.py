"""Embedding bag with weights: gather rows of a table by index, scale them, sum them by bag."""

import torch
import torch.nn.functional as F

CASES = {
    "small": {"bags": 12, "longest": 9, "entries": 50, "dim": 32},
    "main": {"bags": 48, "longest": 24, "entries": 300, "dim": 64, "weight": 4.0},
    "odd": {"bags": 7, "longest": 70, "entries": 77, "dim": 37, "hidden": True},
}


def make_inputs(case):
    """0 to `longest` - 1 lookups a bag: empty bags occur, and so do indices that come twice."""
    lengths = torch.randint(case.longest, (case.bags,))
    offsets = torch.zeros(case.bags + 1, dtype=torch.int64)
    offsets[1:] = lengths.cumsum(0)
    lookups = int(offsets[-1])
    indices = torch.randint(case.entries, (lookups,))
    return (torch.randn(case.entries, case.dim), indices, offsets, torch.rand(lookups))


def reference(table, indices, offsets, weights):
    return F.embedding_bag(indices, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)


def bytes(case):
    """A row of the table, an index and a weight for each lookup; sums are written once. Expected sizes."""
    lookups = case.bags * (case.longest - 1) / 2
    return int(lookups * (4 * case.dim + 8 + 4) + 4 * case.bags * case.dim + 8 * (case.bags + 1))


def flops(case):
    """One multiplication and one addition for each value looked up."""
    return int(2 * case.bags * (case.longest - 1) / 2 * case.dim)
