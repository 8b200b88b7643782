"""The optional names of a task file (`TOLERANCES`, `DTYPES`, …): read, checked, and put into the task's fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES, Layout, SpecialValue, Tolerance

DTYPES = tuple(DEFAULT_TOLERANCES)
"""Names of the dtypes a task can be judged in."""
DEFAULT_STARTING_POINTS = ("kernel.cpp", "triton.py", "kernel.cu")
"""Candidates that are looked for next to a task file, simplest first."""


@dataclass(frozen=True)
class Options:
    """What the optional names say, with the defaults filled in."""

    dtypes: tuple[str, ...]
    """`DTYPES`."""
    tolerances: dict[str, Tolerance]
    """`TOLERANCES`, merged over the defaults."""
    layouts: tuple[Layout, ...]
    """`LAYOUTS`."""
    special_values: tuple[SpecialValue, ...]
    """`SPECIAL_VALUES`."""
    backward: bool
    """`BACKWARD`."""
    starting_points: tuple[Path, ...]
    """`STARTING_POINTS`."""
    allow_tf32: bool
    """`ALLOW_TF32`."""
    flops: Callable[[Any], Any] | None
    """`flops`."""
    bytes: Callable[[Any], Any] | None
    """`bytes`."""

    def fields(self) -> dict[str, Any]:
        """The `Task` fields that follow from the options."""
        return {
            "dtypes": self.dtypes,
            "tolerances": self.tolerances,
            "layouts": self.layouts,
            "special_values": self.special_values,
            "backward": self.backward,
            "starting_points": self.starting_points,
            "allow_tf32": self.allow_tf32,
            "has_flops": self.flops is not None,
            "has_bytes": self.bytes is not None,
        }


def read_options(names: dict[str, Any], path: Path, layouts: tuple[Layout, ...]) -> Options:
    """Read the optional names.

    Args:
        names: the namespace of the task's module.
        path: the task file, for messages and for the starting points.
        layouts: what holds where the task names no `LAYOUTS`.

    Raises:
        TaskError: `TASK_UNREADABLE`; the text names the field and what is allowed.
    """
    flags = {name: names.get(name, False) for name in ("BACKWARD", "ALLOW_TF32")}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise unreadable(path, f"{name} is {value!r}.", "It must be True or False.")
    return Options(
        dtypes=_dtypes(names.get("DTYPES", ("float32",)), path),
        tolerances=_tolerances(names.get("TOLERANCES", {}), path),
        layouts=_layouts(names["LAYOUTS"], path) if "LAYOUTS" in names else layouts,
        special_values=_special_values(names.get("SPECIAL_VALUES", tuple(SpecialValue)), path),
        backward=flags["BACKWARD"],
        allow_tf32=flags["ALLOW_TF32"],
        starting_points=_starting_points(names.get("STARTING_POINTS"), path),
        flops=_function(names, "flops", path),
        bytes=_function(names, "bytes", path),
    )


def unreadable(path: Path | str, summary: str, advice: str, log: str = "") -> TaskError:
    """The error for a task file that says something it cannot mean."""
    name = path if isinstance(path, str) else path.name
    return TaskError(Finding.TASK_UNREADABLE, f"{name}: {summary}", advice, log)


def is_number(value: Any) -> bool:
    """Whether a value is a finite int or float, booleans excluded."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _choices(value: Any, field: str, allowed: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """A list or tuple of names out of a closed set, each at most once."""
    advice = f"It must be a list or tuple of: {', '.join(allowed)}."
    if not isinstance(value, list | tuple):
        raise unreadable(path, f"{field} is {value!r}.", advice)
    for item in value:
        if not isinstance(item, str) or item not in allowed:
            raise unreadable(path, f"{field} holds {item!r}.", advice)
    if len(set(value)) < len(value):
        raise unreadable(path, f"{field} names something twice: {value!r}.", advice)
    return tuple(str(item) for item in value)


def _dtype_name(value: Any) -> Any:
    """`torch.float32` → `float32`; anything else comes back as it is, to be refused with its own name."""
    text = str(value)
    return text.removeprefix("torch.") if text.startswith("torch.") and not isinstance(value, str) else value


def _dtypes(value: Any, path: Path) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        value = [_dtype_name(item) for item in value]
    chosen = _choices(value, "DTYPES", DTYPES, path)
    if not chosen:
        raise unreadable(path, "DTYPES is empty.", "Leave it out for float32, or name at least one.")
    return chosen


def _layouts(value: Any, path: Path) -> tuple[Layout, ...]:
    chosen = tuple(Layout(name) for name in _choices(value, "LAYOUTS", tuple(Layout), path))
    if Layout.CONTIGUOUS not in chosen:
        raise unreadable(path, f"LAYOUTS is {value!r}.", "It must hold 'contiguous', which is what is timed.")
    return chosen


def _special_values(value: Any, path: Path) -> tuple[SpecialValue, ...]:
    if value is False:
        return ()
    if not isinstance(value, list | tuple):
        allowed = ", ".join(SpecialValue)
        raise unreadable(path, f"SPECIAL_VALUES is {value!r}.", f"It must be False or a list or tuple of: {allowed}.")
    return tuple(SpecialValue(name) for name in _choices(value, "SPECIAL_VALUES", tuple(SpecialValue), path))


def _tolerances(value: Any, path: Path) -> dict[str, Tolerance]:
    if not isinstance(value, dict):
        raise unreadable(
            path, f"TOLERANCES is {value!r}.", "It must be a dict such as {'float32': {'rtol': 1e-3, 'atol': 1e-5}}."
        )
    merged = dict(DEFAULT_TOLERANCES)
    for key, bounds in value.items():
        dtype = _dtype_name(key)
        if dtype not in DTYPES:
            raise unreadable(path, f"TOLERANCES has the key {key!r}.", f"Keys must be among: {', '.join(DTYPES)}.")
        merged[dtype] = _tolerance(dtype, bounds, path)
    return merged


def _tolerance(dtype: str, bounds: Any, path: Path) -> Tolerance:
    allowed = tuple(Tolerance.model_fields)
    field = f"TOLERANCES[{dtype!r}]"
    if not isinstance(bounds, dict):
        raise unreadable(path, f"{field} is {bounds!r}.", f"It must be a dict with any of: {', '.join(allowed)}.")
    for name, number in bounds.items():
        if name not in allowed:
            raise unreadable(path, f"{field} has the key {name!r}.", f"Keys must be among: {', '.join(allowed)}.")
        zero_is_fine = name in ("rtol", "atol")
        if not is_number(number) or number < 0 or (number == 0 and not zero_is_fine):
            raise unreadable(
                path,
                f"{field}[{name!r}] is {number!r}.",
                f"It must be a finite number, {'zero or more' if zero_is_fine else 'greater than zero'}.",
            )
    return Tolerance(**{**DEFAULT_TOLERANCES[dtype].model_dump(), **bounds})


def _starting_points(value: Any, path: Path) -> tuple[Path, ...]:
    if value is None:
        found = (path.parent / name for name in DEFAULT_STARTING_POINTS)
        return tuple(point for point in found if point.is_file() and point != path)
    advice = "It must be a list or tuple of file names, relative to the task file."
    if not isinstance(value, list | tuple):
        raise unreadable(path, f"STARTING_POINTS is {value!r}.", advice)
    points = []
    for item in value:
        if not isinstance(item, str | Path):
            raise unreadable(path, f"STARTING_POINTS holds {item!r}.", advice)
        point = path.parent / item
        if not point.is_file():
            raise unreadable(path, f"STARTING_POINTS names {str(item)!r}, and there is no file {point}.", advice)
        points.append(point)
    return tuple(points)


def _function(names: dict[str, Any], name: str, path: Path) -> Callable[[Any], Any] | None:
    value = names.get(name)
    if value is None:
        return None
    if not callable(value):
        raise unreadable(path, f"{name} is {value!r}.", f"It must be a function {name}(case) that returns a number.")
    function: Callable[[Any], Any] = value
    return function
