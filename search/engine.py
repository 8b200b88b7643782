"""The engine: orders out, candidates in, each judged, kept and answered.

Any number of processes may work on one search. What they share is the store: an order is a lease, a node insert is the
checkpoint, and a process that dies loses at most the order it held.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Protocol

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import SpeedSummary, Verdict
from kernelevolve.search import memory, novelty
from kernelevolve.search.errors import DuplicateError, SearchError
from kernelevolve.search.events import (
    BestImproved,
    Event,
    JudgeProgress,
    NodeConfirmed,
    NodeJudged,
    NodeRefuted,
    OrderFailed,
)
from kernelevolve.search.fitness import fitness_of
from kernelevolve.search.node import Node, SearchRecord, SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import MemoryMode, Order, Phase
from kernelevolve.search.policies import Choice, Policy, get_policy
from kernelevolve.search.prompt import Prompt
from kernelevolve.search.stop import reason_to_stop
from kernelevolve.search.store import Store
from kernelevolve.search.summary import SearchSummary
from kernelevolve.search.synthesizers import Assignment, Cost, Proposal, Synthesizer, SynthesizerError
from kernelevolve.search.view import Brief, SearchView

_MOST_CONFIRMED = 3
"""Nodes that are confirmed at most because the one confirmed before fell back behind them; refuted ones not counted."""
_DRAFTS = 4
_MORE_S = 120.0
"""Time for judging one candidate past the judge's own limits: waiting for a device, compiling."""
_MOST_STARTS = 64
"""Starting points that drafts look at."""
_RECENT = 64
"""Parents kept in memory."""
READS_PROMPTS = frozenset({"assistant", "endpoint"})
"""Synthesizers that act on what a prompt says."""


class CanJudge(Protocol):
    """What the engine needs of a judge."""

    def judge(self, request: JudgeRequest, progress: Callable[[str, float], None] | None = None) -> Verdict:
        """Judge one candidate."""
        ...


def _judging_s(options: OptimizeOptions) -> float:
    """How long an order is held while its candidate is judged."""
    return max(options.lease_s, 2 * options.limit_s + options.timing_budget_s + _MORE_S)


class TooAlikeError(SearchError):
    """A source differs too little from one that was judged; its order stays open."""


