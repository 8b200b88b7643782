from __future__ import annotations

import itertools
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.search.driver import drive, optimize, resume
from kernelevolve.search.engine import Engine, start
from kernelevolve.search.errors import SearchError
from kernelevolve.search.events import (
    BestImproved,
    Event,
    JudgeProgress,
    NodeConfirmed,
    NodeJudged,
    NodeRefuted,
    SearchStarted,
    Stopped,
)
from kernelevolve.search.node import SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import OrderState
from kernelevolve.search.store import Store
from kernelevolve.search.store.database import disk_full
from kernelevolve.search.summary import SearchSummary
from kernelevolve.search.synthesizers.mutator import Mutator
from tests.search.conftest import Clock, by_its_own_word, rated

GAINS = {"-O3": 2.0, "parallel for": 1.8, "simd": 1.5, "-ffast-math": 1.25, "-funroll-loops": 1.005}


def speed(candidate: Candidate) -> float:
    """What the pretended machine gains from each change."""
    gain = 1.0
    for text, factor in GAINS.items():
        gain *= factor if text in candidate.source else 1.0
    return gain


@pytest.fixture
def honest(make_verdict, make_judge) -> Any:
    return make_judge(
        lambda request: make_verdict(request.candidate, speed(request.candidate), baselines=request.baselines)
    )


def search(point: Candidate, judge: Any, store: Store, **options: Any) -> SearchSummary:
    on_event: Callable[[Event], None] | None = options.pop("on_event", None)
    return optimize("task.py", "cpu", [point], judge, store, OptimizeOptions(**options), on_event)


def test_a_search_combines_the_changes_that_help(row_sums: Candidate, honest, store: Store) -> None:
    summary = search(row_sums, honest, store, evaluations=15)

    assert summary.winner is not None
    assert summary.winner.score.speedup == pytest.approx(2.0 * 1.8 * 1.5 * 1.25)
    source = store.candidate(summary.winner).source
    assert all(text in source for text in ("-O3", "parallel for", "simd", "-ffast-math"))
    assert summary.start is not None
    assert summary.start.mutation == ""
    assert (summary.reason, summary.evaluations) == (StopReason.EVALUATIONS, 15)
    assert store.search(summary.search_id).state is SearchState.FINISHED


def test_the_winner_is_confirmed_against_both_baselines(row_sums: Candidate, honest, store: Store) -> None:
    summary = search(row_sums, honest, store, evaluations=6, timed_calls=10, confirm_timed_calls=90, confirm_trials=7)

    last = honest.requests[-1]
    assert (last.baselines, last.timed_calls, last.trials) == (("eager", "compile"), 90, 7)
    assert {request.baselines for request in honest.requests[:-1]} == {("eager",)}
    assert len(honest.requests) == 6 + 1
    assert summary.confirmed
    assert {entry.baseline: entry.speedup for entry in summary.speeds} == {
        "eager": pytest.approx(6.75),
        "compile": pytest.approx(3.375),
    }


def test_events_tell_the_story(row_sums: Candidate, honest, store: Store) -> None:
    events: list[Event] = []
    summary = search(row_sums, honest, store, evaluations=4, on_event=events.append)

    kinds = [type(event) for event in events if not isinstance(event, JudgeProgress)]
    assert kinds == [SearchStarted, *[NodeJudged, BestImproved] * 4, NodeConfirmed, Stopped]
    assert isinstance(events[1], JudgeProgress)
    improved = [event for event in events if isinstance(event, BestImproved)]
    assert improved[0].previous is None
    assert all(event.previous is not None and event.previous.step < event.node.step for event in improved[1:])
    assert [event.evaluations for event in events if isinstance(event, NodeJudged)] == [1, 2, 3, 4]
    assert isinstance(events[-1], Stopped)
    assert events[-1].winner == summary.winner


