"""Timed calls on inputs that the candidate has never seen, and a second clock around them that it cannot reach.

A candidate that keeps answers finds none of them again; one that says it took less time than it did, or that answers
without having worked, is contradicted by the judge's own clock (`UnseenCalls.contradiction`), which runs from the
moment at which the inputs are there until every output lies in shared memory, where one picked at random is compared.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

import torch

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import check as checking
from kernelevolve.evaluation.judge.arena import Arena, aligned
from kernelevolve.evaluation.judge.asking import Echo
from kernelevolve.evaluation.judge.check import Check, Desk
from kernelevolve.evaluation.judge.data import arena_bytes, place
from kernelevolve.evaluation.judge.handle import WorkerHandle
from kernelevolve.evaluation.judge.oracle import Expected, compare, expect
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.judge.timing import Stopwatch
from kernelevolve.evaluation.judge.volley import output_views
from kernelevolve.evaluation.task import Case, Layout
from kernelevolve.evaluation.tasks.program import Inputs
from kernelevolve.evaluation.verdict import Diagnosis

_ROOM_BYTES = 256 << 20
"""Inputs and outputs that may lie in the arenas at a time; two sets may, whatever they take."""
_VOLLEY_MS = 1.5
"""What a volley should take: short enough to be left alone by the scheduler of a busy machine now and then."""
_LONG_MS = 2.0
"""From here on a call is looked at alone: asking for it costs next to nothing against it."""
_ASKING_MS = 0.1
"""What that is, at most: 0.04 ms were seen."""
_MAX_VOLLEY = 64
_MAKING_MS = 25.0
"""What making the inputs of one volley may take."""
_LOOKS = (6, 18)
"""Looks from outside: at least, and at most. Only the fastest count, for other processes only ever slow things down."""
_SESSIONS = 3
"""Times that the candidate is timed again, and looked at again, before the clocks are said to disagree."""
_REUSED = 0.5
"""Share of the time on new inputs below which a call on known ones has found its answer."""
_AGREEMENT = 1.15
"""How much longer a call may look from outside, relatively."""
_SLACK_MS = 0.015
"""And absolutely: what the worker does around each call."""
_DELIVERY = 2.0
"""How much longer than the judge the worker may take to hand outputs over."""
_ASKING = 2.0
"""How much more asking a worker for a volley may cost than asking a thread of the judge's own for nothing: a worker can
be slow to answer on purpose."""


@dataclass(frozen=True)
class Volley:
    """Calls that were made in a row and timed from outside."""

    took_ms: float
    """From the moment at which the inputs were there to the moment at which all outputs were."""
    inputs: Inputs
    """Of a call that was picked at random afterwards."""
    got: list[torch.Tensor]
    """What it gave."""


class UnseenCalls:
    """The timed calls of one case on the CPU.

    Args:
        state: the task.
        desk: the judge's arenas.
        worker: the candidate's process, loaded and warmed up.
        case: what is timed.
        dtype: its dtype.
        shown: inputs of that case, for sizes.
        expected: what they give, for sizes.
        limit_s: seconds that one answer may take.
        watch: the judge's stopwatch.
        hands_over: whether the candidate's outputs are copied to where the judge looks, and not written there.
    """

    def __init__(
        self,
        state: TaskState,
        desk: Desk,
        worker: WorkerHandle,
        case: Case,
        dtype: str,
        shown: Inputs,
        expected: Expected,
        limit_s: float,
        watch: Stopwatch,
        hands_over: bool,
    ) -> None:
        self._watch, self._hands_over = watch, hands_over
        self._state, self._desk, self._worker = state, desk, worker
        self._case, self._dtype, self._limit_s = case, dtype, limit_s
        self._extra = state.extra(dtype)
        self._expected = expected
        extra_bytes = sum(aligned(tensor.numel() * tensor.element_size()) for tensor in self._extra)
        self._set_bytes = aligned(arena_bytes(shown, Layout.CONTIGUOUS) + extra_bytes)
        self._output_bytes = sum(aligned(tensor.numel() * tensor.element_size()) for tensor in expected.outputs)
        self.making_ms = min(self._making_ms() for _ in range(3))
        """What it takes to make one set of inputs, milliseconds."""

    def _making_ms(self) -> float:
        began = time.perf_counter()
        self._fresh(1)
        return (time.perf_counter() - began) * 1e3

    def _fresh(self, count: int) -> list[Inputs]:
        seeds = [self._state.seed(self._case.name, self._dtype, "unseen", secrets.token_hex(16)) for _ in range(count)]
        return [self._state.make_inputs(self._case, self._dtype, self._state.device, seed) for seed in seeds]

    def _fitting(self, most: int) -> int:
        return max(2, min(most, _ROOM_BYTES // max(1, self._set_bytes + self._output_bytes)))

    def time(self, count: int, keep: bool) -> tuple[list[float], Diagnosis | None]:
        """Time single calls with a cold cache, each on inputs of its own, by the clock in the candidate's process.

        Args:
            count: how many.
            keep: compare what the last one gave.

        Returns:
            Milliseconds of each, and what is wrong with the last output.
        """
        times: list[float] = []
        diagnosis: Diagnosis | None = None
        while len(times) < count and diagnosis is None:
            # One more than are timed: the first call of a request warms up, and what it saw is seen.
            calls = min(count - len(times), self._fitting(count + 1) - 1)
            sets = self._fresh(calls + 1)
            last = keep and len(times) + calls == count
            arena = self._desk.arena("inputs", len(sets) * self._set_bytes, self._worker, self._limit_s)
            placed = [
                place(each, self._extra, arena, Layout.CONTIGUOUS, number * self._set_bytes)
                for number, each in enumerate(sets)
            ]
            outputs = checking.outputs_arena(self._desk, self._worker, self._expected, self._limit_s)
            descriptions = [entry.description for entry in placed]
            reply = self._worker.ask("time", self._limit_s, count=calls, keep=last, sets=descriptions)
            times += claimed_times(reply, calls)
            if last:
                got = checking.read_outputs(
                    reply.get("outputs"), self._expected, outputs, self._state.device, self._where()
                )
                diagnosis = got if isinstance(got, Diagnosis) else self._compare(sets[-1], got)
        return times, diagnosis

    def reuse(self, claims_ms: list[float]) -> Diagnosis | None:
        """Time calls on inputs that the candidate has seen by now: they must take what calls on unseen ones took.

        Args:
            claims_ms: of the calls on unseen inputs.
        """
        for _ in range(2):  # What is kept may be found from the second time on.
            reply = self._worker.ask("time", self._limit_s, count=_LOOKS[0], keep=False)
        seen_ms = claimed_times(reply, _LOOKS[0])
        # The slowest against the fastest, so that no other process can make a difference like this.
        if max(seen_ms) >= _REUSED * min(claims_ms):
            return None
        return Diagnosis(
            finding=Finding.ANSWER_REUSED,
            summary=f"A call takes {min(claims_ms):.4g} ms on new inputs, but {max(seen_ms):.4g} ms on inputs it has "
            "seen before.",
            advice="Keep no answers: do the whole work in every call.",
        )

    def contradiction(self, claims_ms: list[float]) -> Diagnosis | None:
        """Hold the times that the candidate's process says against the judge's own clock.

        Args:
            claims_ms: what single calls are said to take.

        Returns:
            `clock_disagrees`, or what is wrong with an output that was handed over; None where all is well.
        """
        found: Diagnosis | None = None
        said = claims_ms
        for session in range(_SESSIONS):
            if session:  # The machine may have become busy since: later, only what is said at the same time counts.
                said = self.time(_LOOKS[0], keep=False)[0]
            found = self._look(said)
            if found is None and session:
                return _withdrawn(claims_ms, said)
            if found is None or found.finding is not Finding.CLOCK_DISAGREES:
                break
        return found

    def _look(self, claims_ms: list[float]) -> Diagnosis | None:
        """One session: calls by the candidate's clock and volleys by the judge's, in turn; the fastest count."""
        claim_ms, delivery_ms = min(claims_ms), self._delivery_ms() if self._hands_over else 0.0
        many = 1 if claim_ms > _LONG_MS else self._volley_length(claim_ms)
        single_ms, asking_ms, fastest = float("inf"), float("inf"), self._volley(many)
        with Echo() as echo:
            for look in range(1, _LOOKS[1] + 1):
                claim_ms = min(claim_ms, *self.time(1, keep=False)[0])
                fastest = min(fastest, self._volley(many), key=lambda volley: volley.took_ms)
                if many > 1:
                    single_ms = min(single_ms, self._volley(1).took_ms)
                    self._watch.flush()
                    asking_ms = min(asking_ms, echo.ask_ms())
                    seen_ms = (fastest.took_ms - min(single_ms, claim_ms + _ASKING * asking_ms)) / (many - 1)
                else:
                    seen_ms = fastest.took_ms - _ASKING_MS
                if look >= _LOOKS[0] and seen_ms <= _AGREEMENT * claim_ms + _SLACK_MS + _DELIVERY * delivery_ms:
                    # Work that was left out would have made this one the fastest.
                    return self._compare(fastest.inputs, fastest.got)
        return Diagnosis(
            finding=Finding.CLOCK_DISAGREES,
            summary=f"The candidate's calls take {claim_ms:.4g} ms by the clock in its process, but {seen_ms:.4g} ms "
            "as seen from outside.",
            advice="All work must happen inside the call and be finished when it returns.",
        )

    def _volley_length(self, claim_ms: float) -> int:
        making = max(self.making_ms, 1e-3)
        return self._fitting(min(_MAX_VOLLEY, int(_VOLLEY_MS / max(claim_ms, 1e-3)), int(_MAKING_MS / making)))

    def _volley(self, count: int) -> Volley:
        sets = self._fresh(count)
        arena = self._desk.arena("inputs", count * self._set_bytes, self._worker, self._limit_s)
        room = count * self._output_bytes
        outputs = self._desk.arena("outputs", max(room, 1), self._worker, self._limit_s)
        # Where the inputs will lie is said before they lie there: nothing can be computed ahead.
        placed = [
            place(each, self._extra, arena, Layout.CONTIGUOUS, number * self._set_bytes, fill=False)
            for number, each in enumerate(sets)
        ]
        forms = checking.output_form(self._expected)
        descriptions = [entry.description for entry in placed]
        self._worker.ask("aim", self._limit_s, sets=descriptions, outputs=forms)
        with self._worker.held_still():  # Nor does a thread of it begin before the clock does.
            outputs.block()[:room].fill_(0xFF)
            for each, entry in zip(sets, placed, strict=True):
                entry.write(each, self._extra)
            self._watch.flush()  # A worker that leaves out the flush of its own would else be right by this clock.
        began = time.perf_counter()
        self._worker.ask("volley", self._limit_s)
        took_ms = (time.perf_counter() - began) * 1e3
        chosen = secrets.randbelow(count)
        got = [view.clone() for view in self._output_views(outputs, chosen)]
        return Volley(took_ms, sets[chosen], got)

    def _output_views(self, arena: Arena, number: int) -> list[torch.Tensor]:
        return output_views(arena, number, [(tensor.shape, tensor.dtype) for tensor in self._expected.outputs])

    def _delivery_ms(self) -> float:
        """What handing over the outputs of one call takes, by the judge's own doing; milliseconds."""
        arena = Arena.create(8 * self._output_bytes or 1, self._state.device)
        try:
            views = [self._output_views(arena, number) for number in range(8)]
            for view in (view for group in views for view in group):
                view.zero_()
            began = time.perf_counter()
            for group in views:
                for view, tensor in zip(group, self._expected.outputs, strict=True):
                    view.copy_(tensor)
            return (time.perf_counter() - began) * 1e3 / len(views)
        finally:
            views = []
            arena.close()

    def _where(self) -> dict[str, Any]:
        return {**Check(self._case, self._dtype, 0).where(), "during": "timing"}

    def _compare(self, inputs: Inputs, got: list[torch.Tensor]) -> Diagnosis | None:
        expected = expect(self._state.reference(self._dtype), self._state.oracle(self._dtype), inputs)
        return compare(expected, got, self._state.task.tolerances, self._where())


