"""Everything that can be asked of the searches in a database, and nothing that changes them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Select, bindparam, func, null, select, union_all
from sqlalchemy.engine import Connection

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.search.errors import SearchError
from kernelevolve.search.events import StoredEvent
from kernelevolve.search.fitness import mean_ms, roofline_share
from kernelevolve.search.node import Node, SearchRecord, SearchState
from kernelevolve.search.order import Order, OrderState, Phase
from kernelevolve.search.store.database import Database
from kernelevolve.search.store.objects import ObjectStore
from kernelevolve.search.store.prepared import Prepared
from kernelevolve.search.store.records import (
    SEARCHES,
    node_of,
    order_of,
    read_node,
    read_order,
    read_search,
    search_of,
)
from kernelevolve.search.store.schema import events, nodes, orders, searches, setbacks
from kernelevolve.search.store.totals import Totals, count_totals

_RECENT = 256
"""Objects kept in memory."""
_OF_SEARCH = select(nodes).where(nodes.c.search_id == bindparam("search"))
_BEST_FIRST = (nodes.c.score.desc(), nodes.c.step)
_RANKED = Prepared(_OF_SEARCH.where(nodes.c.viable).order_by(*_BEST_FIRST).limit(bindparam("limit")))
_NEWEST = Prepared(_OF_SEARCH.order_by(nodes.c.step.desc()).limit(bindparam("limit")))
_FRONTIER = Prepared(
    _OF_SEARCH.where(nodes.c.viable, nodes.c.children == 0).order_by(*_BEST_FIRST).limit(bindparam("limit"))
)
_NEWEST_FIRST = nodes.c.step.desc()
_OF_PARENT = select(nodes).where(nodes.c.parent_id == bindparam("key"))
_CHILDREN = Prepared(_OF_PARENT.order_by(_NEWEST_FIRST).limit(bindparam("limit")))
_BEST_CHILDREN = Prepared(_OF_PARENT.where(nodes.c.viable).order_by(*_BEST_FIRST).limit(bindparam("limit")))
_FAILED_CHILDREN = Prepared(
    _OF_PARENT.where(nodes.c.viable.is_(False)).order_by(_NEWEST_FIRST).limit(bindparam("limit"))
)
_SAME_FAILURE = Prepared(
    _OF_SEARCH.where(nodes.c.signature == bindparam("signature")).order_by(_NEWEST_FIRST).limit(bindparam("limit"))
)
_EMBEDDINGS = (
    select(nodes.c.id, nodes.c.embedding)
    .where(
        nodes.c.search_id == bindparam("search"),
        nodes.c.embedding.is_not(None),
        nodes.c.island == bindparam("island"),
    )
    .order_by(_NEWEST_FIRST)
    .limit(bindparam("limit"))
)
_SETBACKS = select(setbacks.c.mutation, setbacks.c.count).where(
    setbacks.c.search_id == bindparam("search"), setbacks.c.mutation.in_(bindparam("mutations", expanding=True))
)
_HELD_BY = Prepared(
    union_all(
        select(nodes.c.id.label("node_id"), nodes.c.order_id).where(
            nodes.c.search_id == bindparam("search"), nodes.c.source_hash == bindparam("source")
        ),
        select(null(), orders.c.id).where(
            orders.c.search_id == bindparam("search"),
            orders.c.source_hash == bindparam("source"),
            orders.c.state == OrderState.OPEN.value,
            orders.c.expires >= bindparam("now"),
        ),
    )
)
_STARTS_LEFT = select(func.count()).where(
    orders.c.search_id == bindparam("search"),
    orders.c.phase == Phase.START.value,
    orders.c.state.in_([OrderState.WAITING.value, OrderState.OPEN.value, OrderState.EXPIRED.value]),
)


_LAST_EVENT = select(func.max(events.c.id)).where(events.c.search_id == bindparam("search"))


def line_of(first: Any, limit: int | None = None) -> Select[Any]:
    """Ids of a node and its ancestors along first parents, the nearest first: a recursive query."""
    line = select(nodes.c.id, nodes.c.parent_id).where(nodes.c.id == first).cte("line", recursive=True)
    above = nodes.alias("above")
    line = line.union_all(select(above.c.id, above.c.parent_id).where(above.c.id == line.c.parent_id))
    return select(line.c.id).limit(limit)


_ANCESTORS = Prepared(
    select(nodes)
    .where(nodes.c.id.in_(line_of(bindparam("key"), bindparam("limit"))), nodes.c.id != bindparam("key"))  # type: ignore[arg-type]
    .order_by(nodes.c.depth.desc())
)


def held_by(
    connection: Connection, search_id: str, source_hash: str, now: float
) -> tuple[str | None, str | None] | None:
    """Node and order that have a source; without a node while it is being judged; None where nobody has it."""
    row = _HELD_BY.first(connection, search=search_id, source=source_hash, now=now)
    return None if row is None else (row["node_id"], row["order_id"])


class Reader:
    """All searches of one database, to be looked at.

    `text(key)` gives what an object holds; it raises SearchError where there is no such object, or where it no longer
    has the content its name says.

    Args:
        where: path of a SQLite file, or a database URL such as `postgresql+psycopg://user@host/name`.
        objects: folder or URL for large sources, verdicts and prompts; `objects/` beside a SQLite file if not given.
        clock: seconds since the epoch; leases end by it.

    Raises:
        SearchError: it can't be opened, or was written by a newer version.
    """

    def __init__(
        self, where: Path | str, objects: Path | str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        if objects is None:
            if not isinstance(where, Path):
                raise SearchError(
                    "A database URL needs a place for objects too.", "Give a folder or a URL, e.g. s3://bucket/path."
                )
            objects = where.parent / "objects"
        self._database = Database(where)
        self._objects = ObjectStore(objects)
        self._shared = threading.local()
        # What has a hash for a name never changes.
        self.text = lru_cache(_RECENT)(self._text)
        self._verdict = lru_cache(_RECENT)(lambda key: Verdict.model_validate_json(self.text(key)))
        self.clock = clock

    def close(self) -> None:
        """Release the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let this thread's questions share one transaction, and so see one state of the database."""
        if getattr(self._shared, "connection", None) is not None:
            yield
            return
        with self._database.reading() as connection:
            self._shared.connection = connection
            try:
                yield
            finally:
                self._shared.connection = None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        connection: Connection | None = getattr(self._shared, "connection", None)
        if connection is not None:
            yield connection
            return
        with self._database.reading() as own:
            yield own

    def totals(self) -> Totals:
        """Sums over all searches."""
        with self._reading() as connection:
            return count_totals(connection, self.clock())

    def _text(self, key: str) -> str:
        with self._reading() as connection:
            return self._objects.read(connection, key)

    # -- searches -----------------------------------------------------------------------------------------------------

    def search(self, search_id: str) -> SearchRecord:
        """One search.

        Raises:
            SearchError: there is none with this handle.
        """
        with self._reading() as connection:
            return read_search(connection, search_id)

    def searches(self) -> tuple[SearchRecord, ...]:
        """All searches, the newest first."""
        with self._reading() as connection:
            query = SEARCHES.order_by(searches.c.made.desc(), searches.c.id)
            return tuple(search_of(row._mapping) for row in connection.execute(query))

    def brief(self, search: SearchRecord) -> str:
        """What an author must know of the task; empty where none was kept."""
        return self.text(search.brief_object) if search.brief_object else ""

    def events(self, search_id: str, after: int = 0, limit: int | None = None) -> tuple[StoredEvent, ...]:
        """The change log of a search, from after an event's number on."""
        query = select(events).where(events.c.search_id == search_id, events.c.id > after).order_by(events.c.id)
        with self._reading() as connection:
            return tuple(
                StoredEvent(number=row.id, step=row.step, kind=row.kind, detail=json.loads(row.detail), made=row.made)
                for row in connection.execute(query.limit(limit))
            )

    def last_event(self, search_id: str) -> int:
        """Number of the newest event of a search; 0 where there is none."""
        with self._reading() as connection:
            read_search(connection, search_id)
            return int(connection.execute(_LAST_EVENT, {"search": search_id}).scalar_one() or 0)

    def is_quiet(self, search_id: str, after: int) -> bool:
        """Whether a search goes on and nothing has happened in it since an event."""
        with self._reading() as connection:
            if read_search(connection, search_id).state is SearchState.FINISHED:
                return False
            return int(connection.execute(_LAST_EVENT, {"search": search_id}).scalar_one() or 0) <= after

    # -- orders -------------------------------------------------------------------------------------------------------

    def order(self, order_id: str) -> Order:
        """One order.

        Raises:
            SearchError: there is none with this handle.
        """
        with self._reading() as connection:
            return self._as_of_now(read_order(connection, order_id)[0])

    def orders(self, search_id: str, states: Collection[OrderState] = ()) -> tuple[Order, ...]:
        """Orders of a search by number, those in these states if any are named; overdue ones count as expired."""
        with self._reading() as connection:
            read_search(connection, search_id)
            query = select(orders).where(orders.c.search_id == search_id).order_by(orders.c.number)
            found = (self._as_of_now(order_of(row._mapping)) for row in connection.execute(query))
            return tuple(order for order in found if not states or order.state in states)

    def _as_of_now(self, order: Order) -> Order:
        """An order whose lease has run out is expired, whether anybody has written that down or not."""
        if order.state is OrderState.OPEN and order.expires < self.clock():
            return order.model_copy(update={"state": OrderState.EXPIRED})
        return order

    def starting_points_left(self, search_id: str) -> int:
        """Starting points without a verdict, those under way included."""
        with self._reading() as connection:
            return int(connection.execute(_STARTS_LEFT, {"search": search_id}).scalar_one())

    def prompt(self, order_id: str) -> str | None:
        """What the author of an order was told, if it was kept."""
        with self._reading() as connection:
            key = read_order(connection, order_id)[1]["prompt_object"]
        return None if key is None else self.text(key)

    # -- nodes --------------------------------------------------------------------------------------------------------

    def node(self, node_id: str) -> Node:
        """One node.

        Raises:
            SearchError: there is none with this handle.
        """
        with self._reading() as connection:
            return read_node(connection, node_id)

    def nodes(self, search_id: str, as_of: int | None = None) -> tuple[Node, ...]:
        """Nodes of a search in the order of their steps.

        Args:
            search_id: the search.
            as_of: number of an event: the nodes as they were right after it, confirmations included. Counts of children
                are those of today.
        """
        with self._reading() as connection:
            search = read_search(connection, search_id)
            query = select(nodes).where(nodes.c.search_id == search_id).order_by(nodes.c.step)
            later: set[str] = set()
            if as_of is not None:
                log = select(events).where(events.c.search_id == search_id).order_by(events.c.id)
                changes = connection.execute(log).all()
                steps = [row.step for row in changes if row.kind == "node" and row.id <= as_of]
                query = query.where(nodes.c.step <= max(steps, default=-1))
                later = {
                    json.loads(row.detail)["node"]
                    for row in changes
                    if row.kind in ("confirmed", "refuted") and row.id > as_of
                }
            found = tuple(node_of(row._mapping) for row in connection.execute(query))
        return tuple(self._unconfirmed(node, search) if node.node_id in later else node for node in found)

    def _unconfirmed(self, node: Node, search: SearchRecord) -> Node:
        """A node as it was before its second verdict."""
        timings, baseline = self.verdict(node).of(search.platform).timings, search.options.baseline
        return node.model_copy(
            update={
                "confirmed": None,
                "confirmation_object": None,
                "refuted": False,
                "latency_ms": mean_ms(timings, baseline),
                "roofline_share": roofline_share(timings, baseline),
            }
        )

    def leader(self, search_id: str) -> Node | None:
        """The leading node of a search (see `fitness.improves`)."""
        with self._reading() as connection:
            leader_id = read_search(connection, search_id).leader_id
            return None if leader_id is None else read_node(connection, leader_id)

    def ranked(self, search_id: str, limit: int = 10) -> tuple[Node, ...]:
        """The fastest nodes, first the best."""
        return self._nodes(_RANKED, search=search_id, limit=limit)

    def newest(self, search_id: str, limit: int = 10) -> tuple[Node, ...]:
        """The nodes that came last, the newest first."""
        return self._nodes(_NEWEST, search=search_id, limit=limit)

    def frontier(self, search_id: str, limit: int = 1000) -> tuple[Node, ...]:
        """Correct nodes that nothing has been derived from yet, the best first."""
        return self._nodes(_FRONTIER, search=search_id, limit=limit)

    def ancestors(self, node_id: str, limit: int = 64) -> tuple[Node, ...]:
        """The line a node descends from along first parents, the nearest first."""
        return self._nodes(_ANCESTORS, key=node_id, limit=limit + 1)

    def children(self, node_id: str, limit: int = 1000) -> tuple[Node, ...]:
        """Nodes whose first parent a node is, the newest first."""
        return self._nodes(_CHILDREN, key=node_id, limit=limit)

    def best_children(self, node_id: str, limit: int = 10) -> tuple[Node, ...]:
        """The fastest nodes whose first parent a node is, first the best."""
        return self._nodes(_BEST_CHILDREN, key=node_id, limit=limit)

    def failed_children(self, node_id: str, limit: int = 10) -> tuple[Node, ...]:
        """Nodes whose first parent a node is and that are not viable, the newest first."""
        return self._nodes(_FAILED_CHILDREN, key=node_id, limit=limit)

    def siblings(self, node_id: str, limit: int = 1000) -> tuple[Node, ...]:
        """Nodes with the same first parent, the newest first."""
        with self.snapshot():
            parents = self.node(node_id).parents
            family = self.children(parents[0], limit + 1) if parents else ()
        return tuple(node for node in family if node.node_id != node_id)[:limit]

    def failures(self, search_id: str, signature: str, limit: int = 5) -> tuple[Node, ...]:
        """Nodes that failed in the same way, the newest first."""
        return self._nodes(_SAME_FAILURE, search=search_id, signature=signature, limit=limit)

    def _nodes(self, query: Prepared, **values: Any) -> tuple[Node, ...]:
        with self._reading() as connection:
            return tuple(node_of(row) for row in query.rows(connection, **values))

    def signature(self, node_id: str) -> str | None:
        """What a node's failure has in common with others of its kind; None where it did not fail."""
        with self._reading() as connection:
            return connection.execute(select(nodes.c.signature).where(nodes.c.id == node_id)).scalar_one()

    def has_source(self, search_id: str, source_hash: str) -> bool:
        """Whether a search holds, or is judging, a candidate with this `Candidate.source_hash`."""
        with self._reading() as connection:
            return held_by(connection, search_id, source_hash, self.clock()) is not None

    def setbacks(self, search_id: str, mutations: Collection[str]) -> dict[str, int]:
        """For descriptions of changes: how often each brought no gain; those that broke the candidate count double."""
        values = {"search": search_id, "mutations": list(mutations)}
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(_SETBACKS, values)}

    def verdict_of_source(self, source_hash: str) -> Verdict | None:
        """The first verdict that any search got for a source, by `Candidate.source_hash`."""
        query = select(nodes.c.verdict_object).where(nodes.c.source_hash == source_hash).limit(1)
        with self._reading() as connection:
            key = connection.execute(query).scalar_one_or_none()
        return None if key is None else self._verdict(key)

    def embeddings(self, search_id: str, island: int, limit: int = 64) -> list[tuple[str, bytes]]:
        """Node and embedding of the newest nodes of an island."""
        values = {"search": search_id, "island": island, "limit": limit}
        with self._reading() as connection:
            return [(row.id, row.embedding) for row in connection.execute(_EMBEDDINGS, values)]

    def parent(self, node_id: str) -> tuple[Node, Candidate]:
        """A node and its candidate."""
        with self.snapshot():
            node = self.node(node_id)
            return node, self.candidate(node)

    def candidate(self, node: Node) -> Candidate:
        """The candidate of a node."""
        return Candidate(language=node.language, source=self.text(node.source_object), name=node.name)

    def verdict(self, node: Node) -> Verdict:
        """What the judge first said of a node."""
        return self._verdict(node.verdict_object)

    def confirmation(self, node: Node) -> Verdict | None:
        """What the judge said of a node the second time, if it was asked."""
        key = node.confirmation_object
        return None if key is None else self._verdict(key)
