"""Describe the inputs of every case: shapes, strides, dtypes and plain values, made without memory where that works."""

from __future__ import annotations

from typing import Any

import torch

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.export.guard import flatten
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.task import Case
from kernelevolve.evaluation.task_cases import CaseInputs, TaskCases
from kernelevolve.evaluation.tasks.program import Inputs

_SEEDS = (0, 1)
"""Two, to see what follows the seed."""


def describe_cases(state: TaskState) -> dict[str, Any]:
    """`TaskCases` of a task as JSON values, under `cases`.

    Raises:
        KernelEvolveError: the task cannot make its inputs.
    """
    found = [_describe(state, case, dtype) for case in state.task.cases for dtype in state.task.dtypes]
    cases = TaskCases(task=state.program.task, inputs=tuple(found), reference_source=state.program.reference_source())
    return {"cases": cases.model_dump(mode="json")}


def _describe(state: TaskState, case: Case, dtype: str) -> CaseInputs:
    extra = state.extra(dtype)
    first, second = (_make(state, case, dtype, seed) for seed in _SEEDS)
    structure, leaves = _leaves(first, extra)
    other_structure, others = _leaves(second, extra)
    if structure != other_structure:
        others = leaves
    merged = tuple(
        mine if mine == theirs or "shape" in mine else {"any": _type_name(mine)}
        for mine, theirs in zip(leaves, others, strict=True)
    )
    moved = any(mine != theirs for mine, theirs in zip(leaves, others, strict=True) if "shape" in mine)
    return CaseInputs(
        case=case.name,
        hidden=case.hidden,
        dtype=dtype,
        structure=structure,
        form=(len(first.args), tuple(first.kwargs)),
        inputs=len(leaves) - len(extra),
        leaves=merged,
        others=tuple(others) if moved else (),
    )


def _make(state: TaskState, case: Case, dtype: str, seed: int) -> Inputs:
    try:
        return state.make_inputs(case, dtype, "meta", seed)
    except KernelEvolveError:
        # Input factories that look at their own values don't run without memory.
        return state.make_inputs(case, dtype, "cpu", seed)


def _leaves(inputs: Inputs, extra: list[torch.Tensor]) -> tuple[str, list[dict[str, Any]]]:
    values: list[Any] = []
    structure = flatten((inputs.args, inputs.kwargs), values)
    if extra:
        structure += "+" + flatten(extra, values)
    return structure, [_leaf(value) for value in values]


def _leaf(value: Any) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        # Dense, in the order of the tensor's own strides: how the judge lays it out.
        strides = torch.empty_like(value, device="meta").stride()
        return {
            "shape": list(value.shape),
            "stride": list(strides),
            "dtype": str(value.dtype).removeprefix("torch."),
        }
    if isinstance(value, torch.dtype):
        return {"name": str(value).removeprefix("torch.")}
    # As text that keeps every bit, NaN and infinity too.
    return {"float": value.hex()} if type(value) is float else {"value": value}


def _type_name(leaf: dict[str, Any]) -> str:
    if "float" in leaf or "name" in leaf:
        return "float" if "float" in leaf else "dtype"
    return type(leaf["value"]).__name__
