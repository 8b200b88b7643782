"""Judging by execution: correctness, timing against baselines, and the guards around both."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from kernelevolve.evaluation.audit import Audit
from kernelevolve.evaluation.errors import CandidateError, TaskError
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge import check as checking
from kernelevolve.evaluation.judge.baseline_alone import ROUNDS as ALONE_ROUNDS
from kernelevolve.evaluation.judge.baseline_alone import TimedBaseline
from kernelevolve.evaluation.judge.check import Check, Desk
from kernelevolve.evaluation.judge.conduct import Conduct
from kernelevolve.evaluation.judge.handle import WorkerHandle
from kernelevolve.evaluation.judge.oracle import compare
from kernelevolve.evaluation.judge.outside_clock import seen_from_outside
from kernelevolve.evaluation.judge.own_work import borrows
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.judge.roofline import SLACK, floor_ms
from kernelevolve.evaluation.judge.statistics import CONFIDENCE, median, paired_interval
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.judge.timing import Stopwatch, copies_for_rotation, estimate_ms
from kernelevolve.evaluation.judge.unseen import UnseenCalls, claimed, claimed_times
from kernelevolve.evaluation.platform import SpecSheet
from kernelevolve.evaluation.resources import KernelResources
from kernelevolve.evaluation.task import Case, Layout
from kernelevolve.evaluation.verdict import CaseTiming, Diagnosis, Interval, Speed, SpeedSummary

MARGIN = {"cpu": 0.02, "cuda": 0.01}
"""Relative difference below which two kernels count as the same: what repeated timing of one kernel shows there."""
ROUNDS = 10
"""Paired rounds; the interval of ten covers the median with 97.9 %."""
_MIN_ROUNDS = 6
"""Fewest rounds whose whole range covers the median with 95 % (96.9 %)."""
_MAX_ROUNDS = 30
_DISTURBED = 1.2
"""How much longer a call of the baseline must take on average than in the median for the machine to count as busy."""
_TOO_BUSY = Diagnosis(
    finding=Finding.DEVICE_BUSY,
    summary="Other processes keep the machine so busy that the candidate's times cannot be checked.",
    advice="Judge it again when the machine is quieter. The candidate is not to blame.",
)
_LATE_CONFIDENCE = 0.99
"""Coverage asked for once rounds were added."""


@dataclass
class Outcome:
    """What judging on one platform gave so far."""

    status: Status = Status.CORRECT
    diagnosis: Diagnosis | None = None
    timings: list[CaseTiming] = field(default_factory=list)
    speeds: list[SpeedSummary] = field(default_factory=list)
    resources: list[KernelResources] = field(default_factory=list)
    checks: int = 0
    notes: list[str] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)
    audit: Audit | None = None
    phases_ms: dict[str, float] = field(default_factory=dict)
    began_ns: dict[str, int] = field(default_factory=dict)
    """When the phases began, nanoseconds since the epoch."""

    def refuse(self, diagnosis: Diagnosis) -> None:
        """Record why the candidate is refused."""
        self.status, self.diagnosis = diagnosis.status, diagnosis

    def count_less(self, case: str, share: float, margin: float) -> None:
        """Count the baselines of a case, and with them its speed-ups, as that share of what was measured.

        Args:
            case: its name.
            share: below 1.
            margin: see `Interval.verdict`. Upper ends stay: what was measured may be true.
        """
        fewer = []
        for timing in self.timings:
            if timing.case != case:
                fewer.append(timing)
                continue
            measured = timing.interval
            interval = measured.model_copy(update={"speedup": measured.speedup * share, "low": measured.low * share})
            fewer.append(
                timing.model_copy(
                    update={
                        "baseline_ms": timing.baseline_ms * share,
                        "interval": interval,
                        "speed": interval.verdict(margin),
                    }
                )
            )
        self.timings = fewer
        self.speeds = [
            SpeedSummary.of([timing for timing in fewer if timing.baseline == speed.baseline], margin)
            for speed in self.speeds
        ]


def plan_checks(state: TaskState, trials: int, limit_numel: int | None = None) -> list[Check]:
    """The trials of a task: every case and dtype once, more up to `trials`, then special values and layouts.

    Special values and layouts are tried on the two smallest cases: they are about how a kernel is written, not about
    sizes.
    """
    task = state.task
    pairs = [(case, dtype) for case in task.cases for dtype in task.dtypes]
    small = sorted(task.cases, key=state.case_elements)[:2]
    # Where inputs must be shrunk, time is short: trials past the first of each pair then go to the smallest case.
    more = pairs if limit_numel is None else [(small[0], dtype) for dtype in task.dtypes]
    chosen = [*pairs, *(more[number % len(more)] for number in range(trials - len(pairs)))]
    # Trials of one case follow each other: what a candidate keeps from one is then stale in the next, not resized away.
    chosen.sort(key=pairs.index)
    if len(chosen) == len(pairs) and limit_numel is None:
        chosen.append(chosen[-1])
    plain = [Check(*pair, trial=number, limit_numel=limit_numel) for number, pair in enumerate(chosen)]
    special = [
        Check(case, dtype, trial="special", special=True, limit_numel=limit_numel)
        for case in small
        for dtype in task.dtypes
        if task.special_values
    ]
    layouts = [
        Check(case, task.dtypes[0], trial="layout", layout=layout, limit_numel=limit_numel)
        for case in small
        for layout in task.layouts
        if layout is not Layout.CONTIGUOUS
    ]
    return [*plain, *special, *layouts]


class Execution:
    """One candidate on one device, while the device lock is held.

    Args:
        state: the task on that device.
        desk: the judge's arenas there.
        worker: the candidate's process, loaded.
        request: what was asked.
        sheet: the chip's numbers.
        progress: called with a text and a share of the work done.
        own_kernels: names of the device kernels that the candidate brings; None where that cannot be said.
        muted_worker: see `Conduct`.
    """

    def __init__(
        self,
        state: TaskState,
        desk: Desk,
        worker: WorkerHandle,
        request: JudgeRequest,
        sheet: SpecSheet,
        progress: Callable[[str, float], None],
        own_kernels: frozenset[str] | None = None,
        muted_worker: Callable[[], WorkerHandle] | None = None,
    ) -> None:
        self._state = state
        self._desk = desk
        self._worker = worker
        self._request = request
        self._sheet = sheet
        self._progress = progress
        self._kind = "cpu" if state.device == "cpu" else "cuda"
        self._outcome = Outcome()
        self._timed: list[TimedBaseline] = []
        mutable = request.candidate.language == "triton" and "__global__" not in request.candidate.source
        self._conduct = Conduct(
            state, desk, worker, request.limit_s, own_kernels, mutable, self._outcome.notes, muted_worker,
            native=request.candidate.language in ("cuda", "hip"),
        )  # fmt: skip

    def run(self) -> Outcome:
        """Check, time, check again. Failures of the candidate end up in the outcome, never as an exception."""
        try:
            with self._phase("check"):
                right = self._check()
            if right and self._request.timed_calls:
                with self._phase("time"):
                    self._time()
            if self._outcome.diagnosis is None and self._holds(self._conduct.untouched()) and self._timed:
                # At the very end: what is left of a call without its kernels may leave a device in ruins.
                cases = [timed.case for timed in self._timed]
                self._holds(self._conduct.kernels_matter(cases, self._state.task.dtypes[0]))
        except CandidateError as error:
            self._outcome.refuse(Diagnosis.of(error))
        return self._outcome

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self._outcome.began_ns[name] = time.time_ns()
        began = time.perf_counter()
        try:
            yield
        finally:
            self._outcome.phases_ms[name] = (time.perf_counter() - began) * 1e3

    def _check(self) -> bool:
        plan = plan_checks(self._state, self._request.trials)
        for number, what in enumerate(plan):
            self._progress(f"checking {what.where()['case']}", 0.4 * number / len(plan))
            try:
                diagnosis = checking.check(self._state, self._desk, self._worker, what, self._request.limit_s)
            except TaskError as error:
                if not what.special:
                    raise
                self._outcome.notes.append(f"special values not tried: {error.summary}")
                continue
            self._outcome.checks += 1
            self._outcome.notes.extend(self._state.oracle_notes(what.case, what.dtype))
            if diagnosis is not None:
                self._outcome.refuse(diagnosis)
                return False
        return self._kind != "cpu" or self._does_own_work()

    def _does_own_work(self) -> bool:
        """On the CPU; on a GPU the kernels that run tell more."""
        task, language = self._state.task, self._request.candidate.language
        case = min(task.cases, key=self._state.case_elements)
        diagnosis = borrows(
            self._state, self._desk, self._worker, case, task.dtypes[0], language, self._request.limit_s
        )
        self._outcome.checks += 1
        if diagnosis is not None:
            self._outcome.refuse(diagnosis)
        return diagnosis is None

    def _time(self) -> None:
        task = self._state.task
        for number, case in enumerate(task.timed_cases):
            self._progress(
                f"timing {case.name if not case.hidden else 'a hidden case'}", 0.4 + 0.5 * number / len(task.cases)
            )
            if not self._time_case(case, task.dtypes[0]):
                return
        self._progress("checking once more", 0.95)
        case = task.cases[number]
        again = Check(case, task.dtypes[0], trial=("fresh", secrets.token_hex(8)))
        diagnosis = checking.check(self._state, self._desk, self._worker, again, self._request.limit_s)
        self._outcome.checks += 1
        if diagnosis is not None:
            self._refuse_after_timing(diagnosis)
            return
        for baseline in dict.fromkeys(timing.baseline for timing in self._outcome.timings):
            chosen = [timing for timing in self._outcome.timings if timing.baseline == baseline]
            self._outcome.speeds.append(SpeedSummary.of(chosen, MARGIN[self._kind]))

    def _time_case(self, case: Case, dtype: str, again: bool = False) -> bool:
        state, worker, limit = self._state, self._worker, self._request.limit_s
        inputs, expected = state.inputs_and_expected(case, dtype, "timed")
        placed = checking.lay_out(state, self._desk, worker, inputs, dtype, Layout.CONTIGUOUS, limit)
        arena = checking.outputs_arena(self._desk, worker, expected, limit)
        watch = Stopwatch(state.device)
        nbytes = sum(tensor.numel() * tensor.element_size() for tensor in inputs.tensors())
        copies = copies_for_rotation(nbytes, _free_bytes(state.device), watch.flush_bytes)
        first = worker.ask(
            "prepare", limit, inputs=placed.description, outputs=checking.output_form(expected), copies=copies
        )
        sets = [inputs.map_tensors(torch.clone) for _ in range(copies)]
        baselines = {name: self._baseline(name, dtype, sets) for name in self._request.baselines}
        known = state.baseline_ms
        for name, call in baselines.items():
            if (case.name, dtype, name) not in known:
                with torch.no_grad():
                    known[case.name, dtype, name] = estimate_ms(call, watch)
        slowest = max(claimed(first, "first_ms"), *(known[case.name, dtype, name] for name in baselines))
        unseen = self._unseen_calls(case, dtype, inputs, expected, watch)
        budget_s = self._request.timing_budget_s / len(state.task.timed_cases)
        making_ms = unseen.making_ms if unseen is not None else 0.0
        calls, rounds = self._plan_rounds(slowest + watch.flush_ms() + making_ms, budget_s)
        samples: dict[str, list[list[float]]] = {name: [] for name in (*baselines, "candidate")}
        secret_round = secrets.randbelow(rounds)
        began = time.monotonic()
        number = 0
        while number < rounds:
            turn = list(samples) if number % 2 == 0 else list(reversed(samples))
            for side in turn:
                if side != "candidate":
                    with self._candidate_held():
                        self._time_baseline(baselines[side], watch, calls, slowest, samples[side])
                    continue
                keep = number == secret_round
                if unseen is not None:
                    times, wrong = unseen.time(calls, keep)
                    samples[side].append(times)
                    self._outcome.checks += keep
                    if wrong is not None:
                        self._refuse_after_timing(wrong)
                        return False
                    continue
                reply = worker.ask("time", limit, count=calls, keep=keep)
                samples[side].append(claimed_times(reply, calls))
                if keep and not self._output_holds(reply, expected, arena, case, dtype):
                    return False
            number += 1
            in_time = time.monotonic() - began < budget_s
            undecided = number == rounds < _MAX_ROUNDS and in_time
            if undecided and self._speed(samples, self._request.baselines[0]) is Speed.INCONCLUSIVE:
                rounds += 2
        claim_ms = median(_per_round(samples["candidate"]))
        rival = self._request.baselines[0]
        doubt = self._doubt(claim_ms, samples["candidate"], unseen)
        if doubt is not None and doubt.finding is Finding.CLOCK_DISAGREES:
            if not again and self._machine_slowed(claim_ms):
                name = case.name if not case.hidden else "a hidden case"
                self._outcome.notes.append(f"{name} was timed twice: the machine slowed down while it was timed")
                return self._time_case(case, dtype, again=True)
            if self._disturbed(baselines[rival], median(_per_round(samples[rival]))):
                doubt = _TOO_BUSY
        if doubt is not None and doubt.status is Status.WRONG:
            self._refuse_after_timing(doubt)
            return False
        if not self._holds(doubt):
            return False
        if self._kind == "cuda":
            eager = self._baseline("eager", dtype, sets)
            if not self._holds(self._conduct.device_work(case, dtype, claim_ms, lambda: eager(0))):
                return False
        walls = worker.ask("wall", limit, count=min(10, 2 * calls))
        self._outcome.samples[case.name] = samples
        beside_ms = median(_per_round(samples[rival]))
        self._timed.append(TimedBaseline(case, dtype, rival, copies, calls, slowest, beside_ms))
        wall_ms = median(claimed_times(walls, min(10, 2 * calls)))
        return self._record(case, dtype, nbytes, expected, samples, wall_ms)

    def _plan_rounds(self, slowest_ms: float, budget_s: float) -> tuple[int, int]:
        """Calls in a round and rounds: as many as asked, unless the slowest side would outlast its budget."""
        asked = max(self._request.timed_calls, 1)
        calls = max(1, -(-asked // ROUNDS))
        affordable = int(budget_s * 1e3 / max(slowest_ms, 1e-3))
        rounds = min(ROUNDS, max(_MIN_ROUNDS, affordable))
        return max(1, min(calls, affordable // rounds)), rounds

    def _baseline(self, name: str, dtype: str, sets: list[Any]) -> Callable[[int], Any]:
        if name not in ("eager", "compile"):
            raise TaskError(Finding.INTERNAL, f"There is no baseline {name!r}.", "Use eager or compile.")
        if name == "compile":
            self._progress("compiling the baseline", 0.4)
        function = self._state.reference(dtype) if name == "eager" else self._state.compiled(dtype)

        calls = [partial(function, *chosen.args, **chosen.kwargs) for chosen in sets]
        return lambda index: calls[index % len(calls)]()

    @staticmethod
    def _time_baseline(
        call: Callable[[int], Any], watch: Stopwatch, calls: int, slowest_ms: float, into: list[list[float]]
    ) -> None:
        # As in the worker: around all calls, so that entering it is not timed.
        with torch.no_grad():
            if slowest_ms < 50 or not into:
                call(0)
            times, _last = watch.time_calls(call, calls)
        into.append(times)

    def _candidate_held(self) -> AbstractContextManager[None]:
        """While the baseline is timed on the CPU, nothing of the candidate runs there."""
        return self._worker.held_still() if self._kind == "cpu" else nullcontext()

    def _speed(self, samples: dict[str, list[list[float]]], baseline: str) -> Speed:
        return _interval(samples, baseline).verdict(MARGIN[self._kind])

    def _output_holds(self, reply: dict[str, Any], expected: Any, arena: Any, case: Case, dtype: str) -> bool:
        """The output of a timed call, in a round that the candidate can't foresee, must be right too."""
        where = {**Check(case, dtype, 0).where(), "during": "timing"}
        got = checking.read_outputs(reply.get("outputs"), expected, arena, self._state.device, where)
        if not isinstance(got, Diagnosis):
            diagnosis = compare(expected, got, self._state.task.tolerances, where)
        else:
            diagnosis = got
        self._outcome.checks += 1
        if diagnosis is None:
            return True
        self._refuse_after_timing(diagnosis)
        return False

    def _refuse_after_timing(self, diagnosis: Diagnosis) -> None:
        """The candidate was right before it was timed, and is not any more."""
        advice = f"It was right before. {diagnosis.advice} Keep nothing between calls; finish all work inside the call."
        self._outcome.refuse(
            diagnosis.model_copy(update={"finding": Finding.WRONG_AFTER_TIMING, "advice": " ".join(advice.split())})
        )

    def _machine_slowed(self, claim_ms: float) -> bool:
        """Whether the worker, asked again, takes much longer than it did: then neither its times nor a disagreement
        with them are worth anything, and it is timed once more."""
        again = self._worker.ask("time", self._request.limit_s, count=3, keep=False)
        return median(claimed_times(again, 3)) > 1.3 * claim_ms

    def _disturbed(self, baseline: Callable[[int], Any], usual_ms: float) -> bool:
        """Whether other processes keep even the judge's own baseline from its usual time. Then the clock outside says
        nothing about the candidate, who is neither believed nor blamed."""
        count = max(2, min(2000, int(60 / max(usual_ms, 1e-3))))
        seen = []
        for _ in range(3):
            with self._candidate_held(), torch.no_grad():
                began = time.perf_counter()
                for index in range(count):
                    baseline(index)
                if self._kind == "cuda":
                    torch.cuda.synchronize()
                seen.append((time.perf_counter() - began) * 1e3 / count)
        return median(seen) > _DISTURBED * usual_ms

    def _unseen_calls(self, case: Case, dtype: str, inputs: Any, expected: Any, watch: Stopwatch) -> UnseenCalls | None:
        """On the CPU every timed call gets inputs of its own; on a GPU the audit does that."""
        if self._kind != "cpu":
            return None
        limit_s, hands_over = self._request.limit_s, self._request.candidate.language != "cpp"
        return UnseenCalls(
            self._state, self._desk, self._worker, case, dtype, inputs, expected, limit_s, watch, hands_over
        )

    def _doubt(self, claim_ms: float, rounds: list[list[float]], unseen: UnseenCalls | None) -> Diagnosis | None:
        """What the judge's own clock has against the times that the candidate's process says."""
        self._outcome.checks += 1
        if unseen is not None:
            every = [claim for times in rounds for claim in times]
            return unseen.reuse(every) or unseen.contradiction(every)
        fits, seen_ms = seen_from_outside(self._burst, claim_ms, self._kind)
        if fits:
            return None
        return Diagnosis(
            finding=Finding.CLOCK_DISAGREES,
            summary=f"The candidate's calls take {claim_ms:.4g} ms by the clock in its process, but {seen_ms:.4g} ms "
            "as seen from outside.",
            advice="All work must happen inside the call, on the current stream, and be finished when it returns (or, "
            "on a GPU, be ordered before whatever the caller launches next).",
        )

    def _burst(self, count: int) -> float:
        began = time.perf_counter()
        self._worker.ask("burst", self._request.limit_s, count=count)
        return (time.perf_counter() - began) * 1e3

    def compare_alone(self) -> None:
        """On a GPU, time the baseline of every case once more now that the candidate is gone; where it was slower
        beside the candidate, count speeds against what it takes alone.

        Nobody is blamed: a busy host holds a baseline of many launches back as well as a candidate that means to. On a
        CPU every process of the machine does, and rounds in turn are the answer to that.
        Call it after the worker has been closed.
        """
        timed, self._timed = self._timed, []
        if self._kind == "cpu" or self._outcome.diagnosis is not None:
            return
        watch = Stopwatch(self._state.device)
        for one in timed:
            inputs, _expected = self._state.inputs_and_expected(one.case, one.dtype, "timed")
            call = self._baseline(one.name, one.dtype, [inputs.map_tensors(torch.clone) for _ in range(one.copies)])
            rounds: list[list[float]] = []
            for _ in range(ALONE_ROUNDS):
                self._time_baseline(call, watch, one.calls, one.slowest_ms, rounds)
            share = one.share(_per_round(rounds))
            if share is not None:
                self._outcome.count_less(one.case.name, share, MARGIN[self._kind])
                self._outcome.notes.append(one.note(share))

    def _holds(self, diagnosis: Diagnosis | None) -> bool:
        """Refuse the candidate if a guard found something."""
        if diagnosis is not None:
            self._outcome.refuse(diagnosis)
        return diagnosis is None

    def _record(
        self,
        case: Case,
        dtype: str,
        input_bytes: int,
        expected: Any,
        samples: dict[str, list[list[float]]],
        wall_ms: float,
    ) -> bool:
        mine = _per_round(samples["candidate"])
        program = self._state.program
        output_bytes = float(sum(tensor.numel() * tensor.element_size() for tensor in expected.outputs))
        stated = program.bytes(case)
        # A kernel may get by with part of its inputs, so the floor counts outputs alone where the task says nothing.
        moved = output_bytes if stated is None else stated
        floor = floor_ms(self._sheet, dtype, moved, program.flops(case))
        if floor is not None and median(mine) < SLACK * floor:
            self._outcome.refuse(
                Diagnosis(
                    finding=Finding.FASTER_THAN_HARDWARE,
                    summary=f"{median(mine):.4g} ms is less than the {floor:.4g} ms that {self._sheet.chip} needs to "
                    "move the bytes and do the operations of this case.",
                    advice="Do the whole work in every call.",
                )
            )
            return False
        for baseline in self._request.baselines:
            self._state.baseline_ms[case.name, dtype, baseline] = median(_per_round(samples[baseline]))
            interval = _interval(samples, baseline)
            self._outcome.timings.append(
                CaseTiming(
                    case=case.name,
                    baseline=baseline,
                    weight=case.weight,
                    candidate_ms=median(mine),
                    candidate_wall_ms=wall_ms,
                    baseline_ms=median(_per_round(samples[baseline])),
                    interval=interval,
                    speed=interval.verdict(MARGIN[self._kind]),
                    calls=sum(map(len, samples["candidate"])),
                    floor_ms=floor,
                    moved_bytes=input_bytes + output_bytes if stated is None else stated,
                    moved_bytes_source="inputs and outputs" if stated is None else "task",
                    flops=program.flops(case),
                )
            )
        return True


def _interval(samples: dict[str, list[list[float]]], baseline: str) -> Interval:
    """Speed-up with its interval. Rounds past the planned ones were made because the first were undecided; looking more
    than once makes chance findings likelier, so they must be surer."""
    mine = _per_round(samples["candidate"])
    confidence = CONFIDENCE if len(mine) <= ROUNDS else _LATE_CONFIDENCE
    return paired_interval(_per_round(samples[baseline]), mine, confidence)


def _per_round(rounds: list[list[float]]) -> list[float]:
    return [median(times) for times in rounds]


def _free_bytes(device: str) -> int:
    if device != "cpu":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
