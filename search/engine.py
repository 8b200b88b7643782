"""The search loop: judge the starting points, then select, propose, judge and store until there is a reason to stop."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Protocol

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import SpeedSummary, Verdict
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
from kernelevolve.search.fitness import fitness_of
from kernelevolve.search.node import Node, SearchRecord, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.policies import Policy
from kernelevolve.search.policies.greedy import Greedy
from kernelevolve.search.stop import reason_to_stop
from kernelevolve.search.store import Store
from kernelevolve.search.synthesizers import Synthesizer
from kernelevolve.search.synthesizers.mutator import Mutator
from kernelevolve.search.view import SearchView, leader

_CONFIRM_AGAINST = ("eager", "compile")
_MOST_CONFIRMED = 3
"""Nodes that are confirmed at most because the one confirmed before fell back behind them; refuted ones not counted."""


class CanJudge(Protocol):
    """What the engine needs of a judge."""

    def judge(self, request: JudgeRequest, progress: Callable[[str, float], None] | None = None) -> Verdict:
        """Judge one candidate."""
        ...


class SearchSummary(Contract):
    """How a search went."""

    search_id: str
    """The search."""
    task: str
    """Path of the task, or `aten::<operator>`."""
    platform: str
    """Platform name."""
    baseline: str
    """What fitness was measured against."""
    reason: StopReason
    """Why it ended."""
    evaluations: int
    """Candidates judged, confirmations not counted."""
    elapsed_s: float
    """Seconds since it began or was resumed."""
    start: Node | None
    """The first starting point, once judged."""
    winner: Node | None
    """The best node; None if no starting point is correct, or all nodes were refuted."""
    confirmed: bool
    """Whether the winner was found correct and timed a second time, with full samples."""
    speeds: tuple[SpeedSummary, ...]
    """The winner's speed against each baseline, from its confirmation if there is one."""


