from __future__ import annotations

from typing import Any

import pytest

from kernelevolve.evaluation.finding import Status
from kernelevolve.search.fitness import Fitness
from kernelevolve.search.node import Node, SearchRecord, SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.stop import reason_to_stop

ENDLESS = OptimizeOptions(evaluations=100, stall=None)
SEARCH = SearchRecord(
    search_id="s", task="task.py", task_hash=None, platform="cpu", options=ENDLESS, policy="greedy",
    synthesizer="mutator", state=SearchState.RUNNING, reason=None, made="", finished=None, resumed_at=0.0, step=2,
    issued=3, starts=1, leader_id="s.1", leader_score=2.0, start_score=1.0, anchor_ms=None, stalled=1, harness_errors=0,
    author_failures=0, input_tokens=600, output_tokens=400, usd=1.5,
)  # fmt: skip
LEADER = Node(
    node_id="s.1", search_id="s", step=1, parents=("s.0",), mutation="", language="cpp", name="kernel.cpp",
    source_hash="", source_object="", verdict_object="", status=Status.CORRECT,
    fitness=Fitness(speedup=2.0, low=1.9, high=2.1), latency_ms=None, roofline_share=0.9, judged_s=0.1, made="",
)  # fmt: skip


def reason(leader: Node | None = LEADER, search: SearchRecord = SEARCH, **options: Any) -> StopReason | None:
    search = search.model_copy(update={"options": ENDLESS.model_copy(update=options)})
    return reason_to_stop(search, leader, elapsed_s=5.0, starts=(), mends=False)


def test_a_search_with_something_left_of_everything_goes_on() -> None:
    assert reason() is None


@pytest.mark.parametrize(
    ("option", "reached", "not_reached", "expected"),
    [
        ("evaluations", 3, 4, StopReason.EVALUATIONS),
        ("wall_clock_s", 5.0, 5.1, StopReason.WALL_CLOCK),
        ("stall", 1, 2, StopReason.STALL),
        ("target_speedup", 2.0, 2.01, StopReason.TARGET),
        ("roofline_share", 0.9, 0.91, StopReason.ROOFLINE),
        ("tokens", 1000, 1001, StopReason.TOKENS),
        ("usd", 1.5, 1.51, StopReason.MONEY),
    ],
)
def test_each_limit_stops_when_it_is_reached(
    option: str, reached: float, not_reached: float, expected: StopReason
) -> None:
    assert reason(**{option: reached}) is expected
    assert reason(**{option: not_reached}) is None


def test_the_confirmed_speed_up_counts_for_the_target() -> None:
    lucky = LEADER.model_copy(update={"confirmed": Fitness(speedup=1.5, low=1.4, high=1.6)})

    assert reason(lucky, target_speedup=2.0) is None


def test_a_roofline_that_is_not_known_stops_nothing() -> None:
    assert reason(LEADER.model_copy(update={"roofline_share": None}), roofline_share=0.01) is None


@pytest.mark.parametrize(
    ("counter", "most", "expected"),
    [("harness_errors", 3, StopReason.HARNESS_ERROR), ("author_failures", 5, StopReason.AUTHOR_FAILED)],
)
def test_failures_in_a_row_stop_the_search(counter: str, most: int, expected: StopReason) -> None:
    assert reason(search=SEARCH.model_copy(update={counter: most - 1})) is None
    assert reason(search=SEARCH.model_copy(update={counter: most})) is expected


def test_assistants_that_fail_do_not_stop_a_search_that_others_work_on() -> None:
    search = SEARCH.model_copy(update={"author_failures": 50, "synthesizer": "assistant"})

    assert reason(search=search) is None


@pytest.mark.parametrize(
    ("starts", "author_that_cannot_mend", "author_that_can"),
    [
        ((Status.WRONG,), StopReason.NO_CORRECT_START, None),
        ((Status.WRONG, Status.HARNESS_ERROR), StopReason.NO_CORRECT_START, None),
        ((), StopReason.NO_CORRECT_START, None),
        ((Status.WRONG, Status.CORRECT), StopReason.NOT_TIMED, StopReason.NOT_TIMED),
        ((Status.HARNESS_ERROR,), StopReason.HARNESS_ERROR, StopReason.HARNESS_ERROR),
    ],
)
def test_without_a_leader_it_depends_on_the_starts_and_the_author(
    starts: tuple[Status, ...], author_that_cannot_mend: StopReason, author_that_can: StopReason | None
) -> None:
    assert reason_to_stop(SEARCH, None, 5.0, starts, mends=False) is author_that_cannot_mend
    assert reason_to_stop(SEARCH, None, 5.0, starts, mends=True) is author_that_can


def test_an_author_that_mends_has_the_same_budget() -> None:
    search = SEARCH.model_copy(update={"options": OptimizeOptions(evaluations=3)})

    assert reason_to_stop(search, None, 5.0, (Status.WRONG,), mends=True) is StopReason.EVALUATIONS
