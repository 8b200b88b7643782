"""The task self-test: wrong answers that a judge worth trusting must refuse, tried before the first candidate."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.judge.oracle import Expected, compare
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES, Tolerance
from kernelevolve.evaluation.tasks.program import Inputs

_TILE = 64
"""Rows or elements of the output tile that is left unwritten."""


class TaskCheck(Contract):
    """What the self-test found."""

    task: str
    """Task name."""
    refused: tuple[str, ...]
    """Wrong answers that were refused."""
    accepted: tuple[str, ...]
    """Wrong answers that were accepted even after tightening: the task is weak by these."""
    skipped: tuple[str, ...]
    """Wrong answers that make no sense for this task, e.g. a transposed scalar."""
    tightened: tuple[str, ...] = ()
    """Wrong answers that only the tightened tolerance refuses."""
    notes: tuple[str, ...] = ()
    """What the verdicts of this task will say about it."""

    @property
    def weak(self) -> bool:
        """Whether some wrong answer passes: `correct` then says less than it should."""
        return bool(self.accepted)


_WHY_WEAK = {
    "zeros": "the reference gives all zeros",
    "constant": "the output is the same number everywhere",
    "input copy": "the reference returns an input unchanged",
    "unwritten tile": "a part of the output is zero anyway",
    "transposed": "the output is its own transpose",
    "lower precision": "the output is exact in a lower precision",
    "other inputs": "the output does not depend on the input values",
}


_IMPRECISE = "it differs from the right answer by less than the reference's own error allows"


def wrong_answers(
    inputs: Inputs, expected: Expected, other: Expected
) -> Iterator[tuple[str, list[torch.Tensor] | None]]:
    """Name and outputs of each wrong answer; None where it makes no sense.

    Args:
        inputs: what `expected` was computed from.
        expected: right answers.
        other: right answers for other random inputs of the same case.
    """
    outputs = list(expected.outputs)
    yield "zeros", [torch.zeros_like(tensor) for tensor in outputs]
    # The mean of a single number is that number: right, not wrong.
    several = any(tensor.numel() > 1 for tensor in outputs)
    yield "constant", [_constant(tensor) for tensor in outputs] if several else None
    copies = [_copy_of_input(tensor, inputs) for tensor in outputs]
    yield "input copy", None if None in copies else [tensor for tensor in copies if tensor is not None]
    yield "unwritten tile", [_without_tile(tensor) for tensor in outputs]
    turned = [_transposed(tensor) for tensor in outputs]
    yield "transposed", None if None in turned else [tensor for tensor in turned if tensor is not None]
    if any(tensor.is_floating_point() for tensor in outputs):
        yield "lower precision", [_lowered(tensor) for tensor in outputs]
    else:
        yield "lower precision", None
    alike = all(left.shape == right.shape for left, right in zip(outputs, other.outputs, strict=True))
    yield "other inputs", list(other.outputs) if alike else None


def _constant(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_floating_point():
        finite = torch.where(_finite(tensor), tensor.double(), 0)
        return torch.full_like(tensor, float(finite.mean()) if tensor.numel() else 0.0)
    if tensor.dtype == torch.bool or not tensor.numel():
        return torch.ones_like(tensor)
    return torch.full_like(tensor, tensor.reshape(-1)[tensor.numel() // 2].item())


def _copy_of_input(tensor: torch.Tensor, inputs: Inputs) -> torch.Tensor | None:
    for given in inputs.tensors():
        if given.numel() == tensor.numel() and given.dtype == tensor.dtype:
            return given.reshape(tensor.shape).clone()
    return None


def _without_tile(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.clone(memory_format=torch.contiguous_format)
    flat = copy.view(-1)
    flat[-min(_TILE, max(1, flat.numel() // 2)) :] = 0
    return copy


def _transposed(tensor: torch.Tensor) -> torch.Tensor | None:
    if tensor.dim() < 2 or min(tensor.shape[-2:]) < 2:
        return None
    return tensor.transpose(-1, -2).reshape(tensor.shape).clone()


def _lowered(tensor: torch.Tensor) -> torch.Tensor:
    """Rounded to the next lower precision that covers the range."""
    lower = {
        torch.float64: torch.float32,
        torch.float32: torch.float16,
        torch.float16: torch.bfloat16,
        torch.bfloat16: torch.float8_e5m2,
    }.get(tensor.dtype)
    if lower is None:
        return tensor.clone()
    if lower is torch.float16 and tensor.numel() and float(tensor.abs().nan_to_num(0, 0, 0).max()) > 60000:
        lower = torch.bfloat16
    return tensor.to(lower).to(tensor.dtype)


def run_self_test(state: TaskState, limit_numel: int | None = None) -> TaskCheck:
    """Try every wrong answer on a task; tighten its tolerances if one is accepted because of them.

    Args:
        state: the task; its tolerances are replaced if they must be tightened.
        limit_numel: shrink inputs to this many elements.
    """
    task = state.task
    case, dtype = task.cases[0], task.dtypes[0]
    inputs, expected = state.inputs_and_expected(case, dtype, 0, limit_numel=limit_numel)
    _other_inputs, other = state.inputs_and_expected(case, dtype, "other", limit_numel=limit_numel)
    special = _special(state, limit_numel) if task.special_values else None
    refused, skipped, tightened = [], [], []
    accepted: dict[str, str] = {}
    strict = {name: _narrowed(name, tolerance) for name, tolerance in task.tolerances.items()}
    for name, outputs in wrong_answers(inputs, expected, other):
        if outputs is None or (_equal(outputs, expected) and name == "lower precision"):
            # An answer that is exact in a lower precision is not wrong.
            skipped.append(name)
        elif _refuses(expected, outputs, task.tolerances) or _refused_on(special, name, task.tolerances):
            refused.append(name)
        elif _refuses(expected, outputs, strict):
            tightened.append(name)
        else:
            accepted[name] = _WHY_WEAK[name] if _equal(outputs, expected) else _IMPRECISE
    notes = [f"weak task: it accepts {name} ({reason})" for name, reason in accepted.items()]
    if tightened:
        notes.append(f"tolerance tightened: the task's own bounds accept {', '.join(tightened)}")
        state.tighten(strict)
    return TaskCheck(
        task=task.name,
        refused=tuple(refused),
        accepted=tuple(accepted),
        skipped=tuple(skipped),
        tightened=tuple(tightened),
        notes=tuple(notes),
    )


def _narrowed(dtype: str, tolerance: Tolerance) -> Tolerance:
    """A task's tolerance with nothing wider than the default."""
    default = DEFAULT_TOLERANCES.get(dtype, tolerance).model_dump()
    return Tolerance(**{field: min(value, default[field]) for field, value in tolerance.model_dump().items()})


