"""How much there is in a database: a few numbers over all searches, cheap enough to be asked every few seconds."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from kernelevolve.search.node import SearchState
from kernelevolve.search.order import OrderState
from kernelevolve.search.store.schema import orders, searches


@dataclass(frozen=True)
class Totals:
    """Sums over all searches."""

    searches: dict[str, int]
    """State → searches in it."""
    nodes: int
    """Candidates that were judged and kept."""
    orders_open: int
    """Orders of running searches whose lease runs."""


def count_totals(connection: Connection, now: float) -> Totals:
    """Count. The number of nodes comes from the searches' own counters, so it costs a row for each search, not node.

    Args:
        connection: a transaction that reads.
        now: seconds since the epoch; leases that ended before are not open.
    """
    by_state = select(searches.c.state, func.count(), func.sum(searches.c.step + 1)).group_by(searches.c.state)
    running = select(searches.c.id).where(searches.c.state == SearchState.RUNNING.value)
    open_orders = select(func.count()).where(
        orders.c.search_id.in_(running), orders.c.state == OrderState.OPEN.value, orders.c.expires > now
    )
    rows = connection.execute(by_state).all()
    count = connection.execute(open_orders).scalar_one()
    known = {state.value: 0 for state in SearchState}
    return Totals({**known, **{row[0]: row[1] for row in rows}}, sum(int(row[2]) for row in rows), count)
