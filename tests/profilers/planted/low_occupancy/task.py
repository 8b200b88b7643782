"""Look values up in a table of 12288 numbers, which just fits into the 48 KiB of a block's shared memory."""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"table": 12288, "count": 3000},
    "main": {"table": 12288, "count": 1 << 26, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randint(0, case.table, (case.count,), dtype=torch.int32), torch.randn(case.table))


def reference(index, table):
    return table[index]


def bytes(case):
    """Places are read once, values are written once, the table is read once."""
    return 4 * (2 * case.count + case.table)
