"""`start_search`, `run_search_step` and `get_search`: a search that an assistant drives, alone or with others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from kernelevolve.evaluation.candidate import SUFFIXES, Candidate
from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.client import Judge, Progress
from kernelevolve.evaluation.language import get_language
from kernelevolve.evaluation.platform import get_platform
from kernelevolve.evaluation.task import Task
from kernelevolve.search import driver, engine
from kernelevolve.search.brief import brief_of
from kernelevolve.search.engine import Engine, TooAlikeError, summarize
from kernelevolve.search.errors import DuplicateError, SearchError
from kernelevolve.search.events import Event, JudgeProgress, NodeJudged
from kernelevolve.search.memory import Advise, compose, verdict_lines, what_changed
from kernelevolve.search.node import Node, SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import Order, OrderState
from kernelevolve.search.prompt import CHARACTERS_PER_TOKEN, fenced, shorten
from kernelevolve.search.store import Store
from kernelevolve.search.summary import SearchSummary
from kernelevolve.search.synthesizers import Synthesizer
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT, resolve_task
from kernelevolve.tools.judges import Cancellation, JudgePool
from kernelevolve.tools.search_answers import Answer, GivenOrder, SearchReport, SearchStep, Submission, TreeNode

_TREE = 60
"""Nodes in a tree's text."""
_FRAME = 200
"""Characters around a source: its fences, which are longer than the longest row of backticks in it, and a gap."""
_LISTED = 500
"""Nodes in a structured answer."""


def describe(judge: Judge, task: str) -> Task:
    """The description of a task, by the judge."""
    return Task.model_validate(judge.describe_task(task))


def default_language(platform: str) -> str:
    """The language searches use on a platform when nobody says which: C++ on a processor, Triton elsewhere."""
    return "cpp" if platform.split(":")[0] == "cpu" else "triton"


def start_search(
    pool: JudgePool,
    store: Store,
    task: str,
    platform: str,
    policy: str,
    synthesizer: str,
    options: OptimizeOptions,
    source: str | None = None,
    language: str | None = None,
    agent: str = "",
    orders: int = 1,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
    advise: Advise | None = None,
    owner: str = "",
    shared: bool = False,
) -> tuple[SearchStep, str]:
    """Begin a search, judge its starting point, and hand out the first orders.

    Args:
        pool: where judges come from.
        store: where the search will live.
        task: path on the server's machine, `aten::<operator>`, or the text of a task file.
        platform: platform name.
        policy: name of the selection policy.
        synthesizer: `assistant` (the caller writes the candidates), `mutator` or `endpoint`.
        options: budget, goal and rigour.
        source: a candidate to start from; the task's own if not given.
        language: its language.
        agent: who asks.
        orders: how many orders the caller wants.
        progress: told what is being done.
        cancellation: lets another thread end the call.
        advise: the knowledge base, for the prompts.
        owner: whom the search belongs to; empty for whoever runs the server.
        shared: whether other callers may work on it too.

    Returns:
        The step, and its text for a model.

    Raises:
        KernelEvolveError: the task or the platform is at fault.
        SearchError: policy or options are.
    """
    get_platform(platform)
    path = resolve_task(task, pool)
    with pool.lend(cancellation) as judge:
        described = describe(judge, path)
        language = language or default_language(platform)
        if not get_language(language).is_authored:
            raise SearchError(
                f"A search can't start from {language!r}.", "Hand in one of its kernels, in the kernel's language."
            )
        if source is not None:
            points = [Candidate(language=language, source=source, name="start")]
        else:
            points = starting_points(described, language)
        if not points and synthesizer == "mutator":
            raise TaskError(
                Finding.TASK_UNREADABLE,
                f"The task names no {language} candidate to start from, and the mutator only varies what is there.",
                "Hand one in as `source`, or let synthesizer be `assistant`.",
            )
        search_id = engine.start(
            store, path, platform, points, options, policy, synthesizer, brief_of(described), owner, shared
        )
        working = Engine(store, search_id, judge, agent, _told(progress), advise)
        working.judge_starting_points()
        step = _hand_out(working, (), orders)
    return step, step_text(store, step, first=True, advise=advise)


def starting_points(task: Task, language: str) -> list[Candidate]:
    """The first candidate that a task names in a language, if there is one."""
    fitting = [path for path in task.starting_points if SUFFIXES.get(path.suffix) == language]
    return [Candidate.from_file(path) for path in fitting[:1]]


