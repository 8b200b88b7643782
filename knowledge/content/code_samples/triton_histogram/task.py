"""How often each id occurs: counts of int64 ids in [0, bins)."""

import torch

CASES = {
    "small": {"ids": 2000, "bins": 50},
    "main": {"ids": 30000, "bins": 200, "weight": 4.0},
    "odd": {"ids": 5003, "bins": 129, "hidden": True},
}


def make_inputs(case):
    return (torch.randint(case.bins, (case.ids,)), case.bins)


def reference(ids, bins):
    return torch.bincount(ids, minlength=bins).to(torch.int32)


def bytes(case):
    """Ids are read once, counts are written once."""
    return 8 * case.ids + 4 * case.bins
