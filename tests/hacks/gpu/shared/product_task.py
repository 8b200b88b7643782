"""A product of two matrices in fp32."""

import torch

LAYOUTS = ["contiguous"]
SPECIAL_VALUES = []
CASES = {"square": {"m": 1024, "n": 1024, "k": 1024}, "wide": {"m": 256, "n": 512, "k": 2048, "hidden": True}}


def make_inputs(case):
    return torch.randn(case.m, case.k), torch.randn(case.k, case.n)


def reference(a, b):
    return a @ b