def run_search_step(
    pool: JudgePool,
    store: Store,
    search_id: str,
    submissions: Sequence[Submission],
    orders: int,
    agent: str,
    seconds: float,
    extend: Sequence[str],
    author: Callable[[str], Synthesizer],
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
    advise: Advise | None = None,
) -> tuple[SearchStep, str]:
    """Judge what was written and hand out the next orders; for a search that writes by itself, go on for a while.

    Args:
        pool: where judges come from.
        store: where the search lives.
        search_id: the search.
        submissions: candidates for open orders.
        orders: how many orders the caller wants next.
        agent: who asks.
        seconds: how long a search that writes by itself may work before it answers.
        extend: orders that the caller still works on: their leases begin anew.
        author: gives the synthesizer of such a search by its name.
        progress: told what is being done.
        cancellation: lets another thread end the call.
        advise: the knowledge base, for the prompts.

    Returns:
        The step, and its text for a model.

    Raises:
        SearchError: there is no such search.
        KernelEvolveError: the judge cannot serve at all.
    """
    search = store.search(search_id)
    with pool.lend(cancellation) as judge:
        working = Engine(store, search_id, judge, agent, _told(progress), advise)
        for order_id in extend:
            working.extend(order_id)
        answers = tuple(_take(working, submission) for submission in submissions)
        if search.synthesizer != "assistant" and search.state is not SearchState.FINISHED:
            synthesizer = author(search.synthesizer)
            working.holder = driver.holder_name(synthesizer)
            ends = time.monotonic() + seconds
            reason = driver.drive(working, synthesizer, until=lambda: time.monotonic() >= ends)
            if reason is not None:
                working.finish(reason)
            step = SearchStep(summary=summarize(store, search_id), answers=answers)
        else:
            working.judge_starting_points()
            step = _hand_out(working, answers, orders)
    return step, step_text(store, step, advise=advise)


def stop_search(pool: JudgePool, store: Store, search_id: str) -> SearchSummary:
    """End a search now: its winner is confirmed, orders that are open come to nothing."""
    if store.search(search_id).state is SearchState.FINISHED:
        return summarize(store, search_id)
    with pool.lend() as judge:
        return Engine(store, search_id, judge).finish(StopReason.STOPPED)


def _told(progress: Progress | None) -> Callable[[Event], None] | None:
    if progress is None:
        return None

    def tell(event: Event) -> None:
        if isinstance(event, JudgeProgress):
            progress(f"{event.candidate}: {event.stage}", event.fraction)
        elif isinstance(event, NodeJudged):
            best = f", best {event.best.score.speedup:.3f}x" if event.best is not None else ""
            progress(f"{event.evaluations} candidates judged{best}", 1.0)

    return tell


def _take(working: Engine, submission: Submission) -> Answer:
    """Judge one submission. Whatever is wrong with it is an answer, so that the others are judged too."""
    store = working.store
    try:
        order = store.order(submission.order_id)
        if order.search_id != working.search_id:
            raise SearchError(
                f"Order {order.order_id} belongs to search {order.search_id}, not to {working.search_id}.",
                "Hand it in there.",
            )
        late = " It came after its lease had run out, and was taken all the same." * (order.state is OrderState.EXPIRED)
        language = submission.language
        if language is None:
            parents = [store.node(node_id) for node_id in order.parents[:1]]
            language = parents[0].language if parents else default_language(store.search(working.search_id).platform)
        suffix = next((suffix for suffix, name in SUFFIXES.items() if name == language), None)
        if suffix is None:
            known = ", ".join(sorted(set(SUFFIXES.values())))
            raise SearchError(f"There is no language {language!r}.", f"Use one of {known}; the order is still open.")
        candidate = Candidate(language=language, source=submission.source, name=f"o{order.number}{suffix}")
        node = working.submit(order, candidate, submission.description)
    except DuplicateError as error:
        return Answer(order_id=submission.order_id, accepted=False, node_id=error.node_id, text=str(error))
    except (SearchError, TooAlikeError) as error:
        return Answer(order_id=submission.order_id, accepted=False, text=str(error))
    except ValidationError as error:
        what = error.errors()[0]["msg"]
        text = f"This is not a candidate: {what}. The order is still open."
        return Answer(order_id=submission.order_id, accepted=False, text=text)
    entry = store.verdict(node).of(store.search(working.search_id).platform)
    leader = store.leader(working.search_id)
    return Answer(
        order_id=submission.order_id,
        accepted=True,
        node_id=node.node_id,
        status=node.status,
        speedup=node.score.speedup if node.viable else None,
        leads=leader is not None and leader.node_id == node.node_id,
        text=verdict_lines(entry) + late,
    )


