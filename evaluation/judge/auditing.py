"""The audit of a candidate that was timed: a fresh process, fresh data in every timed call, another clock."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kernelevolve.evaluation.audit import Audit, AuditedCase, AuditOutcome
from kernelevolve.evaluation.judge import check as checking
from kernelevolve.evaluation.judge import device_activity as activity
from kernelevolve.evaluation.judge.check import Check, Desk
from kernelevolve.evaluation.judge.handle import WorkerHandle
from kernelevolve.evaluation.judge.oracle import Expected, compare
from kernelevolve.evaluation.judge.recorder import Recorder
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.judge.statistics import median, paired_interval
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.judge.timing import Stopwatch
from kernelevolve.evaluation.task import Case, Layout
from kernelevolve.evaluation.tasks.program import Inputs
from kernelevolve.evaluation.verdict import CaseTiming, Diagnosis, Interval

ALLOWANCE = {"cpu": 0.15, "cuda": 0.05}
"""How far, relatively, the audit's interval may lie below the verdict's: what a new process of one kernel changes, with
its memory elsewhere and, on a CPU, other processes beside it."""
SHORTEST_MS = 1.0
"""Shortest call of a baseline, on a CPU, next to which a clock outside of the candidate's process says anything."""
RESOLUTION_MS = {"cpu": 0.2, "cuda": 0.002}
"""By how much that clock may be off, milliseconds: two messages there and back, and one more kernel on a GPU."""
_ROUNDS = 10
_MIN_ROUNDS = 6
"""Fewest rounds whose whole range covers the median with 95 %."""
_BUDGET_S = 8.0
"""Seconds for a case, most of which the oracle takes; the fewest rounds are made even so."""
_ATTEMPTS = 2
"""How often speed is looked at before a candidate is called slower than stated: other processes come and go."""
_WARM_UP = 1
_HAND_OVER_SLACK_MS = 0.5
METHOD = {
    "cpu": "the judge's own clock around single calls in a fresh process, handing over of the outputs included, less "
    "handing over alone",
    "cuda": "the driver's activity records (CUPTI) of single calls in a fresh process",
}


class _NotConfirmedError(Exception):
    """The audit is over: the candidate was wrong."""


@dataclass(frozen=True)
class _Seen:
    """Paired rounds of one case: the ratio, and the median times in milliseconds."""

    interval: Interval
    baseline_ms: float
    candidate_ms: float


