"""A baseline that was held back in one case is counted there as what it takes alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kernelevolve.evaluation.judge import executed
from kernelevolve.evaluation.judge.baseline_alone import TimedBaseline
from kernelevolve.evaluation.judge.executed import Execution, Outcome
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.task import Case
from kernelevolve.evaluation.tasks.loading import load_task
from kernelevolve.evaluation.verdict import CaseTiming, Interval, Speed, SpeedSummary


def timed(beside_ms: float, case: str = "first", hidden: bool = False) -> TimedBaseline:
    return TimedBaseline(Case(name=case, hidden=hidden), "float32", "eager", 2, 3, 1.0, beside_ms)


def test_what_was_held_back_is_counted_less() -> None:
    assert timed(3.0).share([1.0, 0.9, 1.1]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("beside_ms", [0.9, 1.1, 1.2])
def test_noise_holds_nothing_back(beside_ms: float) -> None:
    assert timed(beside_ms).share([1.0, 0.9, 1.1]) is None


def test_a_hidden_case_is_not_named() -> None:
    assert "secret" not in timed(3.0, "secret", hidden=True).note(0.5)
    assert "beside 3" not in timed(3.0).note(0.5)
    assert "3 ms beside" in timed(3.0).note(0.5)


def timing(case: str, speedup: float) -> CaseTiming:
    interval = Interval(speedup=speedup, low=speedup * 0.98, high=speedup * 1.02, confidence=0.97, rounds=10)
    return CaseTiming(
        case=case, baseline="eager", weight=1.0, candidate_ms=1.0, baseline_ms=speedup, interval=interval,
        speed=Speed.FASTER, calls=30,
    )  # fmt: skip


def test_every_case_is_looked_at(scale_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = TaskState(load_task(str(scale_task)), "cpu", b"s" * 32, 1 << 20)
    first, last = state.task.cases[0], state.task.cases[-1]
    outcome = Outcome(timings=[timing(first.name, 3.0), timing(last.name, 1.5)])
    outcome.speeds = [SpeedSummary.of(outcome.timings, 0.01)]
    execution = cast(Any, object.__new__(Execution))
    execution._state, execution._outcome, execution._kind = state, outcome, "cuda"
    execution._timed = [
        TimedBaseline(first, "float32", "eager", 1, 1, 1.0, 3.0),
        TimedBaseline(last, "float32", "eager", 1, 1, 1.0, 1.5),
    ]
    # Alone, both take 1.5 ms.
    watch = SimpleNamespace(time_calls=lambda call, count: ([1.5] * count, call(0)))
    monkeypatch.setattr(executed, "Stopwatch", lambda device: watch)
    execution.compare_alone()
    assert [entry.interval.speedup for entry in outcome.timings] == pytest.approx([1.5, 1.5])
    assert outcome.speeds[0].speedup == pytest.approx(1.5)
    assert [note.partition(":")[0] for note in outcome.notes] == [first.name]
    execution.compare_alone()
    assert len(outcome.notes) == 1, "once is enough"
