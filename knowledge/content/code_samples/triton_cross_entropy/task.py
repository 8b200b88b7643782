"""Cross entropy of each row over a large vocabulary, without a tensor of probabilities."""

import torch
import torch.nn.functional as F

CASES = {
    "small": {"rows": 8, "classes": 1000},
    "main": {"rows": 6, "classes": 4096, "weight": 4.0},
    "odd": {"rows": 5, "classes": 3001, "hidden": True},
}


def make_inputs(case):
    return (torch.randn(case.rows, case.classes) * 3, torch.randint(case.classes, (case.rows,)))


def reference(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")


def bytes(case):
    """Logits are read once; there is a target and a loss for each row."""
    return case.rows * (4 * case.classes + 8 + 4)


def flops(case):
    """Maximum, subtraction, exponential, sum."""
    return 4 * case.rows * case.classes
