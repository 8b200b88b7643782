"""Causal attention without the matrix of scores: (batch · heads, length, head size), float16."""

import math

import torch

CASES = {
    "small": {"heads": 2, "length": 80, "size": 64},
    "main": {"heads": 2, "length": 192, "size": 64, "weight": 4.0},
    "odd": {"heads": 3, "length": 101, "size": 64, "hidden": True},
}
DTYPES = ("float16",)
# With an infinity or NaN in a key that is masked away, the reference's product with zeros gives NaN in every row.
SPECIAL_VALUES = ("zero", "negative_zero", "subnormal")


def make_inputs(case):
    shape = (case.heads, case.length, case.size)
    return (torch.randn(shape), torch.randn(shape), torch.randn(shape))


def reference(q, k, v):
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    return torch.softmax(scores.masked_fill(~past, float("-inf")), dim=-1) @ v


def bytes(case):
    """Queries, keys and values are read once, the result is written once; two bytes each."""
    return 2 * 4 * case.heads * case.length * case.size


def flops(case):
    """Two products, of which the causal mask leaves half."""
    return 2 * 2 * case.heads * case.length * case.length * case.size // 2
