"""Split (batch, length, 3, heads, depth) into queries, keys and values, heads first: a copy of whole rows.

The result is (3, batch, heads, length, depth).
"""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = False
CASES = {
    "small": {"batch": 2, "length": 10, "heads": 3, "depth": 24},
    # 120 does not divide by 16, so Triton assumes no alignment, and each element is found and copied by itself.
    "main": {"batch": 4, "length": 4096, "heads": 12, "depth": 120, "weight": 4.0},
}


def make_inputs(case):
    return (torch.randn(case.batch, case.length, 3, case.heads, case.depth),)


def reference(x):
    return x.permute(2, 0, 3, 1, 4).contiguous()


def bytes(case):
    """Every element is read once and written once."""
    return 4 * 2 * case.batch * case.length * 3 * case.heads * case.depth