def _hand_out(working: Engine, answers: tuple[Answer, ...], count: int) -> SearchStep:
    store, search_id = working.store, working.search_id
    given: list[GivenOrder] = []
    waiting = ""
    reason = working.reason_to_stop()
    if reason is not None:
        if store.search(search_id).state is not SearchState.FINISHED:
            working.finish(reason)
    elif store.search(search_id).synthesizer == "assistant":
        for _ in range(count):
            order = working.next_order()
            if order is None:
                waiting = "" if given else "others hold the orders that are left: ask again later"
                break
            given.append(GivenOrder(order=order, prompt_uri=f"search://{search_id}/orders/{order.number}"))
    else:
        waiting = "this search writes its candidates itself: call run_search_step to let it work"
    return SearchStep(summary=summarize(store, search_id), answers=answers, orders=tuple(given), waiting=waiting)


# -- looking ----------------------------------------------------------------------------------------------------------


def get_search(
    store: Store,
    search_id: str,
    view: str = "summary",
    step: int | None = None,
    number: int | None = None,
    after: int = 0,
    advise: Advise | None = None,
) -> tuple[SearchReport, str]:
    """Look at a search.

    Args:
        store: where it lives.
        search_id: the search.
        view: `summary`, `best`, `tree`, `node`, `order` or `events`.
        step: for `node`.
        number: for `order`.
        after: for `events`: number of the last event that is known.

    Returns:
        The report, and its text for a model.

    Raises:
        SearchError: there is no such search, node or order.
    """
    summary = summarize(store, search_id)
    if view == "best" or view == "node":
        node = (
            store.leader(search_id) if view == "best" else store.node(f"{search_id}.{step if step is not None else 0}")
        )
        if node is None:
            return SearchReport(summary=summary), shorten(
                summary_text(summary) + "\nNothing is correct yet.", TEXT_LIMIT
            )
        source = store.candidate(node).source
        entry = (store.confirmation(node) or store.verdict(node)).of(summary.platform)
        parents = ", ".join(parent.rpartition(".")[2] for parent in node.parents) or "none"
        head = shorten(
            f"step {node.step} of {search_id}, from {parents}: {what_changed(node)}\n{verdict_lines(entry)}",
            TEXT_LIMIT // 2,
        )
        # Cut before it is fenced, so that the fences stay.
        room = TEXT_LIMIT - len(head) - _FRAME
        return SearchReport(summary=summary, node=node, source=source), f"{head}\n\n{fenced(shorten(source, room))}"
    if view == "tree":
        nodes, text = _tree(store, summary)
        return SearchReport(summary=summary, nodes=nodes), shorten(text, TEXT_LIMIT)
    if view == "order":
        order = store.order(f"{search_id}.o{number if number is not None else 0}")
        return SearchReport(summary=summary, order=order), prompt_text(store, order, TEXT_LIMIT, advise)
    if view == "events":
        events = store.events(search_id, after, 200)
        lines = [f"{event.number} step {event.step} {event.kind} {_words(event.detail)}" for event in events]
        return SearchReport(summary=summary, events=events), shorten("\n".join(lines) or "nothing new", TEXT_LIMIT)
    return SearchReport(summary=summary), shorten(summary_text(summary), TEXT_LIMIT)


def prompt_text(store: Store, order: Order, limit: int | None = None, advise: Advise | None = None) -> str:
    """The prompt of an order, in so many characters at most."""
    budget = None if limit is None else int(limit / CHARACTERS_PER_TOKEN)
    text = compose(store, store.search(order.search_id), order, budget, advise).text
    return text if limit is None else shorten(text, limit)


def _words(detail: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in detail.items())


