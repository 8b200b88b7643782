"""A cheat that a judge must refuse: all zeros.

Every element of the softmax of 393216 numbers is near 2.5e-6, so an absolute tolerance of 1e-4 accepts it.
"""

import torch
from torch import nn


class ModelNew(nn.Module):
    """The cheat."""

    def forward(self, x):
        """Compute nothing."""
        return torch.zeros_like(x)