def _special(state: TaskState, limit_numel: int | None) -> tuple[Inputs, Expected] | None:
    """The trial with special values, which every candidate must pass too; none where the reference fails on them."""
    case, dtype = state.task.cases[0], state.task.dtypes[0]
    try:
        return state.inputs_and_expected(case, dtype, "special", special=True, limit_numel=limit_numel)
    except TaskError:
        return None


def _refused_on(special: tuple[Inputs, Expected] | None, name: str, tolerances: dict[str, Tolerance]) -> bool:
    """Whether the same kind of answer is refused at least when the inputs hold special values."""
    if special is None or name == "other inputs":
        return False
    inputs, expected = special
    outputs = dict(wrong_answers(inputs, expected, expected))[name]
    if outputs is None:
        return False
    # With NaN and infinities put right: `x * 0` is all zeros and passes NaN on.
    pairs = zip(outputs, expected.outputs, strict=True)
    outputs = [torch.where(_finite(right), wrong, right) for wrong, right in pairs]
    return _refuses(expected, outputs, tolerances)


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    # 8-bit floats have no `isfinite`.
    return torch.isfinite(tensor if tensor.element_size() > 1 else tensor.float())


def _refuses(expected: Expected, outputs: list[torch.Tensor], tolerances: dict[str, Tolerance]) -> bool:
    return compare(expected, outputs, tolerances, {}) is not None


def _equal(outputs: list[torch.Tensor], expected: Expected) -> bool:
    return all(torch.equal(mine, wanted) for mine, wanted in zip(outputs, expected.outputs, strict=True))
