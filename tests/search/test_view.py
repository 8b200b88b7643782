from __future__ import annotations

from kernelevolve.evaluation.finding import Status
from kernelevolve.search.fitness import Fitness
from kernelevolve.search.node import Node, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.policies.greedy import Greedy
from kernelevolve.search.stop import reason_to_stop
from kernelevolve.search.view import SearchView, leader


def node(step: int, speedup: float, spread: float = 0.0, mutation: str = "", **more: object) -> Node:
    status = more.pop("status", Status.CORRECT)
    return Node.model_validate(
        {
            "node_id": f"s.{step}", "search_id": "s", "step": step, "parents": ("s.0",) if step else (),
            "mutation": mutation, "language": "cpp", "name": "kernel.cpp", "source_hash": str(step),
            "source_object": "", "verdict_object": "", "status": status, "latency_ms": None, "judged_s": 0.1,
            "made": "", "fitness": Fitness(speedup=speedup, low=speedup * (1 - spread), high=speedup * (1 + spread)),
            **more,
        }
    )  # fmt: skip


def test_of_equals_the_earliest_leads() -> None:
    nodes = [node(0, 1.0), node(1, 2.0), node(2, 2.0)]

    assert leader(nodes, 0.02) == nodes[1]


def test_only_correct_timed_and_unrefuted_nodes_lead() -> None:
    nodes = [node(0, 1.0), node(1, 9.0, status=Status.WRONG), node(2, 0.0), node(3, 8.0, refuted=True)]

    assert leader(nodes, 0.02) == nodes[0]
    assert leader(nodes[1:], 0.02) is None


def test_the_confirmed_fitness_counts() -> None:
    lucky = node(1, 5.0, confirmed=Fitness(speedup=2.0, low=1.9, high=2.1))

    assert leader([node(0, 3.0), lucky], 0.02) == node(0, 3.0)


def test_greedy_takes_the_best_that_is_not_exhausted() -> None:
    nodes = [node(0, 1.0), node(1, 3.0), node(2, 2.0)]

    assert Greedy().select(SearchView(nodes, 0.02)) == nodes[1]
    assert Greedy().select(SearchView(nodes, 0.02, frozenset({"s.1"}))) == nodes[2]
    assert Greedy().select(SearchView(nodes, 0.02, frozenset({"s.0", "s.1", "s.2"}))) is None


def test_view_counts_the_stall_and_the_setbacks() -> None:
    view = SearchView(
        [
            node(0, 1.0),
            node(1, 2.0, mutation="a"),
            node(2, 1.5, mutation="b"),
            node(3, 0.0, mutation="c", status=Status.WRONG),
            node(4, 2.001, spread=0.1, mutation="b"),
        ],
        0.02,
    )

    assert view.best == view.nodes[1]
    assert view.stalled == 3
    assert view.setbacks == {"b": 2, "c": 2}


def test_reasons_to_stop() -> None:
    view = SearchView([node(0, 1.0), node(1, 2.0), node(2, 1.0)], 0.02)
    endless = OptimizeOptions(evaluations=100, stall=None)

    def reason(**options: object) -> StopReason | None:
        return reason_to_stop(view, endless.model_copy(update=options), elapsed_s=5.0)

    assert reason() is None
    assert reason(evaluations=3) is StopReason.EVALUATIONS
    assert reason(wall_clock_s=5.0) is StopReason.WALL_CLOCK
    assert reason(wall_clock_s=5.1) is None
    assert reason(stall=1) is StopReason.STALL
    assert reason(stall=2) is None
    assert reason(target_speedup=2.0) is StopReason.TARGET


def test_a_search_without_a_correct_start_stops() -> None:
    def reason(*nodes: Node) -> StopReason | None:
        return reason_to_stop(SearchView(nodes, 0.02), OptimizeOptions(), 0.0)

    assert reason(node(0, 0.0, status=Status.WRONG)) is StopReason.NO_CORRECT_START
    assert reason(node(0, 0.0)) is StopReason.NOT_TIMED
    assert reason(node(0, 0.0, status=Status.HARNESS_ERROR)) is StopReason.HARNESS_ERROR


def test_a_judge_that_keeps_failing_stops_the_search() -> None:
    failing = [node(step, 0.0, status=Status.HARNESS_ERROR) for step in (1, 2, 3)]

    assert reason_to_stop(SearchView([node(0, 1.0), *failing[:2]], 0.02), OptimizeOptions(), 0.0) is None
    reason = reason_to_stop(SearchView([node(0, 1.0), *failing], 0.02), OptimizeOptions(), 0.0)
    assert reason is StopReason.HARNESS_ERROR
