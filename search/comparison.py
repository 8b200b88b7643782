"""Policies side by side: the same task, author and budget, several seeds, best-so-far against evaluations."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.search.driver import optimize, resume
from kernelevolve.search.engine import CanJudge
from kernelevolve.search.fitness import improves
from kernelevolve.search.node import Node, SearchRecord, SearchState
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Reader, Store
from kernelevolve.search.synthesizers import Synthesizer


@dataclass
class RememberingJudge:
    """Judges each source once, however many searches hand it in: they then differ by their choices, not by noise."""

    judge_of: CanJudge
    store: Reader
    """Searches of earlier runs of the same comparison: what they judged is known."""
    answers: dict[tuple[str, tuple[str, ...], int], Verdict] = field(default_factory=dict)

    def judge(self, request: JudgeRequest, progress: Callable[[str, float], None] | None = None) -> Verdict:
        """See `CanJudge`."""
        key = (request.candidate.source_hash, request.baselines, request.timed_calls)
        if key not in self.answers:
            known = self.store.verdict_of_source(request.candidate.source_hash)
            if known is None:
                known = self.judge_of.judge(request, progress)
            self.answers[key] = known
        return self.answers[key]


@dataclass(frozen=True)
class Problem:
    """What one seed is tried on."""

    task: str
    platform: str
    start: Candidate
    judge: CanJudge
    author: Callable[[], Synthesizer]
    optimum: float | None = None
    """The largest speed-up there is, where it is known."""


class PolicyCurve(Contract):
    """How one policy did."""

    policy: str
    """Name of the policy."""
    search_ids: tuple[str, ...]
    """One search for each seed."""
    curves: tuple[tuple[float, ...], ...]
    """For each seed the best speed-up after 1, 2, … evaluations (over the optimum, where that is known)."""
    median: tuple[float, ...]
    """Median over the seeds."""
    low: tuple[float, ...]
    """The lowest of the seeds."""
    high: tuple[float, ...]
    """The highest of the seeds."""


class Comparison(Contract):
    """Policies side by side."""

    title: str
    """What was searched."""
    unit: str
    """What the curves show."""
    evaluations: int
    """Candidates judged in each search."""
    seeds: tuple[int, ...]
    """Seeds of the choices."""
    coverage: float
    """Chance with which the range of the seeds covers the median, 1 - 2^(1 - n)."""
    judged: int
    """Different candidates that were judged; the rest was known from another search."""
    policies: tuple[PolicyCurve, ...]
    """The best at the end first."""


def best_so_far(nodes: Sequence[Node], margin: float, evaluations: int) -> tuple[float, ...]:
    """The leader's speed-up after each evaluation; a search that ended early keeps its last."""
    curve: list[float] = []
    best: Node | None = None
    for node in nodes[:evaluations]:
        viable = node.fitness.speedup > 0 and not node.refuted
        if viable and (best is None or improves(node.fitness, best.fitness, margin)):
            best = node
        curve.append(best.fitness.speedup if best is not None else 0.0)
    return tuple(curve + [curve[-1] if curve else 0.0] * (evaluations - len(curve)))


def compare(
    store: Store,
    problem_of: Callable[[int], Problem],
    policies: Sequence[str],
    seeds: Sequence[int],
    options: OptimizeOptions,
    title: str,
    on_search: Callable[[str, int, SearchRecord | None], None] = lambda policy, seed, search: None,
) -> Comparison:
    """Run every policy on every seed, seed by seed, so that a drift of the machine meets all policies alike.

    Searches that the store holds already are not run again: an interrupted comparison goes on where it was.

    Args:
        store: keeps the searches.
        problem_of: what a seed is tried on.
        policies: their names.
        seeds: seeds of the choices.
        options: budget of each search; its seed is replaced.
        title: what is searched.
        on_search: told before each search (without a record) and after it.
    """
    known = {(search.policy, search.options.seed): search for search in store.searches()}
    done: dict[tuple[str, int], str] = {}
    problems = {seed: problem_of(seed) for seed in seeds}
    for seed in seeds:
        problem = problems[seed]
        for policy in policies:
            on_search(policy, seed, None)
            before = known.get((policy, seed))
            if before is None or before.options.evaluations != options.evaluations:
                chosen = options.model_copy(update={"seed": seed})
                search_id = optimize(
                    problem.task, problem.platform, [problem.start], problem.judge, store, chosen, policy=policy,
                    synthesizer=problem.author(),
                ).search_id  # fmt: skip
            else:
                search_id = before.search_id
                if before.state is not SearchState.FINISHED:
                    resume(search_id, problem.judge, store, synthesizer=problem.author())
            done[policy, seed] = search_id
            on_search(policy, seed, store.search(search_id))
    optima = {seed: problems[seed].optimum for seed in seeds}
    rows = [
        _curve(store, policy, [done[policy, seed] for seed in seeds], seeds, options, optima) for policy in policies
    ]
    sources = {node.source_hash for search_id in done.values() for node in store.nodes(search_id)}
    relative = any(optimum is not None for optimum in optima.values())
    return Comparison(
        title=title,
        unit="share of the optimum" if relative else f"speed-up against {options.baseline}",
        evaluations=options.evaluations,
        seeds=tuple(seeds),
        coverage=1 - 2.0 ** (1 - len(seeds)),
        judged=len(sources),
        policies=tuple(sorted(rows, key=lambda row: -row.median[-1])),
    )


def _curve(
    store: Reader,
    policy: str,
    search_ids: Sequence[str],
    seeds: Sequence[int],
    options: OptimizeOptions,
    optima: dict[int, float | None],
) -> PolicyCurve:
    curves = []
    for search_id, seed in zip(search_ids, seeds, strict=True):
        scale = optima[seed] or 1.0
        curve = best_so_far(store.nodes(search_id), options.margin, options.evaluations)
        curves.append(tuple(value / scale for value in curve))
    points = list(_points(curves))
    return PolicyCurve(
        policy=policy,
        search_ids=tuple(search_ids),
        curves=tuple(curves),
        median=tuple(statistics.median(point) for point in points),
        low=tuple(min(point) for point in points),
        high=tuple(max(point) for point in points),
    )


def _points(curves: Sequence[tuple[float, ...]]) -> Iterator[tuple[float, ...]]:
    return zip(*curves, strict=True)
