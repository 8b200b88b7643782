"""What an overview of searches asks: many nodes in few bytes, orders and events of all searches together.

`Reader` gives whole nodes, one search at a time; at 20,000 nodes a picture needs four numbers of each.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, func, or_, select
from sqlalchemy.engine import Connection, Row

from kernelevolve.evaluation.finding import Status
from kernelevolve.search.events import StoredEvent
from kernelevolve.search.fitness import Fitness, improves
from kernelevolve.search.node import Node, SearchState
from kernelevolve.search.order import Order, OrderState
from kernelevolve.search.store.reading import Reader
from kernelevolve.search.store.records import node_of, order_of, read_search
from kernelevolve.search.store.schema import events, nodes, orders, searches

_AT_ONCE = 500
"""Values of one `IN`; SQLite takes some thousands."""


class Outlined(NamedTuple):
    """A node in an outline of a search's tree."""

    step: int
    """Position in the search."""
    parent: int
    """Step of its first parent; -1 for a starting point."""
    kind: str
    """`refuted`, `confirmed` or the judge's word."""
    speedup: float
    """By all that is known; 0 unless viable."""


class OpenOrder(NamedTuple):
    """An order that somebody holds, or that waits for somebody."""

    order: Order
    """The order."""
    judging: bool
    """Whether its candidate was handed in and is being judged."""


class SearchEvent(NamedTuple):
    """An event, and the search that it belongs to."""

    search_id: str
    """The search."""
    event: StoredEvent
    """What happened."""