class Engine:
    """One search, as one process works on it.

    Args:
        store: where the search lives.
        search_id: the search.
        judge: decides what is correct and how fast it is.
        holder: name under which this process takes orders.
        on_event: told what happens while it happens.
        advise: the knowledge base, for authors that read prompts.

    Raises:
        SearchError: there is no such search, or its policy is unknown here.
    """

    def __init__(
        self,
        store: Store,
        search_id: str,
        judge: CanJudge,
        holder: str = "",
        on_event: Callable[[Event], None] | None = None,
        advise: memory.Advise | None = None,
    ) -> None:
        search = self._search = store.search(search_id)
        self.store = store
        self.search_id = search_id
        self.judge = judge
        self.holder = holder
        self.policy: Policy = get_policy(search.policy, search.options.policy_parameters)
        self.reads_prompt = search.synthesizer in READS_PROMPTS
        self._tell = on_event or (lambda event: None)
        self._advise = advise
        self._seed = search.options.seed
        self._started = False
        self._leader: tuple[float, Node] | None = None
        self._recent: OrderedDict[str, tuple[Node, Candidate]] = OrderedDict()
        self._start_size: int | None = None

    # -- orders -------------------------------------------------------------------------------------------------------

    def judge_starting_points(self) -> int:
        """Judge the starting points that nobody judges yet.

        Returns:
            How many are still under way elsewhere.
        """
        if self._started:
            return 0
        options = self.store.search(self.search_id).options
        while (claimed := self.store.claim_start(self.search_id, self.holder, _judging_s(options))) is not None:
            order, candidate = claimed
            try:
                self.submit(order, candidate)
            except DuplicateError:
                continue  # The same starting point, given twice.
            except BaseException:
                self.store.give_back(order.order_id)
                raise
        left = self.store.starting_points_left(self.search_id)
        self._started = not left
        return left

    def reason_to_stop(self) -> StopReason | None:
        """Why the search should end now, its starting points judged; None if it should go on."""
        return self._reason(self.store.search(self.search_id))

    def _reason(self, search: SearchRecord) -> StopReason | None:
        self._search = search
        if search.state is SearchState.FINISHED:
            return search.reason
        leader = self._leading(search)
        starts: list[Status] = []
        if leader is None:
            orders = [order for order in self.store.orders(self.search_id) if order.phase is Phase.START]
            starts = [self.store.node(order.node_id).status for order in orders if order.node_id]
        elapsed_s = self.store.clock() - search.resumed_at
        return reason_to_stop(search, leader, elapsed_s, starts, self.reads_prompt)

    def _leading(self, search: SearchRecord) -> Node | None:
        """The leading node. A confirmation changes its score and not its name."""
        if search.leader_id is None:
            return None
        if (
            self._leader is None
            or self._leader != (search.leader_score, self._leader[1])
            or (self._leader[1].node_id != search.leader_id)
        ):
            self._leader = (search.leader_score, self.store.node(search.leader_id))
        return self._leader[1]

    def next_order(self) -> Order | None:
        """Take an order, or None where there is nothing to build on."""
        lease_s = self._search.options.lease_s
        return self.store.issue(self.search_id, self._choose, self.holder, lease_s, self.policy.along_path)

    def _order_or_reason(self) -> Order | StopReason | None:
        """`next_order`, unless there is a reason to stop: both asked in one transaction."""
        reason: StopReason | None = None

        def choose(view: SearchView, number: int) -> tuple[Phase, Choice] | None:
            nonlocal reason
            reason = self._reason(view.search)
            if reason is not None:
                return None
            chosen = self._choose(view, number)
            # What others hold may yet bring something to build on.
            if chosen is None and not view.under_way:
                reason = StopReason.NOTHING_LEFT
            return chosen

        lease_s = self._search.options.lease_s
        order = self.store.issue(self.search_id, choose, self.holder, lease_s, self.policy.along_path)
        return reason if reason is not None else order

    def _choose(self, view: SearchView, number: int) -> tuple[Phase, Choice] | None:
        # The choice depends on seed and number alone, so a search that is resumed goes on as it would have.
        randomness = random.Random(f"{view.search.options.seed}:{number}:policy")
        if view.search.leader_id is None:
            return self._mend(view, number) if self.reads_prompt else None
        drafts = view.search.options.drafts
        drafts = (_DRAFTS if self.reads_prompt else 0) if drafts is None else drafts
        stalled = view.search.stalled
        stagnates = self.reads_prompt and stalled >= view.search.options.stagnation and number % 2 == 0
        points = view.starting_points() if stagnates or number < drafts + _MOST_STARTS else []
        started = number - view.search.starts
        if points and started < drafts:
            note = f"draft {started + 1} of {drafts}"
            return Phase.DRAFT, Choice((points[number % len(points)],), MemoryMode.CLEAN_SLATE, note=note)
        if points and stagnates:
            point = points[number // 2 % len(points)]
            note = f"{stalled} candidates without a gain"
            return Phase.EXPAND, Choice((point,), MemoryMode.CLEAN_SLATE, note=note)
        choice_made = self.policy.select(view, number, randomness)
        return None if choice_made is None else (Phase.EXPAND, choice_made)

    @staticmethod
    def _mend(view: SearchView, number: int) -> tuple[Phase, Choice]:
        """Nothing is correct yet: work on the latest attempt and on the first in turn, or begin from nothing."""
        if view.search.step < 0:
            return Phase.DRAFT, Choice((), MemoryMode.CLEAN_SLATE, note="nothing to start from")
        step = view.search.step if number % 2 else 0
        parent: Brief = view.node(f"{view.search.search_id}.{step}")
        return Phase.EXPAND, Choice((parent,), MemoryMode.BOTH, note="nothing is correct yet")

    def extend(self, order_id: str) -> Order:
        """Let the lease of an order begin anew: its author still works on it.

        Raises:
            SearchError: it is not open any more, or belongs to another search.
        """
        if self.store.order(order_id).search_id != self.search_id:
            raise SearchError(f"Order {order_id} does not belong to search {self.search_id}.", "Extend it there.")
        return self.store.heartbeat(order_id, self._search.options.lease_s)

    def prompt(self, order: Order, budget_tokens: int | None = None) -> Prompt:
        """What the author of an order should read."""
        return memory.compose(self.store, self.store.search(self.search_id), order, budget_tokens, self._advise)

    # -- candidates ---------------------------------------------------------------------------------------------------

    def submit(self, order: Order, candidate: Candidate, description: str = "", cost: Cost | None = None) -> Node:
        """Judge what was written for an order, and keep it. When this returns, it is not lost any more.

        Raises:
            DuplicateError: the search has this source; the order is closed.
            TooAlikeError: it differs too little from one that was judged; the order stays open.
            SearchError: the order cannot take a candidate.
            KernelEvolveError: the judge cannot serve requests at all, e.g. the task cannot be read.
        """
        # As it was when this step began: of what may have changed since, only the store's own word counts.
        search = self._search
        if not candidate.source.strip():
            raise SearchError("The source is empty.", "Hand in the whole source of the candidate.")
        options = search.options
        self.store.reserve(order.order_id, self.search_id, candidate.source_hash, _judging_s(options), cost)
        began = time.monotonic()
        request = JudgeRequest(
            task=search.task,
            candidate=candidate,
            platforms=(search.platform,),
            trials=options.trials,
            timed_calls=options.timed_calls,
            baselines=(options.baseline,),
            limit_s=options.limit_s,
            timing_budget_s=options.timing_budget_s,
        )
        try:
            vector = self._compare(order, candidate)
            verdict = self._ask(request)
        except BaseException:
            self.store.release(order.order_id)
            raise
        kept = self.store.add_node(
            self.search_id,
            candidate,
            verdict,
            order.parents,
            description,
            time.monotonic() - began,
            order_id=order.order_id,
            author=order.holder,
            cost=cost,
            place=lambda entry: self.policy.cell(entry, self._size(candidate)),
            embedding=vector,
            counts_rewards=self.policy.along_path,
        )
        previous = self._leading(kept.search)
        best = kept.node if kept.leads else previous
        evaluations = kept.node.step + 1
        self._tell(NodeJudged(search_id=self.search_id, node=kept.node, best=best, evaluations=evaluations))
        if kept.leads:
            self._tell(BestImproved(search_id=self.search_id, node=kept.node, previous=previous))
        return kept.node

    def _compare(self, order: Order, candidate: Candidate) -> bytes | None:
        """The candidate's embedding, where the policy wants one; raises where it is too near to another's."""
        # Rules never only reword, and would propose the same again.
        if not self.policy.least_novelty or not self.reads_prompt:
            return None
        vector = novelty.embedding(candidate.source, candidate.language)
        near = novelty.nearest(vector, self.store.embeddings(self.search_id, order.island))
        if near is not None and near[1] < self.policy.least_novelty and order.phase is not Phase.START:
            raise TooAlikeError(
                f"This source is almost that of node {near[0]} (1 - cosine = {near[1]:.2g}).",
                "Change more than comments or names; the order is still open.",
            )
        return vector

    def _size(self, candidate: Candidate) -> float:
        """Length of a source over that of the first starting point's; 1 for that itself."""
        if self._start_size is None:
            if self.store.search(self.search_id).step < 0:
                return 1.0
            self._start_size = len(self._of(f"{self.search_id}.0")[1].source)
        return len(candidate.source) / self._start_size

    def _of(self, node_id: str) -> tuple[Node, Candidate]:
        """A node and its candidate, which never change in what is asked of them here."""
        if node_id not in self._recent:
            self._recent[node_id] = self.store.parent(node_id)
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        self._recent.move_to_end(node_id)
        return self._recent[node_id]

    def _ask(self, request: JudgeRequest) -> Verdict:
        def progress(stage: str, fraction: float) -> None:
            name = request.candidate.name
            self._tell(JudgeProgress(search_id=self.search_id, candidate=name, stage=stage, fraction=fraction))

        return self.judge.judge(request, progress)

    # -- an author that works for the server --------------------------------------------------------------------------

    def step(self, synthesizer: Synthesizer) -> Node | Order | StopReason | None:
        """Have one candidate written and judged.

        Returns:
            The new node; the order, if it led to none; a reason to stop; None where it depends on what others have
            under way: they may use up the budget, or bring something to build on.

        Raises:
            SynthesizerError: the author can't go on at all.
        """
        order = self._order_or_reason()
        if not isinstance(order, Order):
            return order
        try:
            return self._serve(order, synthesizer)
        except BaseException:
            # Whatever interrupted it, the order is as good as before: who goes on with the search gets it again.
            self.store.give_back(order.order_id)
            raise

    def _serve(self, order: Order, synthesizer: Synthesizer) -> Node | Order:
        # A model takes minutes to answer, and no transaction should last that long.
        scope = contextlib.nullcontext() if synthesizer.reads_prompt else self.store.snapshot()
        try:
            with scope:
                assignment = self._assignment(order)
                proposal = synthesizer.propose(assignment)
        except SynthesizerError as error:
            failed = self.store.fail(order.order_id, str(error), error.cost)
            self._tell(OrderFailed(search_id=self.search_id, order=failed))
            if error.fatal:
                raise
            return failed
        if proposal is not None and not proposal.source.strip():
            return self.store.fail(order.order_id, "its author answered with an empty source", proposal.cost)
        if proposal is None:
            if order.parents:
                self.store.exhaust(order.parents[0])
            return self.store.fail(order.order_id, "nothing is left to try from its parent", exhausted=True)
        if synthesizer.reads_prompt:
            self.store.keep_prompt(order.order_id, assignment.prompt.text)
        candidate = self._named(proposal, assignment, order)
        try:
            return self.submit(order, candidate, proposal.description, proposal.cost)
        except DuplicateError:
            return self.store.order(order.order_id)
        except TooAlikeError as error:
            return self.store.fail(order.order_id, str(error), proposal.cost)

    def _assignment(self, order: Order) -> Assignment:
        parents = [self._of(node_id) for node_id in order.parents]
        several = len(parents) > 1
        return Assignment(
            order=order,
            parents=tuple(candidate for _node, candidate in parents),
            lines=tuple(
                tuple(node.mutation for node in (parent, *self.store.ancestors(parent.node_id))) if several else ()
                for parent, _candidate in parents
            ),
            has_source=lambda source_hash: self.store.has_source(self.search_id, source_hash),
            setbacks=lambda mutations: self.store.setbacks(self.search_id, mutations),
            randomness=random.Random(f"{self._seed}:{order.number}"),
            compose=lambda: memory.compose(self.store, self._search, order, advise=self._advise),
        )

    @staticmethod
    def _named(proposal: Proposal, assignment: Assignment, order: Order) -> Candidate:
        parent = assignment.parents[0] if assignment.parents else None
        path = PurePath(parent.name if parent is not None else "candidate")
        stem = path.stem.split("-o")[0]
        language = proposal.language or (parent.language if parent is not None else "triton")
        return Candidate(language=language, source=proposal.source, name=f"{stem}-o{order.number}{path.suffix}")

    # -- the end ------------------------------------------------------------------------------------------------------

    def confirm_winner(self) -> Node | None:
        """The best node that a second, fuller verdict finds correct.

        A failure of the judge itself refutes nothing: the node is then returned without a confirmation.
        """
        search = self.store.search(self.search_id)
        options = search.options
        confirmed: list[Node] = []
        while (best := self.store.leader(self.search_id)) is not None and best.confirmed is None:
            if len(confirmed) == _MOST_CONFIRMED:
                return max(confirmed, key=lambda node: node.score.speedup)
            verdict = self._ask(
                JudgeRequest(
                    task=search.task,
                    candidate=self.store.candidate(best),
                    platforms=(search.platform,),
                    trials=options.confirm_trials,
                    timed_calls=options.confirm_timed_calls,
                    baselines=tuple(dict.fromkeys((options.baseline, *options.confirm_baselines))),
                    limit_s=options.limit_s,
                    timing_budget_s=options.confirm_timing_budget_s,
                    audit=True,
                )
            )
            entry = verdict.of(search.platform)
            fitness = fitness_of(verdict, search.platform, options.baseline)
            if entry.status is Status.HARNESS_ERROR or (entry.status is Status.CORRECT and not fitness.speedup):
                return best
            node = self.store.confirm(best.node_id, verdict)
            if node.refuted:
                audited = f"the audit did not confirm it: {entry.audit.reason}" if entry.audit else entry.status.value
                summary = entry.diagnosis.summary if entry.diagnosis else audited
                self._tell(NodeRefuted(search_id=self.search_id, node=node, summary=summary))
            else:
                confirmed.append(node)
                self._tell(NodeConfirmed(search_id=self.search_id, node=node, audit=entry.audit))
        return best

    def finish(self, reason: StopReason) -> SearchSummary:
        """Confirm the winner and end the search."""
        self.store.finish(self.search_id, reason, self.confirm_winner())
        return summarize(self.store, self.search_id)


def summarize(store: Store, search_id: str) -> SearchSummary:
    """How a search stands, or how it went."""
    search = store.search(search_id)
    winner = store.leader(search_id)
    speeds: tuple[SpeedSummary, ...] = ()
    if winner is not None:
        speeds = (store.confirmation(winner) or store.verdict(winner)).of(search.platform).speeds
    return SearchSummary(
        search_id=search_id,
        task=search.task,
        platform=search.platform,
        policy=search.policy,
        synthesizer=search.synthesizer,
        baseline=search.options.baseline,
        reason=search.reason,
        evaluations=search.step + 1,
        elapsed_s=max(0.0, store.clock() - search.resumed_at),
        cost=Cost(input_tokens=search.input_tokens, output_tokens=search.output_tokens, usd=search.usd),
        start=store.node(f"{search_id}.0") if search.step >= 0 else None,
        winner=winner,
        confirmed=winner is not None and winner.confirmed is not None,
        speeds=speeds,
    )


def start(
    store: Store,
    task: str,
    platform: str,
    starting_points: Sequence[Candidate],
    options: OptimizeOptions | None = None,
    policy: str = "greedy",
    synthesizer: str = "mutator",
    brief: str = "",
    owner: str = "",
    shared: bool = False,
) -> str:
    """Begin a search: nothing is judged yet.

    Args:
        store: keeps it.
        task: path of the task, or `aten::<operator>`.
        platform: platform name.
        starting_points: candidates to begin with; the mutator needs one that is correct.
        options: budget, goal and rigour.
        policy: name of the selection policy.
        synthesizer: name of the synthesizer.
        brief: what an author must know of the task.
        owner: whom it belongs to; empty for whoever runs the server.
        shared: whether other callers may see it and work on it.

    Returns:
        The search's handle.

    Raises:
        SearchError: there is no such policy, a parameter is out of range, or there is nothing to start from.
    """
    options = options or OptimizeOptions()
    get_policy(policy, options.policy_parameters)
    if not starting_points and synthesizer not in READS_PROMPTS:
        raise SearchError("There is nothing to start from.", "Give at least one starting point.")
    return store.create_search(task, platform, starting_points, options, policy, synthesizer, brief, owner, shared)
