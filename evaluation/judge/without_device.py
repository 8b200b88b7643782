"""Judging for a device that is not here: results in Triton's interpreter, resources from cross-compilation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError, TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import check as checking
from kernelevolve.evaluation.judge.check import Desk
from kernelevolve.evaluation.judge.data import describe_only
from kernelevolve.evaluation.judge.executed import Outcome, plan_checks
from kernelevolve.evaluation.judge.handle import WorkerHandle, claimed_failure
from kernelevolve.evaluation.judge.own_work import borrows
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.resources import KernelResources
from kernelevolve.evaluation.task import Case
from kernelevolve.evaluation.verdict import Diagnosis

INTERPRETER_ELEMENTS = 1 << 15
"""Elements of the largest input that is interpreted: the interpreter runs one program instance after another, in
Python, and a case of a million elements would take minutes."""
_MOST_NOTES, _NOTE_CHARACTERS = 100, 2000
"""How much of what a worker notes is passed on."""
INTERPRETER_BUDGET_S = 30.0
"""Seconds after which no further trial is begun, once every case has had one."""


def interpret(
    state: TaskState,
    desk: Desk,
    worker: WorkerHandle,
    request: JudgeRequest,
    progress: Callable[[str, float], None],
) -> Outcome:
    """Check a Triton candidate in the interpreter, on shrunk inputs where the task's are too large.

    Returns:
        An outcome whose `checks` is 0 when nothing could be checked; the notes say why.
    """
    outcome = Outcome()
    plan = plan_checks(state, request.trials, INTERPRETER_ELEMENTS)
    began = time.monotonic()
    untestable: set[tuple[str, str]] = set()
    tried: set[tuple[str, str]] = set()
    sizes = {case.name: state.case_elements(case) for case in state.task.cases}
    try:
        for number, what in enumerate(plan):
            key = (what.case.name, what.dtype)
            if key in untestable or (key in tried and time.monotonic() - began > INTERPRETER_BUDGET_S):
                continue
            tried.add(key)
            if what.dtype == "bfloat16":
                # Triton's interpreter truncates fp32 to bf16 and multiplies raw bit patterns in tl.dot, so an honest
                # kernel would come out wrong.
                untestable.add(key)
                outcome.notes.append(
                    "bfloat16 was not checked: Triton's interpreter does not round it as hardware does"
                )
                continue
            progress(f"interpreting {what.where()['case']}", 0.8 * number / len(plan))
            try:
                inputs, expected = state.inputs_and_expected(
                    what.case, what.dtype, what.trial, what.special, what.limit_numel
                )
            except TaskError as error:
                if error.finding is Finding.TASK_WITHOUT_INPUTS:
                    raise
                untestable.add(key)
                outcome.notes.append(f"case {what.where()['case']} was not interpreted: {error.summary}")
                continue
            if inputs.shrunk:
                note = f"case {what.where()['case']} was interpreted with fewer rows than stated"
                outcome.notes.extend([note] if note not in outcome.notes else [])
            diagnosis = checking.check_on(state, desk, worker, what, inputs, expected, request.limit_s)
            outcome.checks += 1
            if diagnosis is not None:
                outcome.refuse(diagnosis)
                return outcome
        checked = tried - untestable
        if checked:
            # The quickest: it is run once more for each look.
            name, dtype = min(checked, key=lambda pair: sizes[pair[0]])
            case = next(case for case in state.task.cases if case.name == name)
            language, limit_s = request.candidate.language, request.limit_s
            diagnosis = borrows(state, desk, worker, case, dtype, language, limit_s, INTERPRETER_ELEMENTS)
            if diagnosis is not None:
                outcome.refuse(diagnosis)
    except CandidateError as error:
        outcome.refuse(Diagnosis.of(error))
    return outcome


def heaviest_case(cases: tuple[Case, ...]) -> Case:
    """The case that counts most; the last of equals, since authors put the real size last."""
    return max(reversed(cases), key=lambda case: case.weight)


def shapes_for_compile(state: TaskState) -> dict[str, Any]:
    """Describe the inputs of the case that counts most without making them; of a shrunk one where that fails."""
    if state.shapes is None:
        case, dtype = heaviest_case(state.task.cases), state.task.dtypes[0]
        try:
            inputs = state.make_inputs(case, dtype, "meta", 0)
        except KernelEvolveError:
            # Input factories that look at their own values don't run without memory.
            inputs = state.make_inputs(case, dtype, "cpu", 0, INTERPRETER_ELEMENTS)
        state.shapes = describe_only(inputs, state.extra(dtype))
    return state.shapes


def cross_compile(
    worker: WorkerHandle, shapes: dict[str, Any], targets: list[str], limit_s: float
) -> dict[str, Outcome]:
    """Compile every kernel a Triton candidate launches, for each target.

    Returns:
        Target → outcome: refused where the compiler refused, with resources elsewhere.
    """
    outcomes = {target: Outcome() for target in targets}
    try:
        reply = worker.ask("compile", limit_s, inputs=shapes, targets=targets)
    except CandidateError as error:
        for outcome in outcomes.values():
            outcome.refuse(Diagnosis.of(error))
        return outcomes
    try:
        _read_compiled(outcomes, reply)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # The worker's words are a claim; a shape of answer that it never gives was not its own.
        for outcome in outcomes.values():
            outcome.refuse(
                Diagnosis(finding=Finding.RESULT_FORGED, summary=f"The worker's answer makes no sense: {error}.")
            )
    return outcomes


def _read_compiled(outcomes: dict[str, Outcome], reply: dict[str, Any]) -> None:
    for target, outcome in outcomes.items():
        result = reply["compiled"][target]
        outcome.notes.extend(str(note)[:_NOTE_CHARACTERS] for note in reply["notes"][:_MOST_NOTES])
        if "failed" in result:
            outcome.refuse(Diagnosis.of(claimed_failure(result, "compile")))
        elif not reply["launches"]:
            outcome.refuse(
                Diagnosis(
                    finding=Finding.NO_DEVICE_WORK,
                    summary="The candidate launches no Triton kernel.",
                    advice="Do the work in a @triton.jit kernel.",
                )
            )
        else:
            outcome.resources.extend(KernelResources.model_validate(entry) for entry in result["resources"])