def test_noise_does_not_change_the_lead(row_sums: Candidate, make_verdict, make_judge, store: Store) -> None:
    wobble = itertools.cycle([1.0, 1.015, 0.99, 1.01])

    def opinion(request: JudgeRequest) -> Verdict:
        gain = next(wobble) if len(request.baselines) == 1 else 1.0
        return make_verdict(request.candidate, gain, spread=0.05, baselines=request.baselines)

    judge = make_judge(opinion)
    summary = search(row_sums, judge, store, evaluations=10)
    assert summary.winner is not None
    assert summary.winner.step == 0
    assert {node.parents for node in store.nodes(summary.search_id)[1:]} == {(summary.winner.node_id,)}


def test_no_source_is_judged_twice_within_the_search(row_sums: Candidate, honest, store: Store) -> None:
    search(row_sums, honest, store, evaluations=60, stall=None)

    sources = [request.candidate.source for request in honest.requests[:-1]]
    assert len(sources) == len(set(sources))


def test_a_search_stops_when_nothing_is_left(make_verdict, make_judge, store: Store) -> None:
    point = Candidate(language="hip", source="__global__ void kernel() {}")
    judge = make_judge(lambda request: make_verdict(request.candidate, 1.0, baselines=request.baselines))

    summary = search(point, judge, store)
    assert (summary.reason, summary.evaluations) == (StopReason.NOTHING_LEFT, 1)


def test_an_exhausted_best_hands_over_to_the_next(row_sums: Candidate, make_verdict, make_judge, store: Store) -> None:
    """Where the start stays the best, its neighbours are built upon once it has none left."""
    judge = make_judge(
        lambda r: make_verdict(r.candidate, 1.0 if r.candidate == row_sums else 0.5, baselines=r.baselines)
    )

    summary = search(row_sums, judge, store, evaluations=25, stall=None)
    parents = [node.parents[0].rpartition(".")[2] for node in store.nodes(summary.search_id)[1:]]
    assert parents[0] == "0"
    assert "1" in parents
    assert summary.winner is not None
    assert summary.winner.step == 0


def test_a_search_stops_when_it_stalls(row_sums: Candidate, make_verdict, make_judge, store: Store) -> None:
    judge = make_judge(lambda request: make_verdict(request.candidate, 1.0, baselines=request.baselines))

    summary = search(row_sums, judge, store, stall=3)
    assert (summary.reason, summary.evaluations) == (StopReason.STALL, 4)


def test_a_search_stops_at_its_target(row_sums: Candidate, honest, store: Store) -> None:
    assert search(row_sums, honest, store, target_speedup=3.0).reason is StopReason.TARGET


def test_a_search_stops_by_the_clock_and_a_resumed_one_counts_anew(
    row_sums: Candidate, make_verdict, make_judge, store: Store, clock: Clock
) -> None:
    def opinion(request: JudgeRequest) -> Verdict:
        clock.now += 10.0
        return make_verdict(request.candidate, speed(request.candidate), baselines=request.baselines)

    judge = make_judge(opinion)
    timed = search(row_sums, judge, store, wall_clock_s=45)
    assert (timed.reason, timed.evaluations) == (StopReason.WALL_CLOCK, 5)
    assert resume(timed.search_id, judge, store).evaluations == 10


def test_a_wrong_start_ends_the_search(row_sums: Candidate, make_verdict, make_judge, store: Store) -> None:
    judge = make_judge(lambda request: make_verdict(request.candidate, finding=Finding.WRONG_VALUES))

    summary = search(row_sums, judge, store)
    assert (summary.reason, summary.winner, summary.confirmed) == (StopReason.NO_CORRECT_START, None, False)
    assert summary.start is not None
    assert summary.start.status is Status.WRONG
    assert len(judge.requests) == 1


def test_a_start_that_cannot_be_timed_ends_the_search(
    row_sums: Candidate, make_verdict, make_judge, store: Store
) -> None:
    judge = make_judge(lambda request: make_verdict(request.candidate, timed=False))

    assert search(row_sums, judge, store).reason is StopReason.NOT_TIMED


