"""Embedding bag (sum) on the CPU: random rows of a table that is larger than the caches."""

import torch
import torch.nn.functional as F

CASES = {
    "small": {"bags": 16, "longest": 9, "entries": 50, "dim": 32},
    "main": {"bags": 512, "longest": 40, "entries": 50000, "dim": 64, "weight": 4.0},
    "odd": {"bags": 77, "longest": 70, "entries": 777, "dim": 37, "hidden": True},
}


def make_inputs(case):
    """0 to `longest` - 1 lookups a bag: empty bags occur, and so do indices that come twice."""
    lengths = torch.randint(case.longest, (case.bags,))
    offsets = torch.zeros(case.bags + 1, dtype=torch.int64)
    offsets[1:] = lengths.cumsum(0)
    return (torch.randn(case.entries, case.dim), torch.randint(case.entries, (int(offsets[-1]),)), offsets)


def reference(table, indices, offsets):
    return F.embedding_bag(indices, table, offsets, mode="sum", include_last_offset=True)


def bytes(case):
    """A row of the table and an index for each lookup; sums are written once. Expected sizes."""
    lookups = case.bags * (case.longest - 1) / 2
    return int(lookups * (4 * case.dim + 8) + 4 * case.bags * case.dim + 8 * (case.bags + 1))


def flops(case):
    """One addition for each value looked up."""
    return int(case.bags * (case.longest - 1) / 2 * case.dim)
