"""Whether a candidate's own kernels give its answer, or torch does: a guard against fallbacks and decoration."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import check as checking
from kernelevolve.evaluation.judge.check import Check, Desk
from kernelevolve.evaluation.judge.handle import WorkerHandle
from kernelevolve.evaluation.judge.operators import OperatorRecorder, Operators
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.task import Case
from kernelevolve.evaluation.tasks.program import Inputs
from kernelevolve.evaluation.verdict import Diagnosis

_NATIVE = ("cpp", "cuda", "hip")
_ADVICE = "Let kernels of the candidate's own do the work; leave no other way to the answer in it."
_SHOWN = 6


@contextmanager
def muted() -> Iterator[None]:
    """In the worker: launches of Triton kernels do nothing meanwhile, compiled or interpreted."""
    from triton.compiler.compiler import CompiledKernel
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    def nothing(*_arguments: Any, **_keywords: Any) -> None:
        """In place of a launch."""

    with (
        mock.patch.object(JITFunction, "run", nothing),
        mock.patch.object(InterpretedFunction, "run", nothing),
        mock.patch.object(CompiledKernel, "__getitem__", return_value=nothing),
        mock.patch.object(CompiledKernel, "run", nothing),
    ):
        yield


def borrows(
    state: TaskState,
    desk: Desk,
    worker: WorkerHandle,
    case: Case,
    dtype: str,
    language: str,
    limit_s: float,
    limit_numel: int | None = None,
) -> Diagnosis | None:
    """Run once more, with an eye on torch's dispatcher, and then without the candidate's Triton kernels.

    Args:
        state: the task.
        desk: the judge's arenas.
        worker: the candidate's process.
        case: which case.
        dtype: its dtype.
        language: of the candidate. Nothing is said of `export`, which falls back to torch by design.
        limit_s: seconds that one answer may take.
        limit_numel: see `TaskProgram.make_inputs`.

    Raises:
        CandidateError: it failed to run.
    """
    if language != "triton" and language not in _NATIVE:
        return None
    what = Check(case, dtype, trial=("own work", secrets.token_hex(8)), limit_numel=limit_numel)
    inputs, expected = state.inputs_and_expected(case, dtype, what.trial, limit_numel=limit_numel)
    wrong = checking.check_on(state, desk, worker, what, inputs, expected, limit_s)
    if wrong is not None:
        return wrong
    found = calls_torch(worker.operators, _reference_operators(state, inputs, dtype), language)
    weak = state.self_test is not None and state.self_test.weak
    if found is not None or language != "triton" or weak or not any(tensor.numel() for tensor in expected.outputs):
        # A task that accepts wrong answers may accept what is left when everything is left out.
        return found
    try:
        wrong = checking.check_on(state, desk, worker, what, inputs, expected, limit_s, mute=True)
    except CandidateError:
        return None  # It can't do without them.
    if wrong is not None:
        return None
    return Diagnosis(
        finding=Finding.BORROWED_KERNELS,
        summary="The answer is right even when the candidate's kernels are not run: something else computes it.",
        advice=_ADVICE,
    )


def calls_torch(mine: Operators, theirs: Operators, language: str) -> Diagnosis | None:
    """The operators that torch ran for a candidate must not be those of the reference.

    Args:
        mine: what ran for the candidate.
        theirs: what runs for the reference.
        language: native code has no reason to call torch at all; the host code of a Triton candidate may, but not to do
            all that the reference does.
    """
    used = mine if language in _NATIVE else theirs
    if not used or (language not in _NATIVE and theirs - mine):
        return None
    names = list(dict.fromkeys(name for name, _elements in used))
    shown = ", ".join(f"aten::{name}" for name in names[:_SHOWN])
    return Diagnosis(
        finding=Finding.BORROWED_KERNELS,
        summary=f"The candidate has torch compute: {shown}{' and more' if len(names) > _SHOWN else ''}.",
        advice=_ADVICE,
    )


def _reference_operators(state: TaskState, inputs: Inputs, dtype: str) -> Operators:
    copies = inputs.map_tensors(torch.clone)
    with torch.no_grad(), OperatorRecorder() as recorder:
        state.reference(dtype)(*copies.args, **copies.kwargs)
    return recorder.seen
