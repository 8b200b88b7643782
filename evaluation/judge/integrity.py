"""Whether the functions that a worker measures with are still those it began with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

_SHARED: tuple[tuple[str, Any, str], ...] = (
    ("time", time, "perf_counter perf_counter_ns monotonic time sleep"),
    ("torch", torch, "empty empty_like allclose equal"),
    ("torch.Tensor", torch.Tensor, "copy_ clone fill_ zero_ data_ptr untyped_storage detach"),
    ("torch.cuda", torch.cuda, "Event Stream synchronize current_stream set_stream _sleep"),
    ("torch.cuda.Event", torch.cuda.Event, "record elapsed_time synchronize query wait"),
    ("torch.cuda.Stream", torch.cuda.Stream, "synchronize wait_stream wait_event record_event"),
)
"""Name, owner and attributes of the functions that measuring, waiting and handing over rest on."""
_GONE = object()
"""In place of an attribute that is not there."""


def _watched(own: tuple[type, ...]) -> Iterator[tuple[str, Any, str]]:
    for owner, holder, names in _SHARED:
        yield from ((f"{owner}.{name}", holder, name) for name in names.split() if hasattr(holder, name))
    from torch.autograd.profiler import profile as inner
    from torch.profiler import profile

    for holder in (profile, inner, *own):
        for name, value in vars(holder).items():
            if callable(value):
                yield f"{holder.__name__}.{name}", holder, name


def watch(*own: type, tools: tuple[object, ...] = ()) -> Callable[[], list[str]]:
    """Remember functions as they are now, before any candidate code is loaded.

    Args:
        *own: classes of the harness whose methods must stay as they are.
        tools: objects of the harness that measure: no attribute of theirs may be replaced, added or taken away. One
            that is added would hide the method of that name.

    Returns:
        A function that names those which were replaced since, or whose code was.
    """
    before = [(name, holder, key, *_identity(holder, key)) for name, holder, key in _watched(own)]
    parts = [(tool, dict(vars(tool))) for tool in tools]

    def changed() -> list[str]:
        replaced = [
            name
            for name, holder, key, value, code in before
            if (now := _identity(holder, key))[0] is not value or now[1] is not code
        ]
        for tool, were in parts:
            are = vars(tool)
            names = [key for key in {**were, **are} if are.get(key, _GONE) is not were.get(key, _GONE)]
            replaced += [f"{type(tool).__name__}.{key} of one object" for key in names]
        return replaced

    return changed


def shadows(*tools: object) -> list[str]:
    """Attributes of single objects that hide a method of their class: nobody but a candidate puts them there."""
    return [
        f"{type(tool).__name__}.{name} of one object"
        for tool in tools
        for name in vars(tool)
        if callable(getattr(type(tool), name, None))
    ]


def _identity(holder: Any, name: str) -> tuple[Any, Any]:
    """The object behind an attribute, and its bytecode if it has any. Methods are taken from where they are defined:
    asking for them through the class may make a new object each time."""
    if isinstance(holder, type):
        for base in holder.__mro__:
            if name in vars(base):
                value = vars(base)[name]
                return value, getattr(value, "__code__", None)
    value = getattr(holder, name, None)
    return value, getattr(value, "__code__", None)
