"""Gated linear recurrence h[t] = a[t] · h[t-1] + b[t] with h[-1] = 0, along the last dimension."""

import torch

CASES = {
    "small": {"rows": 6, "length": 100},
    "main": {"rows": 16, "length": 700, "weight": 4.0},
    "odd": {"rows": 5, "length": 1031, "hidden": True},
}
# An infinite gate: the product of two gates can be inf · 0 where taking one step after the other gives something else.
SPECIAL_VALUES = ("zero", "negative_zero", "subnormal", "nan")


def make_inputs(case):
    return (torch.rand(case.rows, case.length), torch.randn(case.rows, case.length))


def reference(a, b):
    states, state = [], torch.zeros_like(b[:, 0])
    for step in range(b.shape[1]):
        state = a[:, step] * state + b[:, step]
        states.append(state)
    return torch.stack(states, dim=1)


def bytes(case):
    """Gates and inputs are read once, states are written once."""
    return 4 * 3 * case.rows * case.length


def flops(case):
    """One multiplication and one addition a step."""
    return 2 * case.rows * case.length
