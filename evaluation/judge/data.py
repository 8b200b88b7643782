"""The data a candidate is checked with: layouts, special values, and how inputs are laid into an arena."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_is_leaf, tree_unflatten

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.arena import Arena, aligned, dense_strides
from kernelevolve.evaluation.task import Layout, SpecialValue
from kernelevolve.evaluation.tasks.program import Inputs


def plant_special_values(inputs: Inputs, values: tuple[SpecialValue, ...], seed: int) -> Inputs:
    """Put each special value into two random places of every floating-point input.

    Args:
        inputs: not changed; tensors that get values are copied.
        values: which ones.
        seed: decides the places.
    """
    generator = torch.Generator().manual_seed(seed)

    def plant(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point() or tensor.numel() < 64:
            return tensor
        info = torch.finfo(tensor.dtype)
        table = {
            SpecialValue.ZERO: (0.0, 0.0),
            SpecialValue.NEGATIVE_ZERO: (-0.0, -0.0),
            SpecialValue.SUBNORMAL: (info.smallest_normal / 4, -info.smallest_normal / 4),
            SpecialValue.INFINITY: (float("inf"), float("-inf")),
            SpecialValue.NAN: (float("nan"), float("nan")),
        }
        numbers = [number for value in values for number in table[value]]
        places = torch.randint(tensor.numel(), (len(numbers),), generator=generator)
        copy = tensor.clone(memory_format=torch.contiguous_format)
        copy.view(-1)[places.to(tensor.device)] = torch.tensor(numbers, dtype=tensor.dtype, device=tensor.device)
        return copy

    return inputs.map_tensors(plant)


def strides_for(tensor: torch.Tensor, layout: Layout) -> tuple[tuple[int, ...], int]:
    """Strides and leading elements that give a tensor a layout.

    Args:
        tensor: what will be stored.
        layout: `CONTIGUOUS` keeps the tensor's own strides when they are dense (channels_last, say).

    Returns:
        Strides in elements, and the elements that come before the first.
    """
    if layout is Layout.STRIDED and tensor.dim() >= 1:
        return dense_strides([*tensor.shape[:-1], tensor.shape[-1] + 3]), 0
    dense = torch.empty_like(tensor, device="meta").stride()
    return tuple(dense), 1 if layout is Layout.OFFSET else 0


@dataclass(frozen=True)
class Placed:
    """Inputs inside an arena, and the description with which a worker finds them."""

    description: dict[str, Any]
    tensors: tuple[torch.Tensor, ...]
    """Views into the arena, in order."""

    def write(self, inputs: Inputs, extra: list[torch.Tensor]) -> None:
        """Copy into the arena what `place` only described."""
        for view, tensor in zip(self.tensors, [*inputs.tensors(), *extra], strict=True):
            view.copy_(tensor)


def arena_bytes(inputs: Inputs, layout: Layout) -> int:
    """Bytes an arena needs for these inputs."""
    return sum(_span(tensor, layout) for tensor in inputs.tensors()) + 512


def _span(tensor: torch.Tensor, layout: Layout) -> int:
    strides, before = strides_for(tensor, layout)
    items = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, strides, strict=True))
    return aligned((max(items, 1) + before) * tensor.element_size())


def place(
    inputs: Inputs, extra: list[torch.Tensor], arena: Arena, layout: Layout, start: int = 0, fill: bool = True
) -> Placed:
    """Copy inputs into an arena.

    Args:
        inputs: arguments of the reference.
        extra: parameters and buffers of a module-form reference, which function candidates get after the inputs.
        arena: at least `arena_bytes` large.
        layout: for the inputs; `extra` is always contiguous.
        start: where they begin, bytes; a multiple of the arena's alignment.
        fill: False to say where they will lie and write nothing yet; see `Placed.write`.

    Raises:
        TaskError: an argument is neither a tensor nor a plain value, so it cannot be sent.
    """
    leaves, _structure = tree_flatten((inputs.args, inputs.kwargs))
    offset, tensors = start, []

    def store(tensor: torch.Tensor, layout: Layout) -> dict[str, Any]:
        nonlocal offset
        strides, before = strides_for(tensor, layout)
        first = offset + before * tensor.element_size()
        view = arena.tensor(first, tuple(tensor.shape), strides, tensor.dtype)
        if fill:
            view.copy_(tensor)
        offset += _span(tensor, layout)
        tensors.append(view)
        return {
            "tensor": [first, list(tensor.shape), list(strides), str(tensor.dtype).removeprefix("torch.")],
        }

    described: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            described.append(store(leaf, layout))
        elif leaf is None or isinstance(leaf, bool | int | float | str):
            described.append(
                {"value": leaf if not isinstance(leaf, float) else leaf.hex(), "float": isinstance(leaf, float)}
            )
        elif isinstance(leaf, torch.dtype):
            described.append({"dtype": str(leaf).removeprefix("torch.")})
        else:
            raise _not_sendable(leaf)
    shape = tree_shape((list(inputs.args), inputs.kwargs))
    description = {"leaves": described, "shape": shape, "extra": [store(tensor, Layout.CONTIGUOUS) for tensor in extra]}
    return Placed(description, tuple(tensors))


def tree_shape(value: Any) -> Any:
    """The nesting of a value as JSON: leaves are 0, lists and tuples and dicts keep their kind.

    Raises:
        TaskError: it holds another container (a namedtuple, a deque), or a dict with keys that JSON can't keep.
    """
    if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
        return {"dict": [[key, tree_shape(item)] for key, item in value.items()]}
    if type(value) in (list, tuple):
        return {"list" if isinstance(value, list) else "tuple": [tree_shape(item) for item in value]}
    if not tree_is_leaf(value):
        raise _not_sendable(value)
    return 0


def _not_sendable(value: Any) -> TaskError:
    return TaskError(
        Finding.TASK_FAILS,
        f"An input is a {type(value).__name__}, which cannot be sent to a candidate.",
        "Use tensors, numbers, strings, None, and lists, tuples or dicts of them.",
    )


def rebuild(description: dict[str, Any], arena: Arena) -> tuple[list[Any], dict[str, Any], list[torch.Tensor]]:
    """In the worker: arguments, keyword arguments and extra tensors from a description."""

    def leaf(entry: dict[str, Any]) -> Any:
        if "tensor" in entry:
            start, shape, strides, dtype = entry["tensor"]
            return arena.tensor(start, shape, strides, getattr(torch, dtype))
        if "dtype" in entry:
            return getattr(torch, entry["dtype"])
        return float.fromhex(entry["value"]) if entry["float"] else entry["value"]

    leaves = iter(description["leaves"])

    def build(shape: Any) -> Any:
        if shape == 0:
            return leaf(next(leaves))
        if "dict" in shape:
            return {key: build(item) for key, item in shape["dict"]}
        items = [build(item) for item in shape.get("list", shape.get("tuple"))]
        return items if "list" in shape else tuple(items)

    args, kwargs = build(description["shape"])
    return list(args), kwargs, [leaf(entry) for entry in description["extra"]]


def remake(arguments: tuple[list[Any], dict[str, Any]], change: Any) -> tuple[list[Any], dict[str, Any]]:
    """The same arguments with every tensor replaced by `change(tensor)`."""
    leaves, structure = tree_flatten(arguments)
    changed = [change(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    args, kwargs = tree_unflatten(changed, structure)
    return args, kwargs


def describe_only(inputs: Inputs, extra: list[torch.Tensor]) -> dict[str, Any]:
    """The description `place` gives, for tensors that lie nowhere (meta tensors will do): what a compile needs."""

    class _Nowhere:
        def tensor(self, offset: int, shape: Any, stride: Any, dtype: torch.dtype) -> torch.Tensor:
            return torch.empty_strided(shape, stride, dtype=dtype, device="meta")

    def bare(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")

    nowhere: Any = _Nowhere()
    return place(inputs.map_tensors(bare), [bare(tensor) for tensor in extra], nowhere, Layout.CONTIGUOUS).description
