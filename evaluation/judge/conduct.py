"""Guards over how a candidate got its answer and its time, as the judge applies them. None lets anything pass that it
could not look at."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kernelevolve.evaluation.errors import CandidateError, PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import check as checking
from kernelevolve.evaluation.judge import device_activity as activity
from kernelevolve.evaluation.judge import device_pace
from kernelevolve.evaluation.judge.check import Check, Desk
from kernelevolve.evaluation.judge.data import arena_bytes
from kernelevolve.evaluation.judge.handle import WorkerHandle
from kernelevolve.evaluation.judge.oracle import Expected, compare, expect
from kernelevolve.evaluation.judge.recorder import Recorder
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.task import Case, Layout
from kernelevolve.evaluation.tasks.program import Inputs
from kernelevolve.evaluation.verdict import Diagnosis

_CALLS = 2
"""Calls whose device work is looked at on known inputs."""
_NEW_CALLS = 3
"""And on new ones, each with inputs of its own."""
_ROOM_BYTES = 2 << 30
"""What these inputs and their outputs may take; past that there is one new call."""


class Conduct:
    """The guards for one candidate on one device.

    Args:
        state: the task there.
        desk: the judge's arenas there.
        worker: the candidate's process, loaded.
        limit_s: seconds that one answer of it may take.
        own_kernels: names of the kernels it brings; None where that cannot be said.
        mutable: whether all of them are Triton's, whose launches the worker can leave out.
        notes: where to put what a reader of the verdict should know.
        muted_worker: starts another process of the candidate in which no Triton kernel is ever launched.
        native: whether its kernels are compiled ahead, from CUDA or HIP C++.
    """

    def __init__(
        self,
        state: TaskState,
        desk: Desk,
        worker: WorkerHandle,
        limit_s: float,
        own_kernels: frozenset[str] | None,
        mutable: bool,
        notes: list[str],
        muted_worker: Callable[[], WorkerHandle] | None = None,
        native: bool = False,
    ) -> None:
        self._state = state
        self._desk = desk
        self._worker = worker
        self._limit_s = limit_s
        self._own = own_kernels
        self._mutable = mutable
        self._notes = notes
        self._muted_worker = muted_worker
        self._native = native

    def untouched(self) -> Diagnosis | None:
        """The functions that the worker measures with, and the driver's settings, are those it began with."""
        reply = self._worker.ask("integrity", self._limit_s)
        for name, finding, what, advice in (
            (
                "changed",
                Finding.HARNESS_CHANGED,
                "functions that others measure with",
                "Replace no function of others.",
            ),
            (
                "settings",
                Finding.DEVICE_STATE_CHANGED,
                "settings of the driver and left them so",
                "Put a setting that the candidate needs back before the call returns.",
            ),
        ):
            found = reply.get(name)
            if not isinstance(found, list):
                raise CandidateError(Finding.RESULT_FORGED, f"The worker answered {str(found)[:80]} for a list.")
            if found:
                shown = ", ".join(str(entry)[:120] for entry in found[:6])
                return Diagnosis(finding=finding, summary=f"The candidate changed {what}: {shown}.", advice=advice)
        return None

    def device_work(self, case: Case, dtype: str, claim_ms: float, reference: Callable[[], Any]) -> Diagnosis | None:
        """On a GPU: every call runs kernels, its own and always the same, within the call, for no longer than it says.

        Args:
            case: the case that was timed.
            dtype: its dtype.
            claim_ms: device time of a call, milliseconds.
            reference: one call of the reference on that case.
        """
        theirs = self._reference_work(case, dtype, reference)
        if isinstance(theirs, Diagnosis):
            return theirs
        calls, wrong = self._look(case, dtype)
        known, new = calls[:_CALLS], calls[_CALLS:]
        found = (
            activity.launches_nothing(calls)
            or activity.outlives_its_call(calls)
            or activity.kernels_change(calls)
            or activity.busier_than_claimed(new, claim_ms)
            or device_pace.reuses(known, new)
        )
        if found is None and wrong is not None:
            found = wrong.model_copy(update={"finding": Finding.WRONG_AFTER_TIMING})
        if found is not None or self._own is None:
            return found
        note = activity.borrowing_note(calls[0], self._own)
        if note:
            self._notes.append(f"{case.name if not case.hidden else 'a hidden case'}: {note}")
        little = activity.brings_little(calls, self._own) if self._native else None
        return activity.borrows(calls, self._own, theirs) or little

    def _look(self, case: Case, dtype: str) -> tuple[list[activity.Call], Diagnosis | None]:
        """The device work of calls on known inputs, then on new ones; and what is wrong with the answer of one of the
        latter, chosen when all of them have been given."""
        state, where = self._state, {**Check(case, dtype, 0).where(), "during": "timing"}
        shown, expected = state.inputs_and_expected(case, dtype, "timed")
        nbytes = arena_bytes(shown, Layout.CONTIGUOUS)
        nbytes += sum(tensor.numel() * tensor.element_size() for tensor in expected.outputs)
        count = _NEW_CALLS if _NEW_CALLS * nbytes <= _ROOM_BYTES else 1
        seeds = [state.seed(case.name, dtype, "activity", secrets.token_hex(16)) for _ in range(count)]
        sets = [state.make_inputs(case, dtype, state.device, seed) for seed in seeds]
        calls = self._record(_CALLS, [])
        for inputs in sets:
            # One after another, and not before the calls on known inputs: nothing can be worked out ahead.
            placed = checking.lay_out(state, self._desk, self._worker, inputs, dtype, Layout.CONTIGUOUS, self._limit_s)
            torch.cuda.synchronize()
            calls += self._record(0, [placed.description])
        chosen = secrets.randbelow(count)
        expected = expect(state.reference(dtype), state.oracle(dtype), sets[chosen])
        arena = checking.outputs_arena(self._desk, self._worker, expected, self._limit_s)
        torch.cuda.synchronize()
        reply = self._worker.ask("show", self._limit_s, number=chosen)
        got = checking.read_outputs(reply.get("outputs"), expected, arena, state.device, where)
        return calls, got if isinstance(got, Diagnosis) else compare(expected, got, state.task.tolerances, where)

    def _record(self, known: int, sets: list[dict[str, Any]]) -> list[activity.Call]:
        """Have the worker record that many calls on known inputs, and one on each set of new ones."""
        reply = self._worker.ask("activity", self._limit_s, count=known, sets=sets)
        records = reply.get("calls")
        if not isinstance(records, list) or len(records) != known + len(sets):
            raise CandidateError(
                Finding.RESULT_FORGED, f"The worker answered {str(records)[:80]} for records of calls."
            )
        return [activity.dissect(entry) for entry in records]

    def _run_muted(
        self, worker: WorkerHandle, what: Check, inputs: Inputs, expected: Expected
    ) -> tuple[dict[str, Any], Diagnosis | None]:
        """Have a worker run without Triton kernels: its reply, and what is wrong with the outputs."""
        placed = checking.lay_out(self._state, self._desk, worker, inputs, what.dtype, Layout.CONTIGUOUS, self._limit_s)
        arena = checking.outputs_arena(self._desk, worker, expected, self._limit_s)
        form = checking.output_form(expected)
        torch.cuda.synchronize()
        reply = worker.ask("run_muted", self._limit_s, inputs=placed.description, outputs=form)
        got = checking.read_outputs(reply.get("outputs"), expected, arena, self._state.device, what.where())
        if isinstance(got, Diagnosis):
            return reply, got
        return reply, compare(expected, got, self._state.task.tolerances, what.where())

    def _reference_work(self, case: Case, dtype: str, reference: Callable[[], Any]) -> list[str] | Diagnosis:
        """What the reference runs on the device. Looking at it also shows that this machine lets anybody look."""
        known = self._state.reference_kernels
        if (case.name, dtype) not in known:
            try:
                known[case.name, dtype] = activity.dissect(Recorder(self._state.device).record(reference)).names
            except (CandidateError, RuntimeError) as error:
                return Diagnosis(
                    finding=Finding.NOT_CHECKABLE,
                    summary=f"This machine does not let the judge see what runs on the GPU: {error}",
                    advice="End other profilers, and let users read performance counters; `--timed-calls 0` leaves "
                    "timing out.",
                )
        return known[case.name, dtype]

    def kernels_matter(self, cases: Sequence[Case], dtype: str) -> Diagnosis | None:
        """On a GPU: without its Triton kernels a candidate must not be right, they would be decoration.

        Nothing is said of a task that accepts wrong answers, which a candidate may give by leaving everything out.

        Args:
            cases: those that were timed; in any order, for a call without its kernels may end in an error, after which
                nothing more can be asked.
            dtype: their dtype.
        """
        if not self._can_be_muted():
            return None
        for case in secrets.SystemRandom().sample(list(cases), len(cases)):
            try:
                found = self._matter(case, dtype)
            except CandidateError as error:
                if error.finding in (Finding.TIME_LIMIT, Finding.PROCESS_DIED, Finding.RESULT_FORGED):
                    raise
                return None  # It can't do without them.
            if found is not None:
                return found
        return None

    def _matter(self, case: Case, dtype: str) -> Diagnosis | None:
        what = Check(case, dtype, trial=("mute", secrets.token_hex(8)))
        inputs, expected = self._state.inputs_and_expected(case, dtype, what.trial)
        if not any(tensor.numel() for tensor in expected.outputs):
            return None
        reply, wrong = self._run_muted(self._worker, what, inputs, expected)
        if wrong is not None:
            return None
        # Where nobody knows which kernels are its own, any that ran may be.
        names = activity.dissect(reply.get("records")).names
        ran = names if self._own is None else [name for name in names if activity.is_own(name, self._own)]
        if ran and not self._right_without(what, inputs, expected):
            return None
        named = " (what ran under their names was not launched by Triton)" if ran else ""
        return Diagnosis(
            finding=Finding.BORROWED_KERNELS,
            summary="The answer is right even when the candidate's Triton kernels are not run: something else computes "
            f"it{named}.",
            advice="Let kernels of the candidate's own do the work, for every shape; leave no other way to the answer "
            "in it.",
        )

    def _can_be_muted(self) -> bool:
        weak = self._state.self_test is not None and self._state.self_test.weak
        return self._state.device != "cpu" and self._mutable and self._own != frozenset() and not weak

    def _right_without(self, what: Check, inputs: Inputs, expected: Expected) -> bool:
        """Whether the answer is right in a process that never launched a Triton kernel.

        Where kernels of the candidate's names ran although none was launched, a graph may have been made with them
        before, in which they do the work; or in which they are decoration; or a library's bear the same names.
        """
        if self._muted_worker is None:
            raise PlatformError(
                Finding.NOT_CHECKABLE,
                "Whether the candidate's kernels matter needs another process of it.",
                "This is a fault of the judge: please report it.",
            )
        worker: WorkerHandle | None = None
        try:
            worker = self._muted_worker()
            return self._run_muted(worker, what, inputs, expected)[1] is None
        except CandidateError as error:
            if error.finding is Finding.RESULT_FORGED:
                raise
            return False  # It can't do without them.
        finally:
            if worker is not None:
                worker.close()
