"""Look ids up in a sorted table: each id becomes its place in the table, counted from 1; an unknown id becomes 0.

    ids   = [100, 300, 500, 200, 999]
    table = [100, 200, 300, 400, 500]   →   [1, 3, 5, 2, 0]

Torch needs bucketize, clamp, gather and where, each with a trip through memory; one kernel needs a binary search. All
integers, so the result must be exact. The sizes are those of the KernelEvolve paper (arXiv 2512.23236).
"""

import torch

CASES = {
    "small": {"table": 100, "ids": 1000},
    "main": {"table": 10000, "ids": 50000, "weight": 4.0},
    "short_table": {"table": 100, "ids": 10000},
    "one_entry": {"table": 1, "ids": 77, "hidden": True},
    "odd": {"table": 4097, "ids": 12345, "hidden": True},
}


def make_inputs(case):
    """Gaps of 1 to 9 between entries; about half the ids are moved off their entry, some beyond both ends."""
    table = torch.randint(1, 10, (case.table,)).cumsum(0) + 100
    known = table[torch.randint(0, case.table, (case.ids,))]
    moved = torch.randint(-9, 10, (case.ids,)) * torch.randint(0, 2, (case.ids,))
    return (known + moved, table)


def reference(ids, table):
    place = torch.bucketize(ids, table).clamp(max=table.numel() - 1)
    return torch.where(table[place] == ids, place + 1, 0)


def bytes(case):
    """Ids are read once, places are written once, the table is read once; eight bytes each."""
    return 8 * (2 * case.ids + case.table)
