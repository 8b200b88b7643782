"""What the judge makes of a worker's word on how a candidate behaved."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.check import Desk
from kernelevolve.evaluation.judge.conduct import Conduct
from kernelevolve.evaluation.judge.handle import WorkerHandle
from kernelevolve.evaluation.judge.task_state import TaskState


class Says:
    """A worker that answers whatever it is asked in the same way."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self.reply = reply

    def ask(self, do: str, limit_s: float, **arguments: Any) -> dict[str, Any]:
        return self.reply


def conduct(reply: dict[str, Any]) -> Conduct:
    worker, state, desk = cast(WorkerHandle, Says(reply)), cast(TaskState, None), cast(Desk, None)
    return Conduct(state, desk, worker, 5.0, None, False, [])


def test_nothing_was_touched() -> None:
    assert conduct({"changed": [], "settings": []}).untouched() is None


@pytest.mark.parametrize(
    ("reply", "finding"),
    [
        ({"changed": ["time.perf_counter_ns"], "settings": []}, Finding.HARNESS_CHANGED),
        ({"changed": [], "settings": ["persisting L2 limit: 0 before, 1 now"]}, Finding.DEVICE_STATE_CHANGED),
    ],
)
def test_what_was_touched_is_named(reply: dict[str, Any], finding: Finding) -> None:
    diagnosis = conduct(reply).untouched()
    assert diagnosis is not None
    assert diagnosis.finding is finding
    assert str([*reply["changed"], *reply["settings"]][0]) in diagnosis.summary


@pytest.mark.parametrize("reply", [{}, {"changed": None}, {"changed": [], "settings": "none"}, {"changed": "nothing"}])
def test_no_answer_is_no_innocence(reply: dict[str, Any]) -> None:
    with pytest.raises(CandidateError) as raised:
        conduct(reply).untouched()
    assert raised.value.finding is Finding.RESULT_FORGED
