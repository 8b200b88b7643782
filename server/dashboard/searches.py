"""Pages of searches: the list, and one search with its figures, curve, orders and events."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kernelevolve.search.curve import Curve, search_curve
from kernelevolve.search.events import StoredEvent
from kernelevolve.search.node import Node, SearchRecord, SearchState
from kernelevolve.search.order import OrderState
from kernelevolve.search.store import Store
from kernelevolve.server.dashboard.guard import PREFIX
from kernelevolve.server.dashboard.marks import SPARK_HEIGHT, SPARK_WIDTH, spark_path
from kernelevolve.server.dashboard.rooms import caller_of, note, overview, page, rooms_of, search_of, seen_by
from kernelevolve.server.tokens import Scope
from kernelevolve.tools.searches import stop_search

_ROWS = 50
"""Searches on one page of the list."""
_IN_CURVE = 400
"""Nodes in a curve, besides those that led."""
_EVENTS = 40
_LONGEST_TITLE = 60
_REMEMBERED = 1000


@dataclass(frozen=True)
class Row:
    """A search in the list."""

    search: SearchRecord
    """The search."""
    title: str
    """Its task's name without the folders."""
    spark: str
    """Path of its curve."""


@dataclass(frozen=True)
class Budget:
    """One limit of a search and how much of it is used."""

    name: str
    """What is limited."""
    used: float
    """How much is used."""
    limit: float
    """How much there is."""
    text: str
    """The same in words."""


class _Leads:
    """Who led when, remembered: a search that has not moved since is not read again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Any, ...], list[tuple[int, float]]] = OrderedDict()

    def of(self, store: Store, search: SearchRecord) -> list[tuple[int, float]]:
        key = (search.search_id, search.made, search.step, search.leader_id, search.leader_score, search.state)
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = overview(store).leads(search.search_id)
            with self._lock:
                self._known[key] = known
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return known


_LEADS = _Leads()


def show_searches(request: Request) -> Response:
    """The list, with a filter; `part` leaves out the frame of the page."""
    asked = request.query_params
    words, state = asked.get("q", "")[:200], asked.get("state", "")
    store = rooms_of(request).store()
    last_event = overview(store).last_event()
    found = [search for search in seen_by(caller_of(request), store).values() if _fits(search, words, state)]
    number = max(1, int(asked["page"])) if asked.get("page", "").isdecimal() else 1
    shown = found[(number - 1) * _ROWS : number * _ROWS]
    return page(
        request,
        "searches_part.html" if "part" in asked else "searches.html",
        rows=[
            Row(search, title_of(search), spark_path(_LEADS.of(store, search), search.step)) for search in shown
        ],
        total=len(found), words=words, state=state, number=number, pages=max(1, -(-len(found) // _ROWS)),
        last_event=last_event, spark_width=SPARK_WIDTH, spark_height=SPARK_HEIGHT,
    )  # fmt: skip


def _fits(search: SearchRecord, words: str, state: str) -> bool:
    if state and state != search.state.value:
        return False
    text = " ".join((search.search_id, search.task, search.platform, search.policy, search.synthesizer)).lower()
    return all(word in text for word in words.lower().split())


def title_of(search: SearchRecord) -> str:
    """A task's name without its folders; for the text of a task what names it."""
    path = " ".join(search.task.split()).rstrip("/").removesuffix("/task.py")
    name = path.rpartition("/")[2] or path
    return name if len(name) <= _LONGEST_TITLE else f"{name[:_LONGEST_TITLE]}…"


def show_search(request: Request) -> Response:
    """One search; `part` leaves out the frame of the page, and the tree."""
    store, search = search_of(request)
    # Before all else: what happens while the page is made is then told again, rather than missed.
    last_event = store.last_event(search.search_id)
    with store.snapshot():
        values = _standing(store, search.search_id)
    return page(
        request,
        "search_part.html" if "part" in request.query_params else "search.html",
        title=title_of(search),
        last_event=last_event,
        now=time.time(),
        node_link=f"{PREFIX}/searches/{search.search_id}/nodes/",
        **values,
    )