def test_the_best_of_several_starts_leads(row_sums: Candidate, make_verdict, make_judge, store: Store) -> None:
    better = Candidate(language="cpp", source="// better\n" + row_sums.source, name="better.cpp")
    judge = make_judge(
        lambda r: make_verdict(r.candidate, 3.0 if "better" in r.candidate.source else 1.0, baselines=r.baselines)
    )

    summary = optimize("task.py", "cpu", [row_sums, better], judge, store, OptimizeOptions(evaluations=4))
    nodes = store.nodes(summary.search_id)
    assert [node.parents for node in nodes] == [(), (), (nodes[1].node_id,), (nodes[1].node_id,)]
    with pytest.raises(SearchError, match="nothing to start from"):
        optimize("task.py", "cpu", [], judge, store)


def test_a_winner_that_is_refuted_makes_way(row_sums: Candidate, make_verdict, make_judge, store: Store) -> None:
    def opinion(request: JudgeRequest) -> Verdict:
        confirming = len(request.baselines) == 2
        if confirming and "-ffast-math" in request.candidate.source:
            return make_verdict(request.candidate, finding=Finding.WRONG_SPECIAL_VALUES)
        return make_verdict(request.candidate, speed(request.candidate), baselines=request.baselines)

    events: list[Event] = []
    summary = search(row_sums, make_judge(opinion), store, evaluations=8, on_event=events.append)

    refuted = [event for event in events if isinstance(event, NodeRefuted)]
    assert refuted
    assert "wrong_special_values" in refuted[0].summary
    assert summary.winner is not None
    assert summary.confirmed
    assert "-ffast-math" not in store.candidate(summary.winner).source
    assert summary.winner.score.speedup == pytest.approx(2.0 * 1.8)
    assert [node.refuted for node in store.nodes(summary.search_id)].count(True) == len(refuted)


def test_a_winner_that_was_only_lucky_falls_back(row_sums: Candidate, make_verdict, make_judge, store: Store) -> None:
    def opinion(request: JudgeRequest) -> Verdict:
        lucky = len(request.baselines) == 1 and "-funroll-loops" in request.candidate.source
        gain = 9.0 if lucky else speed(request.candidate)
        return make_verdict(request.candidate, gain, baselines=request.baselines)

    summary = search(row_sums, make_judge(opinion), store, evaluations=12, stall=None)

    nodes = store.nodes(summary.search_id)
    assert summary.winner is not None
    assert summary.confirmed
    assert summary.winner.score.speedup == max(node.confirmed.speedup for node in nodes if node.confirmed)
    assert sum(node.confirmed is not None for node in nodes) <= 3


def test_a_judge_that_fails_at_the_end_refutes_nothing(
    row_sums: Candidate, make_verdict, make_judge, store: Store
) -> None:
    def opinion(request: JudgeRequest) -> Verdict:
        if len(request.baselines) == 2:
            return make_verdict(request.candidate, finding=Finding.DEVICE_BUSY)
        return make_verdict(request.candidate, speed(request.candidate))

    summary = search(row_sums, make_judge(opinion), store, evaluations=3)
    assert summary.winner is not None
    assert not summary.confirmed
    assert not summary.winner.refuted
    assert [entry.baseline for entry in summary.speeds] == ["eager"]


def test_a_judge_that_keeps_failing_ends_the_search(
    row_sums: Candidate, make_verdict, make_judge, store: Store
) -> None:
    answers = itertools.count()
    judge = make_judge(
        lambda r: make_verdict(
            r.candidate, finding=None if next(answers) == 0 else Finding.INTERNAL, baselines=r.baselines
        )
    )

    summary = search(row_sums, judge, store)
    assert (summary.reason, summary.evaluations) == (StopReason.HARNESS_ERROR, 4)


class Interrupted(Exception):
    """Stands for a machine that is switched off."""


