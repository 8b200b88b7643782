"""Grouped matrix product (mixture of experts): rows sorted by group, each group with a weight matrix of its own."""

import math

import torch

CASES = {
    "small": {"groups": 4, "longest": 40, "n": 64, "k": 48},
    "main": {"groups": 8, "longest": 60, "n": 64, "k": 64, "weight": 4.0},
    "odd": {"groups": 5, "longest": 90, "n": 77, "k": 67, "hidden": True},
}
DTYPES = ("float16",)


def make_inputs(case):
    """0 to `longest` - 1 rows a group: empty groups occur."""
    offsets = torch.zeros(case.groups + 1, dtype=torch.int64)
    offsets[1:] = torch.randint(case.longest, (case.groups,)).cumsum(0)
    weights = torch.randn(case.groups, case.k, case.n) / math.sqrt(case.k)
    return (torch.randn(int(offsets[-1]), case.k), weights, offsets)


def reference(x, weights, offsets):
    parts = x.split(offsets.diff().tolist())
    return torch.cat([part @ weight for part, weight in zip(parts, weights, strict=True)])


def flops(case):
    """Expected: half of the longest group's rows in each."""
    return int(2 * case.groups * (case.longest - 1) / 2 * case.n * case.k)