def _standing(store: Store, search_id: str) -> dict[str, Any]:
    view = overview(store)
    search = store.search(search_id)
    leader = store.leader(search_id)
    orders = view.open_orders(search_id)
    return {
        "search": search,
        "leader": leader,
        "curve": _curve(store, search, leader),
        "budgets": _budgets(search),
        "orders": orders,
        # Every candidate was an order first, and those under way have a list of their own.
        "events": [(event, event_words(event)) for event in view.newest_events(search_id, _EVENTS, without="order")],
    }


def _curve(store: Store, search: SearchRecord, leader: Node | None) -> Curve:
    """The curve of all nodes, or of those that led and some of the others, the newest among them."""
    stride = max(1, -(-(search.step + 1) // _IN_CURVE))
    steps = {*range(0, search.step + 1, stride), search.step, *(step for step, _value in _LEADS.of(store, search))}
    return search_curve(overview(store).nodes_at(search.search_id, steps), search.options.margin, leader)


def _budgets(search: SearchRecord) -> list[Budget]:
    options, judged = search.options, search.step + 1
    found = [Budget("candidates", judged, options.evaluations, f"{judged:,} of {options.evaluations:,} judged")]
    if options.wall_clock_s is not None and search.state is SearchState.RUNNING:
        used = max(0.0, time.time() - search.resumed_at)
        text = f"{used / 60:.1f} of {options.wall_clock_s / 60:.1f} minutes"
        found.append(Budget("wall clock", used, options.wall_clock_s, text))
    if options.stall is not None:
        text = f"{search.stalled} without a gain, {options.stall} end the search"
        found.append(Budget("patience", search.stalled, options.stall, text))
    if options.tokens is not None:
        used_tokens = search.input_tokens + search.output_tokens
        found.append(Budget("tokens", used_tokens, options.tokens, f"{used_tokens:,} of {options.tokens:,} tokens"))
    if options.usd is not None:
        found.append(Budget("money", search.usd, options.usd, f"{search.usd:.2f} of {options.usd:.2f} USD"))
    return found


def event_words(event: StoredEvent) -> str:
    """An event in words; what it is about is linked beside it."""
    detail = event.detail
    words = {
        "created": f"search begun for {detail.get('platform')}, {detail.get('policy')} selection",
        "node": f"judged: {str(detail.get('status', '')).replace('_', ' ')}",
        "duplicate": "handed in what was there already",
        "failed": f"order failed: {detail.get('reason') or 'no reason given'}",
        "expired": "lease ran out",
        "exhausted": "nothing left to try from it",
        "confirmed": "confirmed with full samples",
        "refuted": "refuted when judged again",
        "finished": f"search ended: {str(detail.get('reason', '')).replace('_', ' ')}",
        "resumed": "search resumed",
    }
    return words.get(event.kind, event.kind)


def stop(request: Request) -> Response:
    """End a search; its winner is confirmed first, which takes the judge some time."""
    store, search = search_of(request)
    caller, began = caller_of(request), time.monotonic()
    if not caller.scope.allows(Scope.SEARCH):
        note(request, caller, "stop_search", "refused", began)
        return page(
            request, "message.html", 403, title="Not allowed",
            text="Stopping a search needs a token with the scope 'search'.",
        )  # fmt: skip
    if search.state is not SearchState.FINISHED:
        outcome = "failed"
        try:
            stop_search(rooms_of(request).pool, store, search.search_id)
            outcome = "ok"
        finally:
            note(request, caller, "stop_search", outcome, began)
    return RedirectResponse(f"{PREFIX}/searches/{search.search_id}", 303)


def show_orders(request: Request) -> Response:
    """Orders under way, of all searches."""
    store = rooms_of(request).store()
    seen = seen_by(caller_of(request), store)
    last_event = overview(store).last_event()
    found = [(entry, seen[entry.order.search_id]) for entry in overview(store).open_orders() if
             entry.order.search_id in seen]  # fmt: skip
    return page(
        request,
        "orders_part.html" if "part" in request.query_params else "orders.html",
        orders=found, now=time.time(), last_event=last_event, waiting=OrderState.WAITING, title_of=title_of,
    )  # fmt: skip
