from __future__ import annotations

import itertools
import random
import statistics
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.search.driver import optimize
from kernelevolve.search.fitness import fitness_of
from kernelevolve.search.landscape import Landscape
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import Order, OrderState, Phase
from kernelevolve.search.prompt import Prompt
from kernelevolve.search.store import Store
from kernelevolve.search.synthesizers import Assignment

TINY = Landscape(seed=3, pairs=2, settings=4)


def everywhere(landscape: Landscape) -> dict[tuple[int, ...], float]:
    """The speed-up of every candidate there is."""
    settings = itertools.product(range(landscape.settings), repeat=2 * landscape.pairs)
    return {knobs: landscape.speedup(landscape.candidate(list(knobs)).source) for knobs in settings}


def neighbours(knobs: tuple[int, ...], settings: int) -> list[tuple[int, ...]]:
    return [
        (*knobs[:place], setting, *knobs[place + 1 :])
        for place in range(len(knobs))
        for setting in range(settings)
        if setting != knobs[place]
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_is_reached_by_one_candidate_and_no_other_is_faster(seed: int) -> None:
    landscape = Landscape(seed, pairs=2, settings=4)
    found = everywhere(landscape)

    assert max(found.values()) == pytest.approx(landscape.optimum)
    assert sum(speedup > landscape.optimum - 1e-9 for speedup in found.values()) == 1


def test_the_start_is_correct_and_gains_nothing() -> None:
    assert TINY.speedup(TINY.start.source) == 1.0


def test_who_takes_only_the_next_improvement_ends_in_the_decoys() -> None:
    found = everywhere(TINY)
    stuck = [
        knobs
        for knobs, speedup in found.items()
        if speedup > 1.0 and all(found[near] <= speedup for near in neighbours(knobs, TINY.settings))
    ]

    # Each pair is at its decoy or at its best, whatever the other is at.
    assert len(stuck) == 2**TINY.pairs
    assert min(found[knobs] for knobs in stuck) == pytest.approx(2.718281828 ** (2 * 0.2))


def judged(candidate: Candidate, *baselines: str) -> tuple[Status, float]:
    request = JudgeRequest(task="landscape", candidate=candidate, platforms=("cpu",), baselines=baselines or ("eager",))
    verdict = TINY.judge(request)
    return verdict.status, fitness_of(verdict, "cpu", request.baselines[-1]).speedup


def test_its_verdicts_say_what_it_knows() -> None:
    found = everywhere(TINY)
    assert 0 < sum(speedup == 0 for speedup in found.values()) < len(found)

    for knobs, speedup in found.items():
        status, measured = judged(TINY.candidate(list(knobs)), "eager", "compile")
        assert status is (Status.CORRECT if speedup else Status.WRONG)
        assert measured == pytest.approx(speedup)


def test_anything_but_knobs_is_ignored() -> None:
    knobs = [1, 0, 2, 0]
    source = TINY.candidate(knobs).source

    assert TINY.knobs(f"# a comment\n{source}knob_99 = 7\nx = knob_0 = 3\n") == knobs
    assert TINY.knobs("") == [0, 0, 0, 0]


def write(landscape: Landscape, seed: int, *parents: list[int]) -> list[int]:
    """What its author makes of parents."""
    candidates = tuple(landscape.candidate(knobs) for knobs in parents)
    assignment = Assignment(
        order=Order(order_id="o", search_id="s", number=0, phase=Phase.EXPAND, state=OrderState.OPEN),
        parents=candidates,
        lines=(),
        has_source={candidate.source_hash for candidate in candidates}.__contains__,
        setbacks=lambda mutations: {},
        randomness=random.Random(seed),
        compose=lambda: Prompt(parts=()),
    )
    proposal = landscape.author().propose(assignment)
    assert proposal is not None
    return landscape.knobs(proposal.source)


def test_its_author_turns_a_knob_or_two_and_can_be_repeated() -> None:
    parent = [0, 1, 2, 3]
    children = [write(TINY, seed, parent) for seed in range(40)]

    assert {sum(map(int.__ne__, child, parent)) for child in children} == {1, 2}
    assert children == [write(TINY, seed, parent) for seed in range(40)]


def test_its_author_takes_each_pair_from_one_of_two_parents() -> None:
    wide = Landscape(seed=0, pairs=8)
    for seed in range(20):
        mixed = write(wide, seed, [0] * 16, [5] * 16)
        pairs = [mixed[place : place + 2] for place in range(0, 16, 2)]
        # It turns two knobs besides, at most.
        assert pairs.count([0, 0]) + pairs.count([5, 5]) >= 6
        assert min(pairs.count([0, 0]), pairs.count([5, 5])) >= 1


@pytest.mark.slow
def test_the_policies_differ_on_it(tmp_path: Path) -> None:
    def mean(policy: str) -> float:
        best = []
        for seed in range(6):
            landscape = Landscape(seed)
            options = OptimizeOptions(evaluations=120, stall=None, roofline_share=None, seed=seed)
            summary = optimize(
                "landscape", "cpu", [landscape.start], landscape, store, options, policy=policy,
                synthesizer=landscape.author(),
            )  # fmt: skip
            assert summary.evaluations == 120
            assert summary.winner is not None
            best.append(summary.winner.score.speedup)
        return statistics.mean(best)

    with Store(tmp_path / "searches.sqlite") as store:
        means = {policy: mean(policy) for policy in ("best_of_n", "random", "greedy", "beam")}
    assert means["random"] >= means["best_of_n"] > 1.0
    assert means["greedy"] > means["random"]
    assert means["beam"] > means["random"]
