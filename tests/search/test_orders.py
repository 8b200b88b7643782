"""Orders: who may write a candidate, for how long, and what becomes of it."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.search.driver import drive
from kernelevolve.search.engine import Engine, start
from kernelevolve.search.errors import DuplicateError, SearchError
from kernelevolve.search.events import OrderFailed
from kernelevolve.search.node import StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import MemoryMode, Order, OrderState, Phase
from kernelevolve.search.policies import policies
from kernelevolve.search.store import Store
from kernelevolve.search.synthesizers import Assignment, Cost, Proposal, SynthesizerError
from tests.search.conftest import (
    ROW_SUMS,
    Clock,
    FakeJudge,
    OpenStore,
    brief_of,
    by_its_own_word,
    other,
    rated,
    wrong,
)

LEASE_S = 60.0
JUDGING_S = 300.0
"""More than any order is held while its candidate is judged."""


@pytest.fixture
def open_store(open_either: OpenStore) -> OpenStore:
    return open_either


def begin(
    store: Store, judge: Any, *points: Candidate, policy: str = "greedy", synthesizer: str = "mutator", **options: Any
) -> Engine:
    """A search whose starting points are judged."""
    given = OptimizeOptions.model_validate({"lease_s": LEASE_S, "stall": None, **options})
    search_id = start(store, "tasks/row_sums.py", "cpu", points, given, policy, synthesizer)
    engine = Engine(store, search_id, judge, "tester")
    engine.judge_starting_points()
    return engine


@pytest.fixture
def engine(store: Store, row_sums: Candidate, trusting: FakeJudge) -> Engine:
    return begin(store, trusting, row_sums)


def take(engine: Engine) -> Order:
    order = engine.next_order()
    assert order is not None
    return order


def root_of(engine: Engine) -> str:
    return f"{engine.search_id}.0"


# -- leases -----------------------------------------------------------------------------------------------------------


def test_a_lease_ends_by_the_clock(engine: Engine, store: Store, clock: Clock) -> None:
    order = take(engine)
    assert (order.state, order.holder, order.parents) == (OrderState.OPEN, "tester", (root_of(engine),))

    clock.now += LEASE_S
    assert (store.order(order.order_id).state, store.under_way(engine.search_id)) == (OrderState.OPEN, 1)
    clock.now += 0.1
    assert store.order(order.order_id).state is OrderState.EXPIRED
    assert store.orders(engine.search_id, [OrderState.EXPIRED]) == (store.order(order.order_id),)
    assert store.under_way(engine.search_id) == 0
    assert store.events(engine.search_id)[-1].kind == "expired"


def test_a_heartbeat_gives_more_time_from_now_on(engine: Engine, store: Store, clock: Clock) -> None:
    order = take(engine)

    clock.now += LEASE_S - 1
    assert store.heartbeat(order.order_id, LEASE_S).expires == clock.now + LEASE_S
    clock.now += LEASE_S - 1
    assert store.under_way(engine.search_id) == 1
    clock.now += 2
    assert store.under_way(engine.search_id) == 0
    with pytest.raises(SearchError, match="is expired"):
        store.heartbeat(order.order_id, LEASE_S)


def test_judging_has_a_lease_of_its_own(
    store: Store, row_sums: Candidate, clock: Clock, make_judge: type[FakeJudge]
) -> None:
    """The author's time does not run while the judge works."""

    def slow(request: JudgeRequest) -> Verdict:
        clock.now += LEASE_S + 1
        assert store.under_way(store.searches()[0].search_id) == 1
        return by_its_own_word(request)

    engine = begin(store, make_judge(slow), row_sums)
    order = take(engine)
    engine.submit(order, rated(row_sums, 2.0))
    assert store.order(order.order_id).state is OrderState.DONE
    assert "expired" not in [event.kind for event in store.events(engine.search_id)]