@pytest.mark.parametrize("judged", [0, 1, 5])
def test_an_interrupted_search_goes_on_as_if_nothing_had_been(
    row_sums: Candidate, honest, make_verdict, make_judge, store: Store, judged: int
) -> None:
    def failing(request: JudgeRequest) -> Verdict:
        if len(broken.requests) > judged:
            raise Interrupted
        return make_verdict(request.candidate, speed(request.candidate), baselines=request.baselines)

    broken = make_judge(failing)
    whole = search(row_sums, honest, store, evaluations=12)
    with pytest.raises(Interrupted):
        search(row_sums, broken, store, evaluations=12)
    search_id = next(entry.search_id for entry in store.searches() if entry.search_id != whole.search_id)
    assert store.search(search_id).state is SearchState.RUNNING
    assert len(store.nodes(search_id)) == judged

    events: list[Event] = []
    resumed = resume(search_id, honest, store, on_event=events.append)
    assert events[0] == SearchStarted(search_id=search_id, resumed=True)
    steps = [[(node.step, node.mutation, node.source_hash) for node in store.nodes(key)] for key in
             (whole.search_id, search_id)]  # fmt: skip
    assert steps[0] == steps[1]
    assert resumed.winner is not None
    assert whole.winner is not None
    assert resumed.winner.source_hash == whole.winner.source_hash