def _withdrawn(first_ms: list[float], later_ms: list[float]) -> Diagnosis | None:
    """Times that hold only because they are longer than those which count: a candidate that tells the truth once it is
    doubted must not be paid for what it said before."""
    if min(later_ms) <= _AGREEMENT * min(first_ms) + _SLACK_MS:
        return None
    return Diagnosis(
        finding=Finding.CLOCK_DISAGREES,
        summary=f"The candidate's calls took {min(first_ms):.4g} ms by the clock in its process, and "
        f"{min(later_ms):.4g} ms once they were looked at from outside.",
        advice="All work must happen inside the call and be finished when it returns.",
    )


def claimed(reply: dict[str, Any], name: str) -> float:
    """A time that a worker says, milliseconds.

    Raises:
        CandidateError: it is no time.
    """
    value = reply.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise CandidateError(Finding.RESULT_FORGED, f"The worker answered {str(value)[:80]} for a time.")
    return float(value)


def claimed_times(reply: dict[str, Any], count: int) -> list[float]:
    """The times of several calls; see `claimed`."""
    times = reply.get("times_ms")
    if not isinstance(times, list) or len(times) != count:
        raise CandidateError(Finding.RESULT_FORGED, f"The worker answered {str(times)[:80]} for {count} times.")
    return [claimed({"time": value}, "time") for value in times]
