"""From rows to values, and the statements that find single rows.

Statements are built once: building one costs more than SQLite takes to run it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.finding import Status
from kernelevolve.search.errors import SearchError
from kernelevolve.search.fitness import Fitness
from kernelevolve.search.node import Node, SearchRecord, SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import MemoryMode, Order, OrderState, Phase
from kernelevolve.search.store.prepared import Prepared
from kernelevolve.search.store.schema import nodes, orders, searches, tasks

SEARCHES = select(searches, tasks.c.reference).join(tasks)
_SEARCH = Prepared(SEARCHES.where(searches.c.id == bindparam("key")))
# On SQLite, which knows no such clause, the writer has locked the whole database.
_SEARCH_LOCKED = Prepared(SEARCHES.where(searches.c.id == bindparam("key")).with_for_update(of=searches))
_ORDER = Prepared(select(orders).where(orders.c.id == bindparam("key")))
_Model = TypeVar("_Model", bound=Contract)
_NODE = Prepared(select(nodes).where(nodes.c.id == bindparam("key")))


def _trusted(model: type[_Model], values: dict[str, Any]) -> _Model:
    """A value of a contract type from what was validated when it was written; every field must be given.

    What `model_construct` does, less its search for aliases and defaults: a step makes fifty such values, and that
    search was a tenth of the step.
    """
    made = model.__new__(model)
    object.__setattr__(made, "__dict__", values)
    object.__setattr__(made, "__pydantic_fields_set__", _fields_of(model))
    object.__setattr__(made, "__pydantic_extra__", None)
    object.__setattr__(made, "__pydantic_private__", None)
    return made


@lru_cache
def _fields_of(model: type[Contract]) -> set[str]:
    return set(model.model_fields)


def read_search(connection: Connection, search_id: str, lock: bool = False) -> SearchRecord:
    """One search; with `lock` nobody else changes it until the transaction ends.

    Raises:
        SearchError: there is none with this handle.
    """
    row = (_SEARCH_LOCKED if lock else _SEARCH).first(connection, key=search_id)
    if row is None:
        raise SearchError.no_search(search_id)
    return search_of(row)


@lru_cache(maxsize=256)
def _options_of(text: str) -> OptimizeOptions:
    return OptimizeOptions.model_validate_json(text)


def search_of(row: Mapping[Any, Any]) -> SearchRecord:
    """A search from its row. Not validated again: it was when it was written."""
    values = dict(row)
    values["search_id"], values["task"] = values.pop("id"), values.pop("reference")
    del values["task_id"]
    values["options"] = _options_of(values["options"])
    values["state"] = SearchState(values["state"])
    values["reason"] = None if values["reason"] is None else StopReason(values["reason"])
    return _trusted(SearchRecord, values)


def read_order(connection: Connection, order_id: str) -> tuple[Order, dict[str, Any]]:
    """One order, and its row with what only the store knows of it.

    Raises:
        SearchError: there is none with this handle.
    """
    row = _ORDER.first(connection, key=order_id)
    if row is None:
        raise SearchError(f"There is no order {order_id!r}.", "Ask the search for orders.")
    return order_of(row), row


def order_of(row: Mapping[Any, Any]) -> Order:
    """An order from its row."""
    values = {
        "order_id": row["id"],
        "search_id": row["search_id"],
        "number": row["number"],
        "phase": Phase(row["phase"]),
        "state": OrderState(row["state"]),
        "parents": tuple(json.loads(row["parents"])),
        "memory": MemoryMode(row["memory"]),
        "island": row["island"],
        "note": row["note"],
        "holder": row["holder"],
        "issued": row["issued"],
        "expires": row["expires"],
        "node_id": row["node_id"],
        "reason": row["reason"],
    }
    return _trusted(Order, values)


def read_node(connection: Connection, node_id: str) -> Node:
    """One node.

    Raises:
        SearchError: there is none with this handle.
    """
    row = _NODE.first(connection, key=node_id)
    if row is None:
        raise SearchError(f"There is no node {node_id!r}.", "List the nodes of the search.")
    return node_of(row)


def node_of(row: Mapping[Any, Any]) -> Node:
    """A node from its row. Not validated again: it was when it was written."""
    parents = (row["parent_id"], *row["more_parents"].split()) if row["parent_id"] else ()
    values = {
        "node_id": row["id"],
        "search_id": row["search_id"],
        "step": row["step"],
        "parents": parents,
        "mutation": row["mutation"],
        "language": row["language"],
        "name": row["name"],
        "source_hash": row["source_hash"],
        "source_object": row["source_object"],
        "verdict_object": row["verdict_object"],
        "status": Status(row["status"]),
        "fitness": _fitness_of(row["fitness"]),
        "latency_ms": row["latency_ms"],
        "confirmation_object": row["confirmation_object"],
        "confirmed": None if row["confirmed"] is None else _fitness_of(row["confirmed"]),
        "refuted": bool(row["refuted"]),
        "roofline_share": row["roofline_share"],
        "judged_s": row["judged_s"],
        "order_id": row["order_id"],
        "author": row["author"],
        "depth": row["depth"],
        "children": row["children"],
        "island": row["island"],
        "exhausted": bool(row["exhausted"]),
        "made": row["made"],
    }
    return _trusted(Node, values)


def _fitness_of(text: str) -> Fitness:
    speedup, low, high = json.loads(text)
    return _trusted(Fitness, {"speedup": speedup, "low": low, "high": high})


def fitness_text(fitness: Fitness) -> str:
    """A fitness as its row keeps it."""
    return json.dumps([fitness.speedup, fitness.low, fitness.high])
