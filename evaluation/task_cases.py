"""The cases of a task by the form of their inputs: what an export needs to know of them, and no values of tensors."""

from __future__ import annotations

from typing import Any

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.task import Task


class CaseInputs(Contract):
    """The inputs of one case in one dtype."""

    case: str
    """Case name."""
    hidden: bool
    """Whether the case is hidden."""
    dtype: str
    """Dtype that floating-point inputs are cast to."""
    structure: str
    """Nesting of positional and keyword arguments, as `evaluation/export/guard.py` writes it; after a `+` that of a
    module's parameters and buffers."""
    form: tuple[int, tuple[str, ...]]
    """How many arguments are positional, and the names of the others."""
    inputs: int
    """Leaves that are arguments; the others are a module's parameters and buffers."""
    leaves: tuple[dict[str, Any], ...]
    """For each tensor `shape`, `stride` (elements) and `dtype`; else `value`, or `float` (as hexadecimal text), `name`
    of a dtype, or `any` (a type's name) where the value follows the seed."""
    others: tuple[dict[str, Any], ...] = ()
    """The same for another seed, where shapes follow the seed; else empty."""


class TaskCases(Contract):
    """All cases of a task."""

    task: Task
    """The description."""
    inputs: tuple[CaseInputs, ...]
    """One entry for each case and dtype."""
    reference_source: str
    """Python text that defines what the task's form names (`reference` or `Model`) and makes its inputs; empty where
    there is none."""
