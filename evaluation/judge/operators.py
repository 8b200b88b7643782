"""Which torch operators a piece of code calls, seen by torch's dispatcher and not in the text."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_MOVING = frozenset(
    "alias arange as_strided clone contiguous copy_ detach empty empty_like empty_strided expand fill_ full full_like "
    "lift_fresh new_empty new_empty_strided new_full new_ones new_zeros ones ones_like permute reshape resize_ "
    "scalar_tensor select slice split squeeze t to _to_copy transpose unbind unsafe_view _unsafe_view unsqueeze view "
    "zero_ zeros zeros_like random_ _local_scalar_dense is_same_size set_ unfold "
    "_reshape_alias split_with_sizes".split()
)
"""Operators that allocate, fill, copy or only look differently at memory: they compute nothing."""

Operators = Counter[tuple[str, int]]
"""How often each operator was called: its name, and the elements of its largest tensor."""


class OperatorRecorder(TorchDispatchMode):
    """Counts the operators that compute something while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Operators = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.note(func, args, result)
        return result

    def note(self, func: Any, args: Any, result: Any) -> None:
        """Count one call."""
        name = func.name().removeprefix("aten::").split(".")[0]
        if name not in _MOVING:
            sizes = [value.numel() for value in (*args, result) if isinstance(value, torch.Tensor)]
            self.seen[name, max(sizes, default=0)] += 1