def optimize(
    task: str,
    platform: str,
    starting_points: Sequence[Candidate],
    judge: CanJudge,
    store: Store,
    options: OptimizeOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
    *,
    policy: Policy | None = None,
    synthesizer: Synthesizer | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SearchSummary:
    """Search for a faster candidate.

    The lead changes hands only by `fitness.improves`: a candidate that is faster within the noise of its measurement
    does not replace the best. Before a winner is named it is judged once more, with full samples and against both
    baselines; if it is then not correct it is refuted and the next best is tried, and if it falls back behind another
    node, that one is confirmed too. An interruption leaves the search in the store, to be resumed.

    Args:
        task: path of the task, or `aten::<operator>`.
        platform: platform name.
        starting_points: candidates to begin with; one must be correct for the search to get anywhere.
        judge: decides what is correct and how fast it is.
        store: keeps every node.
        options: budget, goal and rigour.
        on_event: told what happens while it happens.
        policy: chooses the parent of the next candidate; greedy if not given.
        synthesizer: writes the next candidate; the mutator if not given.
        clock: seconds, growing.

    Raises:
        SearchError: there is no starting point, or the task changes while the search runs.
        KernelEvolveError: the judge cannot serve requests at all, e.g. the task cannot be read.
    """
    if not starting_points:
        raise SearchError("There is nothing to start from.", "Give at least one starting point.")
    policy, synthesizer = policy or Greedy(), synthesizer or Mutator()
    options = options or OptimizeOptions()
    search_id = store.create_search(task, platform, starting_points, options, policy.name, synthesizer.name)
    return _Run(store, store.search(search_id), judge, on_event, policy, synthesizer, clock).run(resumed=False)


def resume(
    search_id: str,
    judge: CanJudge,
    store: Store,
    options: OptimizeOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
    *,
    policy: Policy | None = None,
    synthesizer: Synthesizer | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SearchSummary:
    """Go on with a search that was interrupted, or that ended.

    Args:
        search_id: the search.
        judge: see `optimize`.
        store: see `optimize`.
        options: replaces those the search began with, e.g. with a larger budget; the baseline must stay.
        on_event: see `optimize`.
        policy: see `optimize`.
        synthesizer: see `optimize`.
        clock: see `optimize`.

    Raises:
        SearchError: there is no such search, or its baseline or task changed.
    """
    before = store.search(search_id).options.baseline
    if options is not None and options.baseline != before:
        raise SearchError(
            f"Search {search_id} measures against {before!r}.", "Keep the baseline, or start a new search."
        )
    search = store.reopen(search_id, options)
    policy, synthesizer = policy or Greedy(), synthesizer or Mutator()
    return _Run(store, search, judge, on_event, policy, synthesizer, clock).run(resumed=True)


class _Run:
    """One search while it runs in this process."""

    def __init__(
        self,
        store: Store,
        search: SearchRecord,
        judge: CanJudge,
        on_event: Callable[[Event], None] | None,
        policy: Policy,
        synthesizer: Synthesizer,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.search = search
        self.options = search.options
        self.judge = judge
        self.tell = on_event or (lambda event: None)
        self.policy = policy
        self.synthesizer = synthesizer
        self.clock = clock
        self.nodes = list(store.nodes(search.search_id))
        self.tried = {node.source_hash for node in self.nodes}
        self.exhausted: frozenset[str] = frozenset()

    def run(self, resumed: bool) -> SearchSummary:
        began = self.clock()
        self.tell(SearchStarted(search_id=self.search.search_id, resumed=resumed))
        for point in self.store.starting_points(self.search.search_id):
            if point.source_hash not in self.tried:
                self.keep(point, None, "")
        reason = self.explore(began)
        winner = self.confirm_winner()
        self.store.finish(self.search.search_id, reason)
        self.tell(Stopped(search_id=self.search.search_id, reason=reason, winner=winner))
        return SearchSummary(
            search_id=self.search.search_id,
            task=self.search.task,
            platform=self.search.platform,
            baseline=self.options.baseline,
            reason=reason,
            evaluations=len(self.nodes),
            elapsed_s=self.clock() - began,
            start=self.nodes[0] if self.nodes else None,
            winner=winner,
            confirmed=winner is not None and winner.confirmed is not None,
            speeds=() if winner is None else self.speeds(winner),
        )

    def view(self) -> SearchView:
        return SearchView(self.nodes, self.options.margin, self.exhausted)

    def explore(self, began: float) -> StopReason:
        """Derive candidates until there is a reason to stop."""
        while True:
            view = self.view()
            reason = reason_to_stop(view, self.options, self.clock() - began)
            if reason is not None:
                return reason
            parent = self.policy.select(view)
            if parent is None:
                return StopReason.NOTHING_LEFT
            source = self.store.candidate(parent)
            step = len(self.nodes)
            # The choice depends on seed and step alone, so a resumed search proposes what the whole one would have.
            randomness = random.Random(f"{self.options.seed}:{step}")
            mutation = self.synthesizer.propose(source, self.tried, view.setbacks, randomness)
            if mutation is None:
                self.exhausted |= {parent.node_id}
                continue
            name = PurePath(self.nodes[0].name)
            candidate = Candidate(
                language=source.language, source=mutation.source, name=f"{name.stem}-{step}{name.suffix}"
            )
            self.keep(candidate, parent.node_id, mutation.description)

    def keep(self, candidate: Candidate, parent_id: str | None, mutation: str) -> None:
        """Judge a candidate, store it, tell about it."""
        began = self.clock()
        verdict = self.ask(
            JudgeRequest(
                task=self.search.task,
                candidate=candidate,
                platforms=(self.search.platform,),
                trials=self.options.trials,
                timed_calls=self.options.timed_calls,
                baselines=(self.options.baseline,),
                limit_s=self.options.limit_s,
                timing_budget_s=self.options.timing_budget_s,
            )
        )
        seconds = self.clock() - began
        previous = self.view().best
        node = self.store.add_node(self.search.search_id, candidate, verdict, parent_id, mutation, seconds)
        self.nodes.append(node)
        self.tried.add(node.source_hash)
        best = self.view().best
        self.tell(NodeJudged(search_id=self.search.search_id, node=node, best=best, evaluations=len(self.nodes)))
        if best is node:
            self.tell(BestImproved(search_id=self.search.search_id, node=node, previous=previous))

    def ask(self, request: JudgeRequest) -> Verdict:
        def progress(stage: str, fraction: float) -> None:
            self.tell(
                JudgeProgress(
                    search_id=self.search.search_id, candidate=request.candidate.name, stage=stage, fraction=fraction
                )
            )

        return self.judge.judge(request, progress)

    def confirm_winner(self) -> Node | None:
        """The best node that a second, fuller verdict finds correct.

        A failure of the judge itself refutes nothing: the node is then returned without a confirmation.
        """
        confirmed = 0
        while (best := leader(self.nodes, self.options.margin)) is not None and best.confirmed is None:
            if confirmed == _MOST_CONFIRMED:
                return leader([node for node in self.nodes if node.confirmed is not None], self.options.margin)
            verdict = self.ask(
                JudgeRequest(
                    task=self.search.task,
                    candidate=self.store.candidate(best),
                    platforms=(self.search.platform,),
                    trials=self.options.confirm_trials,
                    timed_calls=self.options.confirm_timed_calls,
                    baselines=tuple(dict.fromkeys((self.options.baseline, *_CONFIRM_AGAINST))),
                    limit_s=self.options.limit_s,
                    timing_budget_s=self.options.confirm_timing_budget_s,
                )
            )
            entry = verdict.of(self.search.platform)
            fitness = fitness_of(verdict, self.search.platform, self.options.baseline)
            if entry.status is Status.HARNESS_ERROR or (entry.status is Status.CORRECT and not fitness.speedup):
                return best
            node = self.store.confirm(best.node_id, verdict)
            self.nodes[node.step] = node
            if node.refuted:
                summary = entry.diagnosis.summary if entry.diagnosis else entry.status.value
                self.tell(NodeRefuted(search_id=self.search.search_id, node=node, summary=summary))
            else:
                confirmed += 1
                self.tell(NodeConfirmed(search_id=self.search.search_id, node=node))
        return best

    def speeds(self, winner: Node) -> tuple[SpeedSummary, ...]:
        verdict = self.store.confirmation(winner) or self.store.verdict(winner)
        return verdict.of(self.search.platform).speeds
