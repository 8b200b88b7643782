"""Each policy on small real stores: what it builds on, and what it keeps."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.search.driver import optimize
from kernelevolve.search.engine import Engine, TooAlikeError, start
from kernelevolve.search.errors import SearchError
from kernelevolve.search.landscape import Landscape
from kernelevolve.search.node import Node
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import MemoryMode, Order, OrderState, Phase
from kernelevolve.search.policies import Choice, PlainPolicy, get_policy, policies
from kernelevolve.search.policies.beam import Beam
from kernelevolve.search.policies.best_of_n import BestOfN
from kernelevolve.search.policies.evolutionary import Evolutionary
from kernelevolve.search.policies.greedy import Greedy
from kernelevolve.search.policies.mcts import Mcts
from kernelevolve.search.policies.random_sampling import RandomSampling
from kernelevolve.search.store import Store
from kernelevolve.search.synthesizers import Assignment, Cost, Proposal
from kernelevolve.search.view import SearchView
from tests.search.conftest import (
    FakeJudge,
    begin,
    brief_of,
    by_its_own_word,
    keep,
    other,
    rated,
    verdict_of,
    view_of,
    wrong,
)


def choose(policy: Any, store: Store, search_id: str, number: int = 1, seed: int = 0) -> Choice | None:
    with view_of(store, search_id) as view:
        choice: Choice | None = policy.select(view, number, random.Random(seed))
        return choice


def steps(choice: Choice | None) -> tuple[int, ...]:
    assert choice is not None
    return tuple(parent.step for parent in choice.parents)


def grow(
    store: Store, parent: Node, candidate: Candidate, island: int = 0, cell: str | None = None, **more: Any
) -> Node:
    """A node that was derived from another one, on an island and in a cell of its archive."""

    def build_on(view: SearchView, number: int) -> tuple[Phase, Choice]:
        return Phase.EXPAND, Choice((view.node(parent.node_id),), island=island)

    order = store.issue(parent.search_id, build_on, "tester", 60.0)
    assert order is not None
    request = JudgeRequest(task="t", candidate=candidate, platforms=("cpu",), baselines=("eager",))
    return store.add_node(
        parent.search_id, candidate, by_its_own_word(request), order.parents, order_id=order.order_id,
        place=lambda entry: cell, **more,
    ).node  # fmt: skip


def engine_of(
    store: Store, judge: FakeJudge, policy: str, *points: Candidate, author: str = "mock", **parameters: float
) -> Engine:
    options = OptimizeOptions(stall=None, policy_parameters=parameters, drafts=0)
    engine = Engine(store, start(store, "task.py", "cpu", points, options, policy, author), judge, "tester")
    engine.judge_starting_points()
    return engine


def take(engine: Engine) -> Order:
    order = engine.next_order()
    assert order is not None
    return order


# -- greedy -----------------------------------------------------------------------------------------------------------


def test_greedy_takes_the_leader_and_once_it_is_exhausted_the_next_best(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums, 1.0)
    best, second = (keep(store, search_id, rated(row_sums, gain), gain, (root,)) for gain in (3.0, 2.0))
    keep(store, search_id, wrong(row_sums), parents=(root,), finding=Finding.WRONG_VALUES)

    seen = []
    for node in (best, second, root):
        seen.append(steps(choose(Greedy(), store, search_id)))
        store.exhaust(node.node_id)
    assert seen == [(best.step,), (second.step,), (root.step,)]
    assert choose(Greedy(), store, search_id) is None


# -- best of n --------------------------------------------------------------------------------------------------------


def test_best_of_n_takes_starting_points_in_turn_and_remembers_nothing(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = engine_of(store, trusting, "best_of_n", row_sums, rated(row_sums, 2.0), wrong(row_sums))
    orders = []
    for mark in range(5):
        orders.append(take(engine))
        engine.submit(orders[-1], rated(row_sums, 5.0, str(mark)))

    assert [order.parents[0].rpartition(".")[2] for order in orders] == ["1", "0", "1", "0", "1"]
    assert {order.memory for order in orders} == {MemoryMode.CLEAN_SLATE}


def test_best_of_n_has_nothing_left_once_the_starting_points_are_exhausted(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums)
    keep(store, search_id, other(row_sums, 1), 2.0, (root,))
    store.exhaust(root.node_id)

    assert choose(BestOfN(), store, search_id) is None


# -- random -----------------------------------------------------------------------------------------------------------


def test_random_takes_any_viable_node_and_only_those(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums)
    for mark in range(4):
        keep(store, search_id, other(row_sums, mark), 0.5, (root,))
    broken = keep(store, search_id, wrong(row_sums), finding=Finding.WRONG_VALUES)
    exhausted = keep(store, search_id, other(row_sums, 5), 9.0)
    store.exhaust(exhausted.node_id)

    seen = Counter(steps(choose(RandomSampling(), store, search_id, seed=seed)) for seed in range(200))
    assert seen.keys() == {(step,) for step in range(exhausted.step + 1) if step not in (broken.step, exhausted.step)}
    assert choose(RandomSampling(), store, begin(store, row_sums)) is None


# -- beam -------------------------------------------------------------------------------------------------------------


def test_beam_builds_on_each_of_the_best_in_turn(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "beam", row_sums, width=2)
    for gain in (2.0, 3.0):
        grow(store, store.node(f"{engine.search_id}.0"), rated(row_sums, gain))

    # Nothing of it is judged meanwhile.
    taken = Counter(take(engine).parents[0].rpartition(".")[2] for _ in range(6))
    assert taken == {"2": 3, "1": 3}


def test_a_newcomer_to_the_beam_catches_up(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "beam", row_sums, width=2)
    for mark in range(3):
        engine.submit(take(engine), rated(row_sums, 0.5, str(mark)))
    best = grow(store, store.node(f"{engine.search_id}.0"), rated(row_sums, 3.0))

    assert take(engine).parents == (best.node_id,)


def test_a_beam_is_no_wider_than_it_may_be(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    for mark in range(5):
        keep(store, search_id, other(row_sums, mark), 1.0 + mark)

    def alive(width: int) -> str:
        choice = choose(Beam(Beam.Parameters(width=width)), store, search_id)
        assert choice is not None
        return choice.note

    assert alive(3) == "place 1 of a beam of 3"
    assert alive(9) == "place 1 of a beam of 5"


# -- Monte Carlo tree search ------------------------------------------------------------------------------------------


def test_mcts_spreads_what_is_under_way_over_the_tree(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "mcts", row_sums)
    first = [take(engine) for _ in range(3)]
    for order, gain in zip(first, (2.0, 1.9, 1.8), strict=True):
        engine.submit(order, rated(row_sums, gain))

    parents = [take(engine).parents for _ in range(8)]
    assert len(set(parents)) >= 3
    assert Counter(parents).most_common(1)[0][1] <= 4


def test_mcts_sends_the_reward_back_up_the_line(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "mcts", row_sums, widening=0.01, most_children=1, exploration=0)
    for gain in (2.0, 4.0):
        engine.submit(take(engine), rated(row_sums, gain))
    leaf = take(engine)
    for gain in (8.0, 0.5):
        grow(store, store.node(leaf.parents[0]), rated(row_sums, gain), counts_rewards=True)
    grow(store, store.node(leaf.parents[0]), wrong(row_sums), counts_rewards=True)

    # What is slower than the start, or wrong, adds nothing.
    rewards = [brief_of(store, f"{engine.search_id}.{step}").reward for step in range(4)]
    assert rewards == pytest.approx([math.log(2 * 4 * 8), math.log(4 * 8), math.log(8), 0.0])


def test_mcts_descends_where_the_rewards_are(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "mcts", row_sums, exploration=0, most_children=2)
    poor, rich = [take(engine) for _ in range(2)]
    nodes = [engine.submit(order, rated(row_sums, gain)) for order, gain in ((poor, 1.1), (rich, 1.05))]
    grow(store, nodes[1], rated(row_sums, 4.0), counts_rewards=True)

    descended = take(engine)
    assert nodes[0].node_id not in descended.parents
    assert descended.note.startswith("UCT, depth")


def test_mcts_lets_a_node_have_more_children_as_it_is_visited_more(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = engine_of(store, trusting, "mcts", row_sums, widening=1.0)
    children = []
    for mark in range(24):
        engine.submit(take(engine), rated(row_sums, 1.0 + mark / 100))
        children.append(store.node(f"{engine.search_id}.0").children)

    # At most sqrt(visits + 1), rounded up.
    assert all(count <= math.ceil(math.sqrt(visits + 1)) for visits, count in enumerate(children))
    assert children[0] == 1
    assert children[-1] == 5


def test_mcts_explores_every_starting_point(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    points = [row_sums, rated(row_sums, 1.5), rated(row_sums, 1.2)]
    engine = engine_of(store, trusting, "mcts", *points, exploration=2.0)

    assert {take(engine).parents[0].rpartition(".")[2] for _ in range(6)} == {"0", "1", "2"}


def test_mcts_goes_elsewhere_once_its_choice_is_exhausted(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums)
    leaf = keep(store, search_id, other(row_sums, 1), 2.0, (root,))
    store.exhaust(leaf.node_id)
    assert steps(choose(Mcts(), store, search_id)) == (root.step,)
    store.exhaust(root.node_id)
    assert choose(Mcts(), store, search_id) is None


# -- evolutionary -----------------------------------------------------------------------------------------------------


def cells(store: Store, search_id: str, island: int = 0) -> dict[str | None, int]:
    with view_of(store, search_id) as view:
        return {brief.cell: brief.step for brief in view.elites(island)}


def test_the_best_of_each_cell_of_each_island_is_kept(store: Store, row_sums: Candidate) -> None:
    root = keep(store, begin(store, row_sums, margin=0.02), row_sums)
    for gain, island, cell in (
        (2.0, 0, "small"), (3.0, 0, "large"), (2.5, 0, "small"), (2.4, 0, "small"), (1.5, 1, "small"), (0.5, 1, None),
    ):  # fmt: skip
        grow(store, root, rated(row_sums, gain), island, cell)

    assert cells(store, root.search_id, 0) == {"large": 2, "small": 3}
    assert cells(store, root.search_id, 1) == {"small": 5}
    assert [node.island for node in store.nodes(root.search_id)] == [0, 0, 0, 0, 0, 1, 1]


def test_an_elite_is_not_replaced_by_noise_and_not_by_what_is_wrong(store: Store, row_sums: Candidate) -> None:
    root = keep(store, begin(store, row_sums, margin=0.02), row_sums)
    elite = grow(store, root, rated(row_sums, 2.0), 0, "cell")
    grow(store, root, rated(row_sums, 2.01), 0, "cell")
    grow(store, root, wrong(row_sums), 0, "cell")

    assert cells(store, root.search_id) == {"cell": elite.step}


def test_an_elite_that_is_refuted_makes_way(store: Store, row_sums: Candidate) -> None:
    root = keep(store, begin(store, row_sums), row_sums)
    elite = grow(store, root, rated(row_sums, 3.0), 0, "cell")
    store.confirm(elite.node_id, verdict_of(row_sums, finding=Finding.WRONG_AFTER_TIMING))
    assert cells(store, root.search_id) == {}

    slower = grow(store, root, rated(row_sums, 2.0), 0, "cell")
    assert cells(store, root.search_id) == {"cell": slower.step}


def test_a_cell_is_a_length_and_the_case_that_gains_most() -> None:
    landscape = Landscape(seed=0)

    def cell(knobs: list[int], size: float = 1.0) -> str | None:
        request = JudgeRequest(task="", candidate=landscape.candidate(knobs), platforms=("cpu",), baselines=("eager",))
        return Evolutionary().cell(landscape.judge(request).of("cpu"), size)

    decoy = landscape._roles[4][1]
    assert cell([0] * 8) == "+0 pair 0"
    assert cell([0, 0, 0, 0, decoy, 0, 0, 0]) == "+0 pair 2"
    assert [cell([0] * 8, size) for size in (0.5, 0.7, 1.1, 1.5, 2.0, 100.0, 0.0)] == [
        "-2 pair 0", "-1 pair 0", "+0 pair 0", "+1 pair 0", "+2 pair 0", "+4 pair 0", "-4 pair 0",
    ]  # fmt: skip


def test_orders_go_round_the_islands_which_begin_at_the_starting_points(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = engine_of(store, trusting, "evolutionary", row_sums, islands=3)
    orders = [take(engine) for _ in range(6)]

    assert [order.island for order in orders] == [1, 2, 0, 1, 2, 0]
    assert {order.parents for order in orders} == {(f"{engine.search_id}.0",)}
    node = engine.submit(orders[0], rated(row_sums, 2.0))
    assert (node.island, cells(store, engine.search_id, 1)) == (1, {"+0 small": node.step})


def settings(**parameters: float) -> Evolutionary:
    return Evolutionary(Evolutionary.Parameters.model_validate({"islands": 1, "crossover": 0.0, **parameters}))


@pytest.fixture
def archive(store: Store, row_sums: Candidate) -> str:
    """A search with three elites on island 0, the fastest last, and one on island 1 that is faster still."""
    root = keep(store, begin(store, row_sums), row_sums)
    for gain, island in ((2.0, 0), (3.0, 0), (4.0, 0), (5.0, 1)):
        grow(store, root, rated(row_sums, gain), island, f"cell {gain}")
    return root.search_id


def test_greed_is_the_share_of_orders_that_build_on_the_best(store: Store, archive: str) -> None:
    def chosen(greed: float) -> Counter[int]:
        picks = (choose(settings(greed=greed), store, archive, seed=seed) for seed in range(100))
        return Counter(steps(pick)[0] for pick in picks)

    assert chosen(1.0) == {3: 100}
    fair = chosen(0.0)
    assert fair.keys() == {1, 2, 3}
    assert fair[3] > fair[1]


def test_crossover_takes_two_elites(store: Store, archive: str) -> None:
    for seed in range(20):
        choice = choose(settings(crossover=1.0), store, archive, seed=seed)
        first, second = steps(choice)
        assert first != second
        assert {first, second} <= {1, 2, 3}
    assert choice is not None
    assert (choice.memory, choice.note) == (MemoryMode.PARENT, "crossover of two elites")


def test_a_crossed_node_has_both_parents(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "evolutionary", row_sums, islands=1, crossover=1, least_novelty=0)
    grow(store, store.node(f"{engine.search_id}.0"), rated(row_sums, 2.0), 0, "another cell")

    order = take(engine)
    assert sorted(order.parents) == [f"{engine.search_id}.{step}" for step in (0, 1)]
    node = engine.submit(order, rated(row_sums, 3.0))
    assert store.node(node.node_id).parents == order.parents


def test_every_so_often_the_best_of_the_neighbour_migrates(store: Store, archive: str) -> None:
    policy = settings(islands=2, migration_interval=3, greed=1.0)
    chosen = [choose(policy, store, archive, number) for number in range(12)]

    assert [choice and choice.island for choice in chosen] == [0, 1] * 6
    assert [steps(choice)[0] for choice in chosen[0::2]] == [3, 3, 4, 3, 3, 4]
    assert [steps(choice)[0] for choice in chosen[1::2]] == [4, 4, 3, 4, 4, 3]
    assert chosen[4] is not None
    assert chosen[4].note == "migrates from island 1"


def test_one_island_has_no_neighbour(store: Store, archive: str) -> None:
    assert steps(choose(settings(migration_interval=1, greed=1.0), store, archive)) == (3,)


def test_a_source_like_one_of_its_island_is_rejected_and_the_order_stays_open(
    store: Store, row_sums: Candidate, trusting: FakeJudge
) -> None:
    engine = engine_of(store, trusting, "evolutionary", row_sums, islands=2, author="assistant")
    elsewhere, here = take(engine), take(engine)
    assert (elsewhere.island, here.island) == (1, 0)
    asked = len(trusting.requests)

    with pytest.raises(TooAlikeError, match=rf"almost that of node {engine.search_id}\.0.*still open"):
        engine.submit(here, other(row_sums, "only a comment"))
    assert len(trusting.requests) == asked
    assert store.order(here.order_id).state is OrderState.OPEN
    changed = row_sums.model_copy(update={"source": row_sums.source.replace("0.0f", "-0.0f")})
    assert engine.submit(here, changed).step == 1
    # On another island there is nothing like it yet.
    assert engine.submit(elsewhere, other(row_sums, "only a comment")).step == 2


def test_starting_points_may_be_alike(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "evolutionary", row_sums, other(row_sums, "only a comment"), author="assistant")

    assert len(store.nodes(engine.search_id)) == 2


def test_novelty_can_be_switched_off(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "evolutionary", row_sums, islands=1, least_novelty=0, author="assistant")

    assert engine.submit(take(engine), other(row_sums, "only a comment")).step == 1


def test_an_author_whose_source_is_too_alike_has_failed(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    class Unoriginal:
        name = "endpoint"
        reads_prompt = True

        def propose(self, assignment: Assignment) -> Proposal | None:
            source = other(assignment.parents[0], "only a comment").source
            return Proposal(source=source, description="", cost=Cost(output_tokens=10))

    engine = engine_of(store, trusting, "evolutionary", row_sums, author="endpoint", islands=1)
    order = engine.step(Unoriginal())
    assert isinstance(order, Order)
    assert order.state is OrderState.FAILED
    assert "almost that of node" in order.reason
    search = store.search(engine.search_id)
    assert (search.author_failures, search.output_tokens) == (1, 10)


def test_rules_may_change_as_little_as_they_like(store: Store, row_sums: Candidate, trusting: FakeJudge) -> None:
    engine = engine_of(store, trusting, "evolutionary", row_sums, islands=1)

    assert engine.submit(take(engine), other(row_sums, "only a comment")).step == 1


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", sorted(policies()))
def test_the_same_seed_gives_the_same_search(store: Store, policy: str) -> None:
    landscape = Landscape(seed=1)

    def sources(seed: int) -> list[str]:
        options = OptimizeOptions(evaluations=25, stall=None, seed=seed)
        summary = optimize(
            "t", "cpu", [landscape.start], landscape, store, options, policy=policy, synthesizer=landscape.author()
        )
        assert summary.policy == policy
        return [node.source_hash for node in store.nodes(summary.search_id)]

    assert sources(0) == sources(0)
    assert sources(0) != sources(1)


@pytest.mark.parametrize("policy", sorted(policies()))
def test_a_search_in_which_nothing_is_viable_has_no_choice(store: Store, row_sums: Candidate, policy: str) -> None:
    search_id = begin(store, row_sums)
    keep(store, search_id, row_sums, finding=Finding.WRONG_VALUES)

    assert choose(get_policy(policy), store, search_id) is None


# -- names and parameters ---------------------------------------------------------------------------------------------


def test_an_unknown_policy_is_told_what_there_is() -> None:
    with pytest.raises(SearchError, match="no policy 'best'") as caught:
        get_policy("best")
    assert caught.value.advice == "Use one of beam, best_of_n, evolutionary, greedy, mcts, random."


@pytest.mark.parametrize(
    ("name", "parameters", "complaint", "advice"),
    [
        ("beam", {"width": 0}, r"Policy beam: width = 0(\.0)?: .*greater than or equal to 1", "width (4)"),
        ("beam", {"width": 2.5}, r"Policy beam: width = 2\.5: .*integer", "width (4)"),
        ("mcts", {"exploration": -1}, "Policy mcts: exploration = -1", "exploration (0.1), widening (0.8)"),
        ("evolutionary", {"greed": 1.5}, r"greed = 1\.5: .*less than or equal to 1", "islands (2), greed (0.5)"),
        ("beam", {"breadth": 3}, "Policy beam: breadth = 3: .*not permitted", "width (4)"),
        ("greedy", {"width": 3}, "Policy greedy: width = 3", "Its parameters: none."),
    ],
)
def test_a_wrong_parameter_is_told_what_is_allowed(
    name: str, parameters: dict[str, float], complaint: str, advice: str
) -> None:
    with pytest.raises(SearchError, match=complaint) as caught:
        get_policy(name, parameters)
    assert advice in caught.value.advice


def test_a_wrong_parameter_begins_no_search(store: Store, row_sums: Candidate) -> None:
    with pytest.raises(SearchError, match="width = 0"):
        start(store, "t.py", "cpu", [row_sums], OptimizeOptions(policy_parameters={"width": 0}), "beam")
    assert store.searches() == ()


class First(PlainPolicy):
    """A policy as a plug-in would bring it: always the first starting point."""

    name = "first"
    Parameters = Greedy.Parameters

    def __init__(self, parameters: Any = None) -> None:
        self.parameters = parameters or self.Parameters()

    def select(self, view: SearchView, number: int, randomness: random.Random) -> Choice | None:
        return Choice((view.starting_points()[0],))


@pytest.fixture
def plugged_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    group = "kernelevolve.policies"
    point = EntryPoint(name="first", value=f"{__name__}:First", group=group)
    monkeypatch.setattr(
        "kernelevolve.evaluation.plug_ins.entry_points", lambda **asked: [point] if asked == {"group": group} else []
    )
    policies.cache_clear()
    yield
    policies.cache_clear()


@pytest.mark.usefixtures("plugged_in")
def test_a_policy_of_a_plug_in_is_found(store: Store) -> None:
    landscape = Landscape(seed=0)

    summary = optimize(
        "t", "cpu", [landscape.start], landscape, store, OptimizeOptions(evaluations=6), policy="first",
        synthesizer=landscape.author(),
    )  # fmt: skip
    assert {node.parents for node in store.nodes(summary.search_id)[1:]} == {(f"{summary.search_id}.0",)}
    assert {"first", "greedy"} <= policies().keys()
