"""The task self-test: wrong answers that a judge worth trusting must refuse, tried before the first candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    inputs: Inputs, outputs: Sequence[torch.Tensor], other: Callable[[], Sequence[torch.Tensor]]
) -> dict[str, Callable[[], list[torch.Tensor] | None]]:
    """Each wrong answer by name, made when called: a large output does not fit on a device seven times.

    Args:
        inputs: what `outputs` were computed from.
        outputs: right answers.
        other: gives the right answers for other random inputs of the same case.

    Returns:
        Functions that give the outputs, or None where that answer makes no sense.
    """

    def each(change: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[], list[torch.Tensor] | None]:
        def make() -> list[torch.Tensor] | None:
            made = [change(tensor) for tensor in outputs]
            return None if any(tensor is None for tensor in made) else [tensor for tensor in made if tensor is not None]

        return make

    def others() -> list[torch.Tensor] | None:
        found = list(other())
        alike = all(left.shape == right.shape for left, right in zip(outputs, found, strict=True))
        return found if alike else None

    def nothing() -> None:
        return None

    # The mean of a single number is that number: right, not wrong.
    several = any(tensor.numel() > 1 for tensor in outputs)
    inexact = any(tensor.is_floating_point() for tensor in outputs)
    return {
        "zeros": each(torch.zeros_like),
        "constant": each(_constant) if several else nothing,
        "input copy": each(lambda tensor: _copy_of_input(tensor, inputs)),
        "unwritten tile": each(_without_tile),
        "transposed": each(_transposed),
        "lower precision": each(_lowered) if inexact else nothing,
        "other inputs": others,
    }


def _constant(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_floating_point():
        wide = tensor if tensor.element_size() > 1 else tensor.float()
        finite = torch.where(torch.isfinite(wide), wide, 0)
        return torch.full_like(tensor, float(finite.mean(dtype=torch.float64)) if tensor.numel() else 0.0)
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

    def other() -> Sequence[torch.Tensor]:
        return state.inputs_and_expected(case, dtype, "other", limit_numel=limit_numel)[1].outputs

    refused, skipped, tightened = [], [], []
    accepted: dict[str, str] = {}
    strict = {name: _narrowed(name, tolerance) for name, tolerance in task.tolerances.items()}
    for name, make in wrong_answers(inputs, expected.outputs, other).items():
        outputs = make()
        allowed = name == "lower precision" and (task.allow_tf32 or (outputs and _equal(outputs, expected)))
        if outputs is None or allowed:
            # An answer that is exact in a lower precision, or whose precision the task allows, is not wrong.
            skipped.append(name)
        elif _refuses(expected, outputs, task.tolerances) or _refused_on_special(state, name, limit_numel):
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


def _refused_on_special(state: TaskState, name: str, limit_numel: int | None) -> bool:
    """Whether the same kind of answer is refused at least when the inputs hold special values.

    Every candidate must pass that trial too; there is none where the reference fails on them.
    """
    task = state.task
    if not task.special_values or name == "other inputs":
        return False
    try:
        inputs, expected = state.inputs_and_expected(
            task.cases[0], task.dtypes[0], "special", special=True, limit_numel=limit_numel
        )
    except TaskError:
        return False
    outputs = wrong_answers(inputs, expected.outputs, tuple)[name]()
    if outputs is None:
        return False
    # With NaN and infinities put right: `x * 0` is all zeros and passes NaN on.
    pairs = zip(outputs, expected.outputs, strict=True)
    outputs = [torch.where(_finite(right), wrong, right) for wrong, right in pairs]
    return _refuses(expected, outputs, task.tolerances)


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    # 8-bit floats have no `isfinite`.
    return torch.isfinite(tensor if tensor.element_size() > 1 else tensor.float())


def _refuses(expected: Expected, outputs: list[torch.Tensor], tolerances: dict[str, Tolerance]) -> bool:
    return compare(expected, outputs, tolerances, {}) is not None


def _equal(outputs: list[torch.Tensor], expected: Expected) -> bool:
    return all(torch.equal(mine, wanted) for mine, wanted in zip(outputs, expected.outputs, strict=True))
