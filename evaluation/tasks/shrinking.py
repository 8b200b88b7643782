"""Make a task's input factory return smaller tensors, for a judge that cannot run big ones (Triton's interpreter)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

Shape = tuple[int, ...]
"""Sizes of a tensor, outermost first."""
Resize = Callable[[Shape], Shape]
"""Sizes a factory asks for → sizes it gets."""
Cap = Callable[[int], int]
"""One size → the size it is reduced to."""

# `arange`, `randperm`, `linspace` and `eye` are left alone: their values depend on their size.
_SIZES_FIRST = frozenset([torch.rand, torch.randn, torch.ones, torch.zeros, torch.empty])
_FACTORIES = _SIZES_FIRST | {torch.full, torch.randint}


class ShrunkFactories(TorchFunctionMode):
    """While active, `torch.rand`, `randn`, `randint`, `ones`, `zeros`, `full` and `empty` make resized tensors."""

    def __init__(self, resize: Resize) -> None:
        super().__init__()
        self.resize = resize

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        args, kwargs = _replace_sizes(func, args, kwargs or {}, self.resize)
        return func(*args, **kwargs)


class SizeRecorder(ShrunkFactories):
    """Notes the sizes that factories are asked for; with a limit it also cuts the first dimension of bigger ones."""

    def __init__(self, limit_numel: int | None = None) -> None:
        super().__init__(self._record)
        self.sizes: list[Shape] = []
        self.cut = False
        self._limit = limit_numel

    def _record(self, shape: Shape) -> Shape:
        self.sizes.append(shape)
        if self._limit is None or math.prod(shape) <= self._limit:
            return shape
        self.cut = True
        return _cut_rows(shape, self._limit)


def resizes(sizes: list[Shape], limit_numel: int) -> Iterator[Resize]:
    """Ways to shrink, the one that changes least first. None is sure to work: the caller runs the reference.

    Args:
        sizes: what the factories were asked for, unshrunk.
        limit_numel: most elements of a tensor.

    Yields:
        1. fewer rows in the tensors that are too big, at least two;
        2. fewer rows in all tensors, so that a batch of targets follows its batch of predictions;
        3. two rows and smaller dimensions behind the second (images: channels stay);
        4. two rows and smaller dimensions up to the last (sequences: features stay);
        5. all dimensions smaller, equal ones staying equal (matrix products);
        6. one row in the tensors that are too big.
        All of them fit all of `sizes`. In 3 to 5 a size that is no multiple of 16 stays none where that works, so that
        a kernel which forgets its mask is still noticed.
    """
    big = [shape for shape in sizes if math.prod(shape) > limit_numel]
    if not big:
        return

    def fewer_rows(shape: Shape) -> Shape:
        return _cut_rows(shape, limit_numel) if math.prod(shape) > limit_numel else shape

    rows = min(limit_numel // math.prod(shape[1:]) for shape in big)
    if rows >= 2:
        yield fewer_rows
    for rule in (_all_rows, _keep_channels, _keep_features, _everything):
        for cap in _caps(rule, sizes, limit_numel):
            for limited in (_keep_residue, _at_most):
                yield partial(rule, cap=partial(limited, cap))
    if rows == 1:
        yield fewer_rows


def _all_rows(shape: Shape, cap: Cap) -> Shape:
    return tuple(size if index else cap(size) for index, size in enumerate(shape))


def _keep_channels(shape: Shape, cap: Cap) -> Shape:
    return tuple((min(size, 2), size)[index] if index < 2 else cap(size) for index, size in enumerate(shape))


def _keep_features(shape: Shape, cap: Cap) -> Shape:
    *front, features = shape or (1,)
    capped = [cap(size) if index else min(size, 2) for index, size in enumerate(front)]
    return (*capped, features) if shape else ()


def _everything(shape: Shape, cap: Cap) -> Shape:
    return tuple(cap(size) for size in shape)


def _at_most(cap: int, size: int) -> int:
    return min(cap, size)


def _keep_residue(cap: int, size: int) -> int:
    """At most `cap`, with the same remainder by 16 where the cap leaves room for it."""
    if size <= cap or cap < 16 or size % 16 == 0:
        return min(cap, size)
    return cap - cap % 16 - 16 + size % 16


def _caps(rule: Callable[[Shape, Cap], Shape], sizes: list[Shape], limit_numel: int) -> list[int]:
    """Caps to try: the largest power of two with which everything fits, then the largest cap at all."""

    def fits(cap: int) -> bool:
        return all(math.prod(rule(shape, partial(_at_most, cap))) <= limit_numel for shape in sizes)

    if not fits(2):
        return []
    low, high = 2, max(2, *(size for shape in sizes for size in shape))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    # Powers of two first: windows, pooling and pixel shuffles want sizes that divide.
    return list(dict.fromkeys([1 << (low.bit_length() - 1), low]))


def _cut_rows(shape: Shape, limit_numel: int) -> Shape:
    return (max(1, limit_numel // math.prod(shape[1:])), *shape[1:])


def _replace_sizes(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], resize: Resize
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Find the sizes among a factory's arguments and replace them; other functions' arguments come back as they are."""

    def resized(sizes: Iterable[Any]) -> Shape:
        return resize(tuple(int(size) for size in sizes))

    if function not in _FACTORIES:
        return args, kwargs
    if "size" in kwargs:
        return args, {**kwargs, "size": resized(kwargs["size"])}
    if function is torch.full and args:
        return (resized(args[0]), *args[1:]), kwargs
    if function is torch.randint and args and isinstance(args[-1], list | tuple):
        return (*args[:-1], resized(args[-1])), kwargs
    if function in _SIZES_FIRST and args:
        return (resized(args[0] if isinstance(args[0], list | tuple) else args),), kwargs
    return args, kwargs
