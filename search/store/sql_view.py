"""The view that policies get, over the transaction in which an order is made."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, select
from sqlalchemy.engine import Connection

from kernelevolve.search.errors import SearchError
from kernelevolve.search.node import SearchRecord
from kernelevolve.search.store.prepared import Prepared
from kernelevolve.search.store.schema import elites, nodes
from kernelevolve.search.view import Brief

_COLUMNS = [
    nodes.c[name]
    for name in (
        "id", "step", "viable", "score", "low", "depth", "children", "visits", "reward", "island", "cell", "exhausted",
        "mutation",
    )
]  # fmt: skip
_ALL = select(*_COLUMNS)
_USABLE = _ALL.where(nodes.c.search_id == bindparam("search"), nodes.c.viable, nodes.c.exhausted.is_(False))
_ONE = Prepared(_ALL.where(nodes.c.id == bindparam("key")))
_STARTS = Prepared(_USABLE.where(nodes.c.depth == 0, nodes.c.step < 64).order_by(nodes.c.step))
_TOP = Prepared(_USABLE.order_by(nodes.c.score.desc(), nodes.c.step).limit(bindparam("limit")))
_FROM = Prepared(_USABLE.where(nodes.c.step >= bindparam("step")).order_by(nodes.c.step).limit(1))
_CHILDREN = Prepared(_ALL.where(nodes.c.parent_id == bindparam("key"), nodes.c.viable).order_by(nodes.c.step))
_ELITES = Prepared(
    _ALL.join(elites, and_(elites.c.node_id == nodes.c.id, elites.c.search_id == bindparam("search")))
    .where(elites.c.island == bindparam("island"), nodes.c.viable, nodes.c.exhausted.is_(False))
    .order_by(elites.c.cell)
)


class SqlView:
    """`SearchView` of one search."""

    def __init__(self, connection: Connection, search: SearchRecord, under_way: int = 0) -> None:
        self._connection = connection
        self.search = search
        self.under_way = under_way

    def node(self, node_id: str) -> Brief:
        """See `SearchView`."""
        found = self._all(_ONE, key=node_id)
        if not found:
            raise SearchError(f"There is no node {node_id!r}.", "List the nodes of the search.")
        return found[0]

    def leader(self) -> Brief | None:
        """See `SearchView`."""
        return None if self.search.leader_id is None else self.node(self.search.leader_id)

    def starting_points(self) -> list[Brief]:
        """See `SearchView`."""
        return self._all(_STARTS, search=self.search.search_id)

    def top(self, limit: int) -> list[Brief]:
        """See `SearchView`."""
        return self._all(_TOP, search=self.search.search_id, limit=limit)

    def some(self, start: float) -> Brief | None:
        """See `SearchView`."""
        step = int(start * (self.search.step + 1))
        found = self._all(_FROM, search=self.search.search_id, step=step)
        found = found or self._all(_FROM, search=self.search.search_id, step=0)
        return found[0] if found else None

    def children(self, node_id: str) -> list[Brief]:
        """See `SearchView`."""
        return self._all(_CHILDREN, key=node_id)

    def elites(self, island: int) -> list[Brief]:
        """See `SearchView`."""
        return self._all(_ELITES, search=self.search.search_id, island=island)

    def _all(self, query: Prepared, **values: Any) -> list[Brief]:
        return [
            Brief(row[0], row[1], bool(row[2]), *row[3:11], bool(row[11]), row[12])  # type: ignore[call-arg]
            for row in query.tuples(self._connection, **values)
        ]
