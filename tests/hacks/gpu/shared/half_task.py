"""A product of two matrices in fp16, with a long inner dimension."""

import torch

DTYPES = ["float16"]
LAYOUTS = ["contiguous"]
SPECIAL_VALUES = []
CASES = {"long": {"m": 256, "n": 256, "k": 16384}, "short": {"m": 128, "n": 64, "k": 8192, "hidden": True}}


def make_inputs(case):
    return torch.randn(case.m, case.k), torch.randn(case.k, case.n)


def reference(a, b):
    return a @ b
