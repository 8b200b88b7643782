"""Decide for one call: which kernel, or the reference and why. This text becomes part of exported modules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Decision:
    """What happens with calls of one form."""

    kernel: int | None
    """Index into the plan's kernels; None for the reference."""
    kind: str
    """`kernel`, `planned` (the reference was measured to be faster) or the kind of fallback, e.g. `dtype`."""
    text: str
    """Why, in words."""
    case: str = ""
    """The measured case that is nearest."""


class NotCheckedError(Exception):
    """A call lies outside what was checked. `kind` says in which respect."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def flatten(value: Any, leaves: list[Any]) -> str:
    """Append the leaves of nested lists, tuples and dicts; return their nesting as text, `T` for a tensor."""
    if isinstance(value, list | tuple):
        inner = ",".join(flatten(item, leaves) for item in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{flatten(item, leaves)}" for key, item in value.items()) + "}"
    leaves.append(value)
    return "T" if isinstance(value, torch.Tensor) else "V"


def choose(plan: dict[str, Any], structure: str, leaves: list[Any], platform: str, any_shape: bool) -> Decision:
    """The decision by form, dtypes, plain values, shapes and layout.

    Args:
        plan: the module's `PLAN`.
        structure: what `flatten` says of the arguments.
        leaves: the arguments' leaves.
        platform: one of the plan's platforms.
        any_shape: whether shapes outside the checked range are taken too.

    Raises:
        NotCheckedError: the call lies outside what was checked.
    """
    entries = [entry for entry in plan["entries"] if entry["structure"] == structure]
    if not entries:
        raise NotCheckedError("arguments", f"arguments of the form {structure} were not checked")
    entries = _keep(entries, leaves, "dtype", _same_dtype)
    entries = _keep(entries, leaves, "rank", _same_rank)
    entries = _keep(entries, leaves, "value", _same_value)
    shapes = [tuple(leaf.shape) if isinstance(leaf, torch.Tensor) else () for leaf in leaves]
    _check_shapes(next(rule for rule in plan["rules"] if rule["structure"] == structure), shapes, any_shape)
    entry = min(entries, key=lambda entry: _distance(entry, shapes))
    for number, (spec, leaf) in enumerate(zip(entry["leaves"], leaves, strict=True)):
        if isinstance(leaf, torch.Tensor):
            _check_layout(number, spec, leaf, plan["layouts"] if number < entry["inputs"] else ["contiguous"])
    choice = entry["choice"].get(platform)
    near = f"nearest measured case: {entry['case']}"
    if choice is None:
        return Decision(None, "planned", f"the reference was faster ({near})", entry["case"])
    return Decision(choice, "kernel", near, entry["case"])


def _keep(entries: list[Any], leaves: list[Any], kind: str, same: Any) -> list[Any]:
    """The entries that agree with the call in one respect; where none does, the first difference is told."""
    told = ""
    kept = []
    for entry in entries:
        wrong = next(
            (
                text
                for number, (spec, leaf) in enumerate(zip(entry["leaves"], leaves, strict=True))
                if (text := same(number, spec, leaf))
            ),
            "",
        )
        told = told or wrong
        if not wrong:
            kept.append(entry)
    if not kept:
        raise NotCheckedError(kind, told)
    return kept


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _same_dtype(number: int, spec: Any, leaf: Any) -> str:
    if not isinstance(leaf, torch.Tensor) or _dtype_name(leaf.dtype) == spec["dtype"]:
        return ""
    return f"tensor {number} is {_dtype_name(leaf.dtype)}; checked was {spec['dtype']}"


def _same_rank(number: int, spec: Any, leaf: Any) -> str:
    if not isinstance(leaf, torch.Tensor) or leaf.dim() == len(spec["shape"]):
        return ""
    return f"tensor {number} has {leaf.dim()} dimensions; checked were {len(spec['shape'])}"


def _same_value(number: int, spec: Any, leaf: Any) -> str:
    if isinstance(leaf, torch.Tensor):
        return ""
    if "any" in spec:
        same = type(leaf).__name__ == spec["any"]
    elif isinstance(leaf, torch.dtype):
        same = spec.get("name") == _dtype_name(leaf)
    elif isinstance(leaf, float):
        same = spec.get("float") == leaf.hex()
    else:
        same = "value" in spec and type(leaf) is type(spec["value"]) and leaf == spec["value"]
    return "" if same else f"argument {number} is {leaf!r}, a value that was not checked"


def _check_shapes(rule: dict[str, Any], shapes: list[tuple[int, ...]], any_shape: bool) -> None:
    """Ranges of the dimensions, and what held between dimensions in every case (equal sizes, say).

    The relations are never skipped: a kernel that takes the length of one tensor from another would leave its memory.
    """
    for leaf, dim, low, high in rule["ranges"]:
        size = shapes[leaf][dim]
        if size == 0 and low > 0:
            raise NotCheckedError("shape", f"tensor {leaf} is empty")
        if not any_shape and not low <= size <= high:
            checked = f"{low}" if low == high else f"{low} to {high}"
            raise NotCheckedError("shape", f"dimension {dim} of tensor {leaf} is {size}; checked was {checked}")
    for (leaf, dim), (other, other_dim), factor, divisor, difference in rule["relations"]:
        mine, theirs = shapes[leaf][dim], shapes[other][other_dim]
        if mine * divisor != theirs * factor + difference:
            raise NotCheckedError(
                "shape",
                f"dimension {dim} of tensor {leaf} is {mine} beside {theirs} in dimension {other_dim} of tensor "
                f"{other}; their relation was another in every case that was checked",
            )


def _distance(entry: dict[str, Any], shapes: list[tuple[int, ...]]) -> float:
    """How far a call is from a measured case: sum over the dimensions of the logarithm of the ratio of sizes."""
    total = 0.0
    for spec, shape in zip(entry["leaves"], shapes, strict=True):
        for mine, theirs in zip(shape, spec.get("shape", ()), strict=False):
            if mine != theirs:
                total += abs(math.log(mine / theirs)) if mine and theirs else math.inf
    return total


def _check_layout(number: int, spec: dict[str, Any], tensor: torch.Tensor, layouts: list[str]) -> None:
    if tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
        raise NotCheckedError("layout", f"tensor {number} is sparse, conjugated or negated lazily")
    shape, strides = tuple(tensor.shape), tensor.stride()
    order = sorted(range(len(shape)), key=lambda dim: (-spec["stride"][dim], dim))
    dense = [0] * len(shape)
    step = 1
    for dim in reversed(order):
        dense[dim] = step
        step *= max(shape[dim], 1)
    if not _same_strides(shape, strides, dense) and not ("strided" in layouts and _is_padded(shape, strides)):
        raise NotCheckedError("layout", f"tensor {number} has strides {strides}, a layout that was not checked")
    if "offset" not in layouts and tensor.device.type != "meta" and tensor.data_ptr() % 16:
        raise NotCheckedError("layout", f"tensor {number} does not start at a multiple of 16 bytes")


def _same_strides(shape: tuple[int, ...], strides: tuple[int, ...], wanted: list[int]) -> bool:
    return all(size <= 1 or mine == right for size, mine, right in zip(shape, strides, wanted, strict=True))


def _is_padded(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether rows follow each other with room between them: the one layout with gaps that is checked."""
    if len(shape) < 2 or (shape[-1] > 1 and strides[-1] != 1) or strides[-2] < shape[-1]:
        return False
    wanted = [0] * len(shape)
    wanted[-1], wanted[-2] = 1, strides[-2]
    for dim in range(len(shape) - 3, -1, -1):
        wanted[dim] = wanted[dim + 1] * max(shape[dim + 1], 1)
    return _same_strides(shape, strides, wanted)