class Overview:
    """Questions about all that a database holds.

    Args:
        reader: the searches. Questions inside its `snapshot` see one state.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def outline(self, search_id: str, after: int = -1, steps: Collection[int] | None = None) -> list[Outlined]:
        """The tree of a search, in the order of steps.

        Args:
            search_id: the search.
            after: only nodes of later steps.
            steps: only these; None for all.

        Raises:
            SearchError: there is no such search.
        """
        columns = select(
            nodes.c.step, nodes.c.parent_id, nodes.c.status, nodes.c.viable, nodes.c.refuted,
            nodes.c.confirmed.is_not(None).label("confirmed"), nodes.c.score,
        )  # fmt: skip
        query = columns.where(nodes.c.search_id == search_id, nodes.c.step > after).order_by(nodes.c.step)
        with self._reader._reading() as connection:
            read_search(connection, search_id)
            return [_outlined(row) for row in _in_parts(connection, query, nodes.c.step, steps)]

    def labels(self, search_id: str, steps: Collection[int]) -> dict[int, tuple[str, str]]:
        """Step → how the node was derived, and who wrote it; for those there are."""
        query = select(nodes.c.step, nodes.c.mutation, nodes.c.author, nodes.c.name, nodes.c.parent_id).where(
            nodes.c.search_id == search_id
        )
        with self._reader._reading() as connection:
            rows = list(_in_parts(connection, query, nodes.c.step, steps))
        return {
            row.step: (row.mutation or ("not described" if row.parent_id else f"starting point {row.name}"), row.author)
            for row in rows
        }

    def find(self, search_id: str, words: str, limit: int) -> list[int]:
        """Steps of nodes whose change, author, name or status has a text in it, whatever its case, the newest first."""
        fields = (nodes.c.mutation, nodes.c.author, nodes.c.name, nodes.c.status)
        hit = or_(*(func.lower(field).contains(words.lower(), autoescape=True) for field in fields))
        query = select(nodes.c.step).where(nodes.c.search_id == search_id, hit)
        with self._reader._reading() as connection:
            return list(connection.execute(query.order_by(nodes.c.step.desc()).limit(limit)).scalars())

    def leads(self, search_id: str) -> list[tuple[int, float]]:
        """Step and speed-up, as first judged, of each node that led when it was judged (see `fitness.improves`)."""
        query = select(nodes.c.step, nodes.c.fitness).where(
            nodes.c.search_id == search_id, nodes.c.status == Status.CORRECT.value, nodes.c.refuted.is_(False)
        )
        found: list[tuple[int, float]] = []
        best: Fitness | None = None
        with self._reader._reading() as connection:
            margin = read_search(connection, search_id).options.margin
            for step, text in connection.execute(query.order_by(nodes.c.step)):
                speedup, low, high = json.loads(text)
                if speedup <= 0 or (best is not None and speedup <= best.speedup):
                    continue
                fitness = Fitness(speedup=speedup, low=low, high=high)
                if best is None or improves(fitness, best, margin):
                    best = fitness
                    found.append((step, speedup))
        return found

    def nodes_at(self, search_id: str, steps: Collection[int]) -> list[Node]:
        """Nodes of a search by their steps, in order."""
        query = select(nodes).where(nodes.c.search_id == search_id)
        with self._reader._reading() as connection:
            rows = list(_in_parts(connection, query, nodes.c.step, steps))
        return sorted((node_of(row._mapping) for row in rows), key=lambda node: node.step)

    def nodes_of_sources(self, source_hashes: Collection[str]) -> list[Node]:
        """Nodes of any search with these sources, by `Candidate.source_hash`."""
        with self._reader._reading() as connection:
            rows = _in_parts(connection, select(nodes), nodes.c.source_hash, source_hashes)
            return [node_of(row._mapping) for row in rows]

    def open_orders(self, search_id: str | None = None, limit: int = 200) -> list[OpenOrder]:
        """Orders of searches that go on which are waiting, or held by a lease that runs, those that end first first."""
        query = (
            select(orders)
            .join(searches)
            .where(
                searches.c.state == SearchState.RUNNING.value,
                or_(
                    orders.c.state == OrderState.WAITING.value,
                    (orders.c.state == OrderState.OPEN.value) & (orders.c.expires >= self._reader.clock()),
                ),
            )
        )
        if search_id is not None:
            query = query.where(orders.c.search_id == search_id)
        with self._reader._reading() as connection:
            rows = connection.execute(query.order_by(orders.c.expires, orders.c.id).limit(limit)).all()
        return [
            OpenOrder(order_of(row._mapping), row.source_hash is not None and row.state == OrderState.OPEN.value)
            for row in rows
        ]

    def newest_events(self, search_id: str, limit: int, without: str = "") -> list[StoredEvent]:
        """What happened last in a search, the newest first; `without` leaves a kind out."""
        query = select(events).where(events.c.search_id == search_id, events.c.kind != without)
        with self._reader._reading() as connection:
            return [_event(row) for row in connection.execute(query.order_by(events.c.id.desc()).limit(limit))]

    def events_after(self, number: int, search_id: str | None = None, limit: int = 500) -> list[SearchEvent]:
        """The change log from after an event on.

        Within a search numbers grow in the order in which the changes can be seen. Between searches of a PostgreSQL
        database they need not: who follows all of them may miss an event whose transaction ended late.
        """
        query = select(events).where(events.c.id > number)
        if search_id is not None:
            query = query.where(events.c.search_id == search_id)
        with self._reader._reading() as connection:
            rows = connection.execute(query.order_by(events.c.id).limit(limit)).all()
        return [SearchEvent(row.search_id, _event(row)) for row in rows]

    def last_event(self) -> int:
        """Number of the newest event of all searches; 0 where there is none."""
        with self._reader._reading() as connection:
            return int(connection.execute(select(func.max(events.c.id))).scalar_one() or 0)


def _event(row: Row[Any]) -> StoredEvent:
    return StoredEvent(number=row.id, step=row.step, kind=row.kind, detail=json.loads(row.detail), made=row.made)


def _outlined(row: Row[Any]) -> Outlined:
    kind = "refuted" if row.refuted else "confirmed" if row.confirmed else row.status
    parent = -1 if row.parent_id is None else int(row.parent_id.rpartition(".")[2])
    return Outlined(row.step, parent, kind, row.score if row.viable else 0.0)


def _in_parts(
    connection: Connection, query: Select[Any], column: Any, values: Collection[Any] | None
) -> Iterator[Row[Any]]:
    """Rows of a query whose column has one of these values; None for all."""
    if values is None:
        yield from connection.execute(query)
        return
    listed: Sequence[Any] = sorted(set(values))
    for begin in range(0, len(listed), _AT_ONCE):
        yield from connection.execute(query.where(column.in_(listed[begin : begin + _AT_ONCE])))