def test_a_full_disk_interrupts_a_search_that_then_goes_on(
    row_sums: Candidate, honest, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    adding = store.add_node

    def full(*arguments: Any, **more: Any) -> Any:
        if len(honest.requests) == 4:
            raise disk_full("the disk", "no space")
        return adding(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(store, "add_node", full)
        with pytest.raises(SearchError, match="Free some space"):
            search(row_sums, honest, store, evaluations=8)
    (interrupted,) = store.searches()
    assert len(store.nodes(interrupted.search_id)) == 3

    assert resume(interrupted.search_id, honest, store).evaluations == 8
    orders = store.orders(interrupted.search_id)
    assert [order.number for order in orders] == list(range(8))
    assert {order.state for order in orders} == {OrderState.DONE}


def test_resuming_hands_out_again_what_processes_held_that_are_gone(
    row_sums: Candidate, make_judge, store: Store, clock: Clock
) -> None:
    def slow(request: JudgeRequest) -> Verdict:
        clock.now += 600.0
        return by_its_own_word(request)

    judge = make_judge(slow)
    with subprocess.Popen(["true"]) as process:
        gone = f"mutator@{socket.gethostname()}:{process.pid}"
    elsewhere = f"mutator@another-machine:{process.pid}"
    search_id = start(store, "task.py", "cpu", [row_sums], OptimizeOptions(evaluations=4))
    Engine(store, search_id, judge).judge_starting_points()
    assert all(Engine(store, search_id, judge, holder).next_order() for holder in (gone, elsewhere))

    assert resume(search_id, judge, store).evaluations == 4
    done, expired = OrderState.DONE, OrderState.EXPIRED
    assert [order.state for order in store.orders(search_id)] == [done, done, expired, done, done]


# -- several processes ------------------------------------------------------------------------------------------------


def test_nothing_is_left_only_once_nothing_is_under_way(trusting, store: Store) -> None:
    """What another process has under way may turn out to be something to build on."""
    point = Candidate(language="hip", source="__global__ void kernel() {}")
    search_id = start(store, "task.py", "cpu", [point])
    engine, elsewhere = (Engine(store, search_id, trusting, holder) for holder in ("here", "elsewhere"))
    engine.judge_starting_points()
    order = elsewhere.next_order()
    assert order is not None
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 5:
            elsewhere.submit(order, rated(point, 2.0))

    assert drive(engine, Mutator(), sleep=wait) is StopReason.NOTHING_LEFT
    assert len(waits) >= 5
    assert [node.exhausted for node in store.nodes(search_id)] == [True, True]


def test_the_last_candidate_of_a_budget_may_land_at_any_moment(trusting, row_sums: Candidate, store: Store) -> None:
    search_id = start(store, "task.py", "cpu", [row_sums], OptimizeOptions(evaluations=2))
    elsewhere = Engine(store, search_id, trusting, "elsewhere")
    elsewhere.judge_starting_points()
    order = elsewhere.next_order()
    assert order is not None

    class Unlucky(Engine):
        asked = 0

        def reason_to_stop(self) -> StopReason | None:
            reason = super().reason_to_stop()
            self.asked += 1
            if self.asked == 2:
                elsewhere.submit(order, rated(row_sums, 2.0))
            return reason

    engine = Unlucky(store, search_id, trusting, "here")
    assert drive(engine, Mutator(), sleep=lambda seconds: None) is StopReason.EVALUATIONS


def test_a_process_waits_while_another_judges_the_only_starting_point(
    row_sums: Candidate, trusting, store: Store
) -> None:
    search_id = start(store, "task.py", "cpu", [row_sums], OptimizeOptions(evaluations=2))
    elsewhere = Engine(store, search_id, trusting, "elsewhere")
    claimed = store.claim_start(search_id, "elsewhere", 60.0)
    assert claimed is not None

    reason = drive(Engine(store, search_id, trusting), Mutator(), sleep=lambda _: elsewhere.submit(*claimed) and None)
    assert reason is StopReason.EVALUATIONS
    assert [node.author for node in store.nodes(search_id)] == ["elsewhere", ""]


def test_a_pause_leaves_the_search_running(row_sums: Candidate, honest, store: Store) -> None:
    search_id = start(store, "task.py", "cpu", [row_sums])
    engine = Engine(store, search_id, honest)

    assert drive(engine, Mutator(), until=lambda: len(honest.requests) == 3) is None
    assert store.search(search_id).state is SearchState.RUNNING
    assert store.under_way(search_id) == 0


@pytest.mark.parametrize("judged", [0, 2])
def test_who_has_a_candidate_under_way_hears_that_the_search_was_stopped(
    row_sums: Candidate, make_judge, store: Store, judged: int
) -> None:
    def stopping(request: JudgeRequest) -> Verdict:
        if len(judge.requests) == judged + 1:
            store.finish(store.searches()[0].search_id, StopReason.STOPPED)
        return by_its_own_word(request)

    judge = make_judge(stopping)
    summary = search(row_sums, judge, store)
    assert (summary.reason, summary.evaluations) == (StopReason.STOPPED, judged)


def test_an_unknown_policy_begins_nothing(row_sums: Candidate, honest, store: Store) -> None:
    with pytest.raises(SearchError, match="no policy 'best'"):
        optimize("task.py", "cpu", [row_sums], honest, store, policy="best")
    assert store.searches() == ()


# -- resuming with other options --------------------------------------------------------------------------------------


def test_a_finished_search_goes_on_with_a_larger_budget(row_sums: Candidate, honest, store: Store) -> None:
    first = search(row_sums, honest, store, evaluations=3)
    again = resume(first.search_id, honest, store)
    assert again.evaluations == 3
    assert len(honest.requests) == 3 + 1  # the winner was confirmed before

    more = resume(first.search_id, honest, store, OptimizeOptions(evaluations=15))
    assert more.evaluations == 15
    assert more.winner is not None
    assert more.winner.score.speedup == pytest.approx(6.75)
    with pytest.raises(SearchError, match="'eager'"):
        resume(first.search_id, honest, store, OptimizeOptions(baseline="compile"))


def test_a_task_that_changes_stops_the_resumed_search(
    row_sums: Candidate, honest, make_verdict, make_judge, store: Store
) -> None:
    first = search(row_sums, honest, store, evaluations=2)
    changed = make_judge(lambda request: make_verdict(request.candidate, 1.0, task_hash="f" * 64))

    with pytest.raises(SearchError, match="changed"):
        resume(first.search_id, changed, store, OptimizeOptions(evaluations=4))