def _tree(store: Store, summary: SearchSummary) -> tuple[tuple[TreeNode, ...], str]:
    """The best nodes and the lines they descend from: what one would look at first in a large search."""
    wanted: dict[str, Node] = {}
    for node in store.ranked(summary.search_id, _LISTED // 4):
        wanted[node.node_id] = node
        for above in store.ancestors(node.node_id):
            wanted[above.node_id] = above
        if len(wanted) >= _LISTED:
            break
    newest = store.newest(summary.search_id, _TREE // 3)
    wanted |= {node.node_id: node for node in newest}
    chosen = sorted(wanted.values(), key=lambda node: node.step)[:_LISTED]
    shown = {node.node_id for node in sorted(chosen, key=lambda node: (-node.score.speedup, node.step))[:_TREE]}
    shown |= {node.node_id for node in newest}
    children: dict[str, list[Node]] = {}
    for node in chosen:
        if node.node_id in shown:
            parent = node.parents[0] if node.parents and node.parents[0] in shown else ""
            children.setdefault(parent, []).append(node)
    lines = [f"{len(shown)} of {summary.evaluations} nodes: the best and the newest"]
    pending = [(node, 0) for node in reversed(children.get("", []))]
    while pending:
        node, depth = pending.pop()
        result = f"{node.score.speedup:.3f}x" if node.viable else node.status.value
        lines.append(f"{'  ' * min(depth, 20)}{node.step} {result} {what_changed(node)}"[:160])
        pending.extend((child, depth + 1) for child in reversed(children.get(node.node_id, [])))
    listed = tuple(
        TreeNode(
            step=node.step,
            parents=tuple(int(parent.rpartition(".")[2]) for parent in node.parents),
            status=node.status,
            speedup=node.score.speedup if node.viable else 0.0,
            mutation=node.mutation[:120],
        )
        for node in chosen
    )
    return listed, "\n".join(lines)


def summary_text(summary: SearchSummary) -> str:
    """A search in a few lines."""
    state = f"ended: {summary.reason.value}" if summary.reason else "running"
    lines = [
        f"search {summary.search_id}: {state}; {summary.evaluations} candidates judged in {summary.elapsed_s:.0f} s; "
        f"policy {summary.policy}, {summary.synthesizer}, {summary.platform}",
    ]
    if summary.winner is not None:
        how = "confirmed" if summary.confirmed else "not confirmed yet"
        share = summary.winner.roofline_share
        limit = f", {share:.0%} of the hardware's limit" if share else ""
        lines.append(
            f"best: step {summary.winner.step}, {summary.winner.score.speedup:.3f}x against {summary.baseline} ({how}"
            f"{limit})"
        )
        lines += [
            f"  against {speed.baseline}: {speed.speedup:.3f}x [{speed.low:.3f}, {speed.high:.3f}] {speed.speed.value}"
            for speed in summary.speeds
        ]
    if summary.cost.input_tokens or summary.cost.usd:
        cost = summary.cost
        lines.append(f"cost: {cost.input_tokens} tokens in, {cost.output_tokens} out, {cost.usd:.2f} USD")
    return "\n".join(lines)


def step_text(store: Store, step: SearchStep, first: bool = False, advise: Advise | None = None) -> str:
    """A step as text for a model, within `TEXT_LIMIT`: answers first, then the orders in the room that is left."""
    parts = [summary_text(step.summary)]
    room = TEXT_LIMIT // (3 if step.orders else 1)
    for answer in step.answers:
        head = "the best so far. " if answer.leads else ""
        text = shorten(f"{head}{answer.text}", max(400, room // len(step.answers)))
        parts.append(f"order {answer.order_id}: {'' if answer.accepted else 'not taken: '}{text}")
    if first and step.summary.start is not None and not step.summary.start.viable:
        entry = store.verdict(step.summary.start).of(step.summary.platform)
        parts.append(f"The starting point is not correct:\n{shorten(verdict_lines(entry), 1500)}")
    if step.waiting:
        parts.append(step.waiting)
    room = TEXT_LIMIT - sum(len(part) + 2 for part in parts) - 400
    for given in step.orders:
        head = (
            f"ORDER {given.order.order_id} (write one candidate and hand it in with run_search_step; the lease ends in "
            f"{max(0.0, given.order.expires - store.clock()):.0f} s; whole prompt: {given.prompt_uri})\n"
        )
        share = max(600, room // len(step.orders) - len(head))
        parts.append(head + prompt_text(store, given.order, share, advise))
    return shorten("\n\n".join(parts), TEXT_LIMIT)