def test_a_late_candidate_is_taken_while_the_search_runs(
    engine: Engine, store: Store, clock: Clock, row_sums: Candidate
) -> None:
    order = take(engine)
    clock.now += LEASE_S + 1
    assert store.under_way(engine.search_id) == 0

    node = engine.submit(order, rated(row_sums, 2.0), "late")
    assert (node.parents, node.order_id, node.author) == (order.parents, order.order_id, "tester")
    assert (store.order(order.order_id).state, store.order(order.order_id).node_id) == (OrderState.DONE, node.node_id)


def test_a_late_candidate_is_refused_with_a_reason_once_the_search_has_ended(
    engine: Engine, store: Store, clock: Clock, row_sums: Candidate, trusting: FakeJudge
) -> None:
    order = take(engine)
    clock.now += LEASE_S + 1
    store.finish(engine.search_id, StopReason.STALL)

    asked = len(trusting.requests)
    with pytest.raises(SearchError, match=r"has ended \(stall\).*Resume it with a larger budget"):
        engine.submit(order, rated(row_sums, 2.0))
    assert len(trusting.requests) == asked
    assert engine.next_order() is None


def test_an_order_of_another_search_is_refused(
    engine: Engine, store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    elsewhere = begin(store, trusting, row_sums)
    order = take(elsewhere)

    with pytest.raises(SearchError, match=f"belongs to search {elsewhere.search_id}, not to {engine.search_id}"):
        engine.submit(order, rated(row_sums, 2.0))
    assert store.order(order.order_id).state is OrderState.OPEN


def test_an_order_takes_one_candidate(engine: Engine, store: Store, row_sums: Candidate) -> None:
    order = take(engine)
    engine.submit(order, rated(row_sums, 2.0))

    with pytest.raises(SearchError, match=r"is done already.*another order"):
        engine.submit(order, rated(row_sums, 3.0))
    assert len(store.nodes(engine.search_id)) == 2


def test_an_empty_source_is_refused_and_the_order_stays_open(engine: Engine, store: Store) -> None:
    order = take(engine)

    with pytest.raises(SearchError, match="source is empty"):
        engine.submit(order, Candidate(language="cpp", source=" \n"))
    assert store.order(order.order_id).state is OrderState.OPEN


def test_a_judge_that_fails_leaves_the_order_and_the_source_free(
    store: Store, row_sums: Candidate, make_judge: type[FakeJudge]
) -> None:
    def failing(request: JudgeRequest) -> Verdict:
        if len(judge.requests) == 2:
            raise OSError("the device fell off the bus")
        return by_its_own_word(request)

    judge = make_judge(failing)
    engine = begin(store, judge, row_sums)
    order = take(engine)
    with pytest.raises(OSError, match="fell off"):
        engine.submit(order, rated(row_sums, 2.0))

    assert not store.has_source(engine.search_id, rated(row_sums, 2.0).source_hash)
    assert engine.submit(order, rated(row_sums, 2.0)).step == 1


# -- duplicates -------------------------------------------------------------------------------------------------------


def test_a_source_that_was_judged_closes_the_order(
    engine: Engine, store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    order = take(engine)
    asked = len(trusting.requests)

    with pytest.raises(DuplicateError, match=f"already, as node {root_of(engine)}"):
        engine.submit(order, row_sums)
    closed = store.order(order.order_id)
    assert (closed.state, closed.node_id) == (OrderState.DUPLICATE, root_of(engine))
    assert len(trusting.requests) == asked
    assert brief_of(store, root_of(engine)).visits == 0


def test_a_source_that_is_being_judged_for_another_order_closes_the_order(
    engine: Engine, store: Store, row_sums: Candidate
) -> None:
    first, second = take(engine), take(engine)
    store.reserve(first.order_id, engine.search_id, rated(row_sums, 2.0).source_hash, LEASE_S)

    with pytest.raises(DuplicateError, match="is being judged right now"):
        engine.submit(second, rated(row_sums, 2.0))
    assert store.order(second.order_id).state is OrderState.DUPLICATE
    assert engine.submit(first, rated(row_sums, 2.0)).step == 1


def test_a_source_whose_judging_died_long_ago_is_free(
    engine: Engine, store: Store, row_sums: Candidate, clock: Clock
) -> None:
    dead, alive = take(engine), take(engine)
    store.reserve(dead.order_id, engine.search_id, rated(row_sums, 2.0).source_hash, LEASE_S)
    store.heartbeat(alive.order_id, 10 * LEASE_S)
    clock.now += LEASE_S + 1

    assert engine.submit(alive, rated(row_sums, 2.0)).step == 1


def test_what_a_duplicate_cost_is_counted(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = begin(store, trusting, row_sums, synthesizer="endpoint", drafts=0)
    order = engine.step(Repeating())

    assert isinstance(order, Order)
    assert order.state is OrderState.DUPLICATE
    assert store.search(engine.search_id).output_tokens == 10


def test_an_author_that_only_repeats_itself_is_not_asked_for_ever(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = begin(store, trusting, row_sums, synthesizer="endpoint", drafts=0)
    asked = itertools.count()

    assert drive(engine, Repeating(), until=lambda: next(asked) > 50) is StopReason.AUTHOR_FAILED


class Repeating:
    """An author that hands in its parent again, and wants money for it."""

    name = "endpoint"
    reads_prompt = True

    def propose(self, assignment: Assignment) -> Proposal:
        return Proposal(source=assignment.parents[0].source, description="", cost=Cost(output_tokens=10))


# -- orders that come back --------------------------------------------------------------------------------------------


def test_an_order_that_was_given_back_is_handed_out_again(engine: Engine, store: Store, clock: Clock) -> None:
    order = take(engine)
    store.give_back(order.order_id)
    assert store.order(order.order_id).state is OrderState.WAITING
    assert (store.under_way(engine.search_id), brief_of(store, root_of(engine)).visits) == (0, 0)

    clock.now += 5
    again = take(engine)
    assert again == order.model_copy(update={"expires": clock.now + LEASE_S})
    assert brief_of(store, root_of(engine)).visits == 1
    assert take(engine).number == order.number + 1


def test_an_order_that_was_given_back_holds_no_source(engine: Engine, store: Store, row_sums: Candidate) -> None:
    order = take(engine)
    store.reserve(order.order_id, engine.search_id, rated(row_sums, 2.0).source_hash, LEASE_S)
    store.give_back(order.order_id)
    again, other_order = take(engine), take(engine)

    assert again.order_id == order.order_id
    assert engine.submit(other_order, rated(row_sums, 2.0)).step == 1


def test_an_author_that_is_interrupted_gives_its_order_back(engine: Engine, store: Store) -> None:
    class Interrupted:
        name = "mutator"
        reads_prompt = False

        def propose(self, assignment: Assignment) -> Proposal | None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.step(Interrupted())
    assert [order.state for order in store.orders(engine.search_id)] == [OrderState.DONE, OrderState.WAITING]


def test_the_budget_counts_what_is_under_way(store: Store, row_sums: Candidate, trusting, clock: Clock) -> None:
    engine = begin(store, trusting, row_sums, evaluations=3)
    first, second = take(engine), take(engine)
    assert engine.next_order() is None

    store.give_back(first.order_id)
    assert take(engine).order_id == first.order_id
    assert engine.next_order() is None
    store.fail(second.order_id, "no idea")
    third = take(engine)
    assert engine.next_order() is None
    clock.now += LEASE_S + 1
    fourth = take(engine)
    assert len({order.number for order in (first, second, third, fourth)}) == 4


def test_nothing_is_ordered_past_the_budget(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = begin(store, trusting, row_sums, evaluations=2)
    engine.submit(take(engine), rated(row_sums, 2.0))

    assert engine.next_order() is None
    assert engine.reason_to_stop() is StopReason.EVALUATIONS


# -- visits -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def line(store: Store, row_sums: Candidate, trusting: FakeJudge) -> Engine:
    """An MCTS search that is a line of three nodes, the last of which is expanded next."""
    parameters = {"widening": 0.01, "most_children": 1, "exploration": 0.0}
    engine = begin(store, trusting, row_sums, policy="mcts", policy_parameters=parameters)
    for gain in (2.0, 3.0):
        engine.submit(take(engine), rated(row_sums, gain))
    return engine


def visits(engine: Engine) -> list[int]:
    return [brief_of(engine.store, node.node_id).visits for node in engine.store.nodes(engine.search_id)]


@pytest.mark.parametrize("end", ["expires", "fails", "is given back"])
def test_an_order_counts_as_a_visit_until_it_leads_nowhere(engine: Engine, clock: Clock, end: str) -> None:
    order = take(engine)
    assert visits(engine) == [1]

    finish(engine, order, clock, end)
    assert visits(engine) == [0]


@pytest.mark.parametrize("end", ["expires", "fails", "is given back"])
def test_with_mcts_it_counts_along_the_path(line: Engine, clock: Clock, end: str) -> None:
    assert visits(line) == [2, 1, 0]
    order = take(line)
    assert order.parents == (f"{line.search_id}.2",)
    assert visits(line) == [3, 2, 1]

    finish(line, order, clock, end)
    assert visits(line) == [2, 1, 0]


def finish(engine: Engine, order: Order, clock: Clock, end: str) -> None:
    if end == "expires":
        clock.now += LEASE_S + 1
        engine.store.under_way(engine.search_id)
    elif end == "fails":
        engine.store.fail(order.order_id, "no idea")
    else:
        engine.store.give_back(order.order_id)


def test_a_late_candidate_is_a_visit_again(line: Engine, row_sums: Candidate, clock: Clock) -> None:
    order = take(line)
    finish(line, order, clock, "expires")

    line.submit(order, rated(row_sums, 4.0))
    assert visits(line) == [3, 2, 1, 0]


def test_a_candidate_whose_lease_ran_out_while_it_was_judged_is_a_visit_too(
    store: Store, row_sums: Candidate, clock: Clock, make_judge: type[FakeJudge]
) -> None:
    def very_slow(request: JudgeRequest) -> Verdict:
        if request.candidate != row_sums:
            clock.now += JUDGING_S
            assert store.under_way(engine.search_id) == 0  # another process takes it back meanwhile
        return by_its_own_word(request)

    engine = begin(store, make_judge(very_slow), row_sums)
    engine.submit(take(engine), rated(row_sums, 0.5))
    assert visits(engine) == [1, 0]


# -- authors that fail ------------------------------------------------------------------------------------------------


class Failing:
    """An author that fails as often as it is asked, or for good."""

    name = "endpoint"
    reads_prompt = True

    def __init__(self, fatal: bool = False) -> None:
        self.fatal = fatal
        self.asked = 0

    def propose(self, assignment: Assignment) -> Proposal | None:
        self.asked += 1
        cost = Cost(input_tokens=100, usd=0.5)
        raise SynthesizerError("The model said nothing.", "Ask it again.", fatal=self.fatal, cost=cost)


def test_authors_that_keep_failing_stop_the_search(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = begin(store, trusting, row_sums, synthesizer="endpoint", drafts=0)
    author = Failing()

    assert drive(engine, author) is StopReason.AUTHOR_FAILED
    assert author.asked == 5
    orders = store.orders(engine.search_id)[1:]
    assert {(order.state, order.reason) for order in orders} == {
        (OrderState.FAILED, "The model said nothing. Ask it again.")
    }
    search = store.search(engine.search_id)
    assert (search.input_tokens, search.usd, visits(engine)) == (500, 2.5, [0])


def test_an_author_that_cannot_go_on_is_asked_once(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    events: list[Any] = []
    engine = begin(store, trusting, row_sums, synthesizer="endpoint", drafts=0)
    engine = Engine(store, engine.search_id, trusting, on_event=events.append)
    author = Failing(fatal=True)

    assert drive(engine, author) is StopReason.AUTHOR_FAILED
    assert author.asked == 1
    (failed,) = [event for event in events if isinstance(event, OrderFailed)]
    assert (failed.order.state, failed.order.reason) == (OrderState.FAILED, "The model said nothing. Ask it again.")


def test_a_candidate_makes_up_for_failures_and_an_exhausted_parent_is_none(
    engine: Engine, store: Store, row_sums: Candidate
) -> None:
    def failures() -> int:
        return store.search(engine.search_id).author_failures

    for _ in range(4):
        store.fail(take(engine).order_id, "no idea")
    assert (failures(), engine.reason_to_stop()) == (4, None)
    store.fail(take(engine).order_id, "nothing is left", exhausted=True)
    assert failures() == 4
    engine.submit(take(engine), wrong(row_sums))
    assert failures() == 0


def test_failing_an_order_that_is_done_changes_nothing(engine: Engine, store: Store, row_sums: Candidate) -> None:
    order = take(engine)
    engine.submit(order, rated(row_sums, 2.0))

    assert store.fail(order.order_id, "too late").state is OrderState.DONE
    assert store.search(engine.search_id).author_failures == 0


# -- what is ordered --------------------------------------------------------------------------------------------------


def kinds(orders: list[Order]) -> list[tuple[Phase, MemoryMode, tuple[str, ...]]]:
    steps = [tuple(parent.rpartition(".")[2] for parent in order.parents) for order in orders]
    return [(order.phase, order.memory, parents) for order, parents in zip(orders, steps, strict=True)]


DRAFT, EXPAND = Phase.DRAFT, Phase.EXPAND
CLEAN, BOTH = MemoryMode.CLEAN_SLATE, MemoryMode.BOTH


def test_drafts_come_first_and_go_round_the_starting_points(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = begin(store, trusting, row_sums, rated(row_sums, 2.0), synthesizer="assistant")
    orders = [take(engine) for _ in range(6)]

    assert kinds(orders) == [
        (DRAFT, CLEAN, ("0",)), (DRAFT, CLEAN, ("1",)), (DRAFT, CLEAN, ("0",)), (DRAFT, CLEAN, ("1",)),
        (EXPAND, BOTH, ("1",)), (EXPAND, BOTH, ("1",)),
    ]  # fmt: skip
    assert orders[0].note == "draft 1 of 4"


def test_as_many_drafts_as_were_asked_for(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    def drafts(**settings: Any) -> int:
        engine = begin(store, trusting, row_sums, **settings)
        return sum(take(engine).phase is DRAFT for _ in range(6))

    assert drafts(synthesizer="assistant", drafts=0) == 0
    assert drafts(synthesizer="assistant", drafts=2) == 2
    assert drafts(synthesizer="mutator") == 0
    assert drafts(synthesizer="mutator", drafts=3) == 3


def test_a_starting_point_that_is_wrong_takes_no_draft_away(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = begin(store, trusting, row_sums, wrong(row_sums), synthesizer="assistant", drafts=3)
    orders = [take(engine) for _ in range(4)]

    assert kinds(orders) == [*[(DRAFT, CLEAN, ("0",))] * 3, (EXPAND, BOTH, ("0",))]


def test_a_search_that_stagnates_gets_a_clean_slate_every_other_time(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = begin(store, trusting, row_sums, synthesizer="assistant", drafts=0, stagnation=3)
    orders = []
    for mark in range(9):
        orders.append(take(engine))
        engine.submit(orders[-1], rated(row_sums, 2.0 if mark == 0 else 0.5, str(mark)))

    assert kinds(orders) == [
        (EXPAND, BOTH, ("0",)), *[(EXPAND, BOTH, ("1",))] * 3,
        (EXPAND, BOTH, ("1",)), (EXPAND, CLEAN, ("0",)), (EXPAND, BOTH, ("1",)), (EXPAND, CLEAN, ("0",)),
        (EXPAND, BOTH, ("1",)),
    ]  # fmt: skip
    assert orders[5].note == "4 candidates without a gain"


def test_the_mutator_gets_no_clean_slate(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = begin(store, trusting, row_sums, stagnation=1)
    for mark in range(4):
        order = take(engine)
        assert order.memory is BOTH
        engine.submit(order, rated(row_sums, 0.5, str(mark)))


def test_a_wrong_start_may_be_mended_by_an_author_that_reads(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = begin(store, trusting, wrong(row_sums), synthesizer="assistant", drafts=0)
    assert engine.reason_to_stop() is None

    orders = []
    for mark in range(3):
        orders.append(take(engine))
        engine.submit(orders[-1], wrong(row_sums, mark))
    # The latest attempt and the first in turn.
    assert kinds(orders) == [(EXPAND, BOTH, ("0",)), (EXPAND, BOTH, ("0",)), (EXPAND, BOTH, ("2",))]
    mended = engine.submit(take(engine), rated(row_sums, 1.0))
    assert mended.status is Status.CORRECT
    assert take(engine).parents == (mended.node_id,)


def test_a_wrong_start_ends_the_search_where_nobody_could_mend_it(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = begin(store, trusting, wrong(row_sums))

    assert engine.reason_to_stop() is StopReason.NO_CORRECT_START
    assert engine.next_order() is None


def test_an_author_that_reads_needs_no_starting_point(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = begin(store, trusting, synthesizer="assistant")

    assert kinds([take(engine)]) == [(DRAFT, CLEAN, ())]
    first = engine.submit(take(engine), row_sums)
    assert (first.parents, first.depth) == ((), 0)
    assert take(engine).parents == (first.node_id,)


def test_a_prompt_that_was_read_is_kept(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    class Reader:
        name = "endpoint"
        reads_prompt = True
        told = ""

        def propose(self, assignment: Assignment) -> Proposal | None:
            self.told = assignment.prompt.text
            return Proposal(source=rated(assignment.parents[0], 2.0).source, description="faster")

    engine = begin(store, trusting, row_sums, synthesizer="endpoint")
    author = Reader()
    engine.step(author)
    order = store.orders(engine.search_id)[-1]
    assert store.prompt(order.order_id) == author.told != ""
    assert store.prompt(store.orders(engine.search_id)[0].order_id) is None


def test_a_prompt_tells_of_the_search_as_it_is(engine: Engine, store: Store, row_sums: Candidate) -> None:
    budget = store.search(engine.search_id).options.evaluations
    for gain in (2.0, 3.0):
        engine.submit(take(engine), rated(row_sums, gain))

    text = engine.prompt(take(engine)).text
    assert "Best so far: 3.000x" in text
    assert f"{budget - 3} candidates are left" in text


# -- starting points --------------------------------------------------------------------------------------------------


def test_starting_points_are_shared_by_those_who_judge_them(store: Store, row_sums: Candidate, clock: Clock) -> None:
    points = [other(row_sums, mark) for mark in range(3)]
    search_id = start(store, "task.py", "cpu", points)

    claims = [store.claim_start(search_id, holder, LEASE_S) for holder in ("a", "b", "c", "d")]
    assert [claim and claim[1] for claim in claims] == [*points, None]
    assert store.starting_points_left(search_id) == 3
    clock.now += LEASE_S + 1
    again = store.claim_start(search_id, "e", LEASE_S)
    assert again is not None
    assert (again[0].number, again[0].holder, again[1]) == (0, "e", points[0])


def test_the_same_starting_point_twice_is_judged_once(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = begin(store, trusting, row_sums, row_sums)

    assert len(trusting.requests) == 1
    assert store.starting_points_left(engine.search_id) == 0
    assert [order.state for order in store.orders(engine.search_id)] == [OrderState.DONE, OrderState.DUPLICATE]


def test_the_same_starting_point_many_times_is_no_failure_of_an_author(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = begin(store, trusting, *[row_sums] * 6)

    assert engine.reason_to_stop() is None


def test_a_starting_point_whose_judging_failed_waits_again(
    store: Store, row_sums: Candidate, make_judge: type[FakeJudge], trusting: FakeJudge
) -> None:
    def failing(request: JudgeRequest) -> Verdict:
        raise OSError("the device fell off the bus")

    search_id = start(store, "task.py", "cpu", [row_sums])
    with pytest.raises(OSError, match="fell off"):
        Engine(store, search_id, make_judge(failing)).judge_starting_points()
    assert store.orders(search_id)[0].state is OrderState.WAITING
    assert Engine(store, search_id, trusting).judge_starting_points() == 0
    assert store.search(search_id).step == 0


# -- all of it at random ----------------------------------------------------------------------------------------------


class OrdersMachine(RuleBasedStateMachine):
    """Several authors do whatever they like; the counts stay true."""

    @initialize(policy=st.sampled_from(sorted(policies())))
    def begin(self, policy: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = Store(Path(self.folder.name) / "searches.sqlite", clock=self.clock)
        self.point = Candidate(language="cpp", source=ROW_SUMS, name="kernel.cpp")
        parameters = {"least_novelty": 0.0, "crossover": 0.5} if policy == "evolutionary" else {}
        judge = FakeJudge(by_its_own_word)
        self.engine = begin(self.store, judge, self.point, policy=policy, evaluations=12, policy_parameters=parameters)
        self.marks = itertools.count()
        self.held: list[Order] = []

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    @rule()
    def take(self) -> None:
        search = self.store.search(self.engine.search_id)
        taken = search.step + 1 + self.store.under_way(search.search_id)
        order = self.engine.next_order()
        assert (order is not None) == (taken < search.options.evaluations)
        if order is not None:
            self.held.append(order)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), gain=st.sampled_from([None, 0.5, 1.0, 1.5, 2.0]))
    def submit(self, data: st.DataObject, gain: float | None) -> None:
        order = data.draw(st.sampled_from(self.held))
        candidate = other(self.point, next(self.marks))
        candidate = wrong(candidate) if gain is None else rated(candidate, gain)
        if self.store.order(order.order_id).state in (OrderState.OPEN, OrderState.EXPIRED):
            assert self.engine.submit(order, candidate).parents == order.parents
        else:
            with pytest.raises(SearchError, match="already"):
                self.engine.submit(order, candidate)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def submit_a_duplicate(self, data: st.DataObject) -> None:
        with pytest.raises(SearchError, match="already"):
            self.engine.submit(data.draw(st.sampled_from(self.held)), self.point)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), exhausted=st.booleans())
    def fail(self, data: st.DataObject, exhausted: bool) -> None:
        self.store.fail(data.draw(st.sampled_from(self.held)).order_id, "no idea", exhausted=exhausted)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        self.store.give_back(data.draw(st.sampled_from(self.held)).order_id)

    @rule(seconds=st.sampled_from([1.0, LEASE_S / 2, LEASE_S + 1]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def every_visit_is_an_order_that_is_open_or_done(self) -> None:
        self.store.under_way(self.engine.search_id)
        expected: Counter[str] = Counter()
        for order in self.store.orders(self.engine.search_id, [OrderState.OPEN, OrderState.DONE]):
            expected.update(order.parents)
            if self.engine.policy.along_path and order.parents:
                expected.update(node.node_id for node in self.store.ancestors(order.parents[0]))
        nodes = self.store.nodes(self.engine.search_id)
        assert {node.node_id: brief_of(self.store, node.node_id).visits for node in nodes} == {
            node.node_id: expected[node.node_id] for node in nodes
        }

    @invariant()
    def every_node_has_one_order_and_steps_have_no_gap(self) -> None:
        nodes = self.store.nodes(self.engine.search_id)
        assert [node.step for node in nodes] == list(range(len(nodes)))
        done = self.store.orders(self.engine.search_id, [OrderState.DONE])
        assert sorted(order.node_id or "" for order in done) == sorted(node.node_id for node in nodes)


TestOrdersAtRandom = OrdersMachine.TestCase
TestOrdersAtRandom.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
