"""Sigmoid of a large matrix, in KernelBench's form and with the shape of its `21_Sigmoid`."""

import torch
from torch import nn

batch_size = 4096
dim = 393216


class Model(nn.Module):
    """The reference."""

    def forward(self, x):
        """Compute it the plain way."""
        return torch.sigmoid(x)


def get_inputs():
    """Make the arguments of `forward`."""
    return [torch.rand(batch_size, dim)]


def get_init_inputs():
    """Make the arguments of the constructor: none."""
    return []
