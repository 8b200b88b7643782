"""The loop for authors that work for the server: take an order, have it served, until there is a reason to stop."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.engine import CanJudge, Engine, start
from kernelevolve.search.errors import SearchError
from kernelevolve.search.events import Event, SearchStarted, Stopped
from kernelevolve.search.memory import Advise
from kernelevolve.search.node import SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import OrderState
from kernelevolve.search.store import Store
from kernelevolve.search.summary import SearchSummary
from kernelevolve.search.synthesizers import Synthesizer, SynthesizerError
from kernelevolve.search.synthesizers.mutator import Mutator

_POLL_S = 0.05


def drive(
    engine: Engine,
    synthesizer: Synthesizer,
    until: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> StopReason | None:
    """Work on a search until there is a reason to stop, or until told to pause.

    Args:
        engine: the search.
        synthesizer: writes the candidates.
        until: asked before each step; true pauses.
        sleep: waits for what other processes have under way.

    Returns:
        Why the search should end; None after a pause.
    """
    try:
        return _drive(engine, synthesizer, until, sleep)
    except SynthesizerError:
        return StopReason.AUTHOR_FAILED
    except SearchError:
        # Another process ended the search while this one had a candidate under way.
        search = engine.store.search(engine.search_id)
        if search.state is not SearchState.FINISHED:
            raise
        return search.reason


def _drive(
    engine: Engine, synthesizer: Synthesizer, until: Callable[[], bool], sleep: Callable[[float], None]
) -> StopReason | None:
    while not until():
        if engine.judge_starting_points() and engine.store.search(engine.search_id).leader_id is None:
            sleep(_POLL_S)
            continue
        outcome = engine.step(synthesizer)
        if isinstance(outcome, StopReason):
            return outcome
        if outcome is None:
            reason = engine.reason_to_stop()
            if reason is not None:
                return reason
            sleep(_POLL_S)
    return None


def optimize(
    task: str,
    platform: str,
    starting_points: Sequence[Candidate],
    judge: CanJudge,
    store: Store,
    options: OptimizeOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
    *,
    policy: str = "greedy",
    synthesizer: Synthesizer | None = None,
    brief: str = "",
    advise: Advise | None = None,
) -> SearchSummary:
    """Search for a faster candidate.

    The lead changes hands only by `fitness.improves`: a candidate that is faster within the noise of its measurement
    does not replace the best. Before a winner is named it is judged once more, with full samples and against both
    baselines; if it is then not correct it is refuted and the next best is tried, and if it falls back behind another
    node, that one is confirmed too. An interruption leaves the search in the store, to be resumed.

    Args:
        task: path of the task, or `aten::<operator>`.
        platform: platform name.
        starting_points: candidates to begin with; one must be correct for the mutator to get anywhere.
        judge: decides what is correct and how fast it is.
        store: keeps every node.
        options: budget, goal and rigour.
        on_event: told what happens while it happens.
        policy: chooses the parents of the next candidate.
        synthesizer: writes the next candidate; the mutator if not given.
        brief: what an author must know of the task.
        advise: the knowledge base, for authors that read prompts.

    Raises:
        SearchError: there is no starting point, or the task changes while the search runs.
        KernelEvolveError: the judge cannot serve requests at all, e.g. the task cannot be read.
    """
    author = synthesizer or Mutator()
    search_id = start(store, task, platform, starting_points, options, policy, author.name, brief)
    return _run(store, search_id, judge, author, on_event, resumed=False, advise=advise)


def resume(
    search_id: str,
    judge: CanJudge,
    store: Store,
    options: OptimizeOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
    *,
    synthesizer: Synthesizer | None = None,
    advise: Advise | None = None,
) -> SearchSummary:
    """Go on with a search that was interrupted, or that ended.

    Args:
        search_id: the search.
        judge: see `optimize`.
        store: see `optimize`.
        options: replaces those the search began with, e.g. with a larger budget; the baseline must stay.
        on_event: see `optimize`.
        synthesizer: see `optimize`.
        advise: see `optimize`.

    Raises:
        SearchError: there is no such search, or its baseline or task changed.
    """
    before = store.search(search_id).options.baseline
    if options is not None and options.baseline != before:
        raise SearchError(
            f"Search {search_id} measures against {before!r}.", "Keep the baseline, or start a new search."
        )
    store.reopen(search_id, options)
    for order in store.orders(search_id, (OrderState.OPEN,)):
        if _is_gone(order.holder):
            store.give_back(order.order_id)
    return _run(store, search_id, judge, synthesizer or Mutator(), on_event, resumed=True, advise=advise)


def holder_name(synthesizer: Synthesizer) -> str:
    """Name under which this process takes orders: it tells whether the process is still there."""
    return f"{synthesizer.name}@{socket.gethostname()}:{os.getpid()}"


def _is_gone(holder: str) -> bool:
    """Whether an order is held by a process of this machine that is not there any more."""
    name, _at, place = holder.partition("@")
    host, _colon, pid = place.rpartition(":")
    return bool(name) and host == socket.gethostname() and not Path(f"/proc/{pid}").exists()


def _run(
    store: Store,
    search_id: str,
    judge: CanJudge,
    synthesizer: Synthesizer,
    on_event: Callable[[Event], None] | None,
    resumed: bool,
    advise: Advise | None,
) -> SearchSummary:
    engine = Engine(store, search_id, judge, holder_name(synthesizer), on_event, advise)
    tell = on_event or (lambda event: None)
    tell(SearchStarted(search_id=engine.search_id, resumed=resumed))
    reason = drive(engine, synthesizer)
    assert reason is not None
    summary = engine.finish(reason)
    tell(Stopped(search_id=engine.search_id, reason=reason, winner=summary.winner))
    return summary