class Auditor:
    """Audits one candidate.

    Args:
        state: the task on the device.
        desk: the judge's arenas there.
        worker: a process that has only loaded the candidate.
        request: what was asked for.
    """

    def __init__(self, state: TaskState, desk: Desk, worker: WorkerHandle, request: JudgeRequest) -> None:
        self._state = state
        self._desk = desk
        self._worker = worker
        self._limit_s = request.limit_s
        self._baseline_name = request.baselines[0]
        self._kind = "cpu" if state.device == "cpu" else "cuda"
        self._watch = Stopwatch(state.device)
        self._recorder = Recorder(state.device) if self._kind == "cuda" else None
        self._checks = 0

    def audit(self, timings: Sequence[CaseTiming]) -> Audit:
        """Measure every case that was timed and is long enough, and compare.

        Args:
            timings: what the verdict says.

        Raises:
            CandidateError: the candidate failed to run.
        """
        stated = {timing.case: timing for timing in timings if timing.baseline == self._baseline_name}
        if not stated:
            return Audit(outcome=AuditOutcome.NOT_POSSIBLE, reason="no time was measured")
        short = [name for name, timing in stated.items() if not self._is_long_enough(timing)]
        chosen = [case for case in self._state.task.timed_cases if case.name in stated and case.name not in short]
        left_out = (
            f"too short for a clock outside of their process: {len(short)} of {len(stated)} cases" if short else ""
        )
        if not chosen:
            return Audit(
                outcome=AuditOutcome.NOT_POSSIBLE, reason=f"calls are {left_out}, below {SHORTEST_MS:g} ms each"
            )
        cases = []
        slower = ""
        try:
            for case in chosen:
                seen = self._look_at(case, stated[case.name])
                cases.append(_audited(case, stated[case.name].interval, seen.interval))
                if not self._agree(stated[case.name], seen):
                    name = "a hidden case" if case.hidden else case.name
                    slower = slower or (
                        f"{name}: {seen.interval.speedup:.4g}x [{seen.interval.low:.4g}, {seen.interval.high:.4g}] "
                        "in the audit, "
                        f"{stated[case.name].interval.speedup:.4g}x in the verdict"
                    )
        except _NotConfirmedError as error:
            slower = str(error)
        return Audit(
            outcome=AuditOutcome.NOT_CONFIRMED if slower else AuditOutcome.CONFIRMED,
            reason=slower or left_out,
            method=METHOD[self._kind],
            cases=tuple(cases),
            checks=self._checks,
        )

    def _is_long_enough(self, timing: CaseTiming) -> bool:
        return self._kind == "cuda" or timing.baseline_ms >= SHORTEST_MS

    def _agree(self, stated: CaseTiming, seen: _Seen) -> bool:
        """Whether the audit's interval reaches the verdict's, or misses it by no more than the clock may be off.

        A call that takes no longer than the verdict says agrees as well: records of the driver leave out the gaps
        between the kernels of a baseline, which events around it hold. Being faster than stated is no reason to doubt.
        """
        allowed = 1 + ALLOWANCE[self._kind]
        low = stated.interval.low
        bound_ms = max(seen.baseline_ms / low, stated.candidate_ms) * allowed + RESOLUTION_MS[self._kind]
        return seen.interval.high * allowed >= low or seen.candidate_ms <= bound_ms

    def _look_at(self, case: Case, stated: CaseTiming) -> _Seen:
        seen = self._measure(case)
        for _ in range(_ATTEMPTS - 1):
            if self._agree(stated, seen):
                break
            seen = self._measure(case)
        return seen

    def _measure(self, case: Case) -> _Seen:
        """Paired rounds of one call on each side, both on data that nobody has seen."""
        dtype = self._state.task.dtypes[0]
        reference = self._state.reference(dtype) if self._baseline_name == "eager" else self._state.compiled(dtype)
        baseline, candidate = [], []
        began = time.monotonic()
        for number in range(_ROUNDS + _WARM_UP):
            what = Check(case, dtype, trial=("audit", secrets.token_hex(8)))
            inputs, expected = self._state.inputs_and_expected(case, dtype, what.trial)
            pair = [lambda: self._candidate_ms(what, inputs, expected), lambda: self._baseline_ms(reference, inputs)]  # noqa: B023 - called before the next round
            first, second = (pair[side]() for side in ((0, 1) if number % 2 else (1, 0)))
            mine, theirs = (first, second) if number % 2 else (second, first)
            if number >= _WARM_UP:
                candidate.append(mine)
                baseline.append(theirs)
            if len(candidate) >= _MIN_ROUNDS and time.monotonic() - began > _BUDGET_S:
                break
        return _Seen(paired_interval(baseline, candidate), median(baseline), median(candidate))

    def _baseline_ms(self, reference: Callable[..., Any], inputs: Inputs) -> float:
        copy = inputs.map_tensors(torch.clone)

        def call(_index: int = 0) -> Any:
            with torch.no_grad():
                return reference(*copy.args, **copy.kwargs)

        if self._recorder is None:
            return self._watch.time_calls(call, 1)[0][0]
        self._watch.flush()
        return activity.dissect(self._recorder.record(call)).busy_ms

    def _candidate_ms(self, what: Check, inputs: Inputs, expected: Expected) -> float:
        """One call on new data, its outputs compared; milliseconds."""
        limit = self._limit_s
        placed = checking.lay_out(self._state, self._desk, self._worker, inputs, what.dtype, Layout.CONTIGUOUS, limit)
        arena = checking.outputs_arena(self._desk, self._worker, expected, limit)
        self._watch.synchronize()
        self._worker.ask("stock", limit, inputs=placed.description, outputs=checking.output_form(expected))
        began = time.perf_counter_ns()
        reply = self._worker.ask("once", limit)
        whole_ms = (time.perf_counter_ns() - began) / 1e6
        where = {**what.where(), "during": "the audit"}
        got = checking.read_outputs(reply.get("outputs"), expected, arena, self._state.device, where)
        wrong = got if isinstance(got, Diagnosis) else compare(expected, got, self._state.task.tolerances, where)
        self._checks += 1
        if wrong is not None:
            raise _NotConfirmedError(f"wrong on data it had not seen: {wrong.summary}")
        if self._recorder is not None:
            return self._recorded_ms(reply)
        return max(whole_ms - self._hand_over_ms(expected), 1e-6)

    def _recorded_ms(self, reply: dict[str, Any]) -> float:
        call = activity.dissect(reply.get("records"))
        found = activity.launches_nothing([call]) or activity.outlives_its_call([call])
        if found is not None:
            raise _NotConfirmedError(found.summary)
        return call.busy_ms

    def _hand_over_ms(self, expected: Expected) -> float:
        """What handing the outputs over takes, messages included.

        It is taken off a call's time, so a candidate would gain by dragging it out: it must not take much longer than
        the same copy takes here.
        """
        began = time.perf_counter_ns()
        self._worker.ask("once", self._limit_s, call=False)
        took_ms = (time.perf_counter_ns() - began) / 1e6
        times = []
        for tensor in expected.outputs:
            room = torch.empty_like(tensor)
            began = time.perf_counter_ns()
            room.copy_(tensor)
            times.append((time.perf_counter_ns() - began) / 1e6)
        return min(took_ms, 2 * sum(times) + _HAND_OVER_SLACK_MS)


def _audited(case: Case, stated: Interval, seen: Interval) -> AuditedCase:
    return AuditedCase(
        case=case.name,
        stated=stated.speedup,
        stated_low=stated.low,
        seen=seen.speedup,
        seen_low=seen.low,
        seen_high=seen.high,
    )
