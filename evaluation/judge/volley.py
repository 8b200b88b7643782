"""Where the outputs of a volley of calls lie: judge and worker must agree."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kernelevolve.evaluation.judge.arena import Arena, aligned, dense_strides


def output_views(arena: Arena, number: int, forms: Sequence[tuple[Sequence[int], torch.dtype]]) -> list[torch.Tensor]:
    """Where the outputs of one call of a volley lie in the arena, the same on both sides.

    Args:
        arena: the arena for outputs.
        number: of the call.
        forms: shape and dtype of each output.
    """
    sizes = [aligned(torch.Size(shape).numel() * dtype.itemsize) for shape, dtype in forms]
    offset, views = number * sum(sizes), []
    for (shape, dtype), size in zip(forms, sizes, strict=True):
        views.append(arena.tensor(offset, tuple(shape), dense_strides(shape), dtype))
        offset += size
    return views
