"""The search graph, durable: each node insert is the checkpoint.

Node, edges, objects, counters and event are one transaction. What sums up other tables
(the leader, how long the search has stalled, visits) changes in the same transaction, so a step costs the same in a
search of a hundred nodes and of a hundred thousand.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, bindparam, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.verdict import PlatformVerdict, Verdict
from kernelevolve.search.errors import DuplicateError, SearchError
from kernelevolve.search.fitness import Fitness, fitness_of, improves, mean_ms, roofline_share, steadied
from kernelevolve.search.node import Node, SearchRecord, SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import MemoryMode, Order, OrderState, Phase
from kernelevolve.search.policies import Choice
from kernelevolve.search.store.prepared import Prepared
from kernelevolve.search.store.reading import Reader, held_by, line_of
from kernelevolve.search.store.records import (
    fitness_text,
    node_of,
    order_of,
    read_node,
    read_order,
    read_search,
)
from kernelevolve.search.store.schema import edges, elites, events, nodes, orders, searches, setbacks, tasks
from kernelevolve.search.store.sql_view import SqlView
from kernelevolve.search.synthesizers import Cost
from kernelevolve.search.view import SearchView

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_ID_LENGTH = 12  # of 31 letters: 59 bits

_ADD_NODE, _ADD_EDGE, _ADD_ORDER, _ADD_EVENT = (Prepared(insert(table)) for table in (nodes, edges, orders, events))
_CHANGE_SEARCH = Prepared(update(searches).where(searches.c.id == bindparam("key")))
_CHANGE_NODE = Prepared(update(nodes).where(nodes.c.id == bindparam("key")))
_CHANGE_ORDER = Prepared(update(orders).where(orders.c.id == bindparam("key")))
_MORE_CHILDREN = Prepared(update(nodes).where(nodes.c.id == bindparam("key")).values(children=nodes.c.children + 1))
_VISIT = update(nodes).values(visits=nodes.c.visits + bindparam("more"))
_VISIT_ONE = Prepared(_VISIT.where(nodes.c.id == bindparam("key")))
_VISIT_LINE = Prepared(_VISIT.where(nodes.c.id.in_(line_of(bindparam("key")))))
_REWARD_LINE = Prepared(
    update(nodes).values(reward=nodes.c.reward + bindparam("more")).where(nodes.c.id.in_(line_of(bindparam("key"))))
)
_DEPTH = Prepared(select(nodes.c.depth).where(nodes.c.id == bindparam("key")))
_LIVE = Prepared(
    select(orders)
    .where(
        orders.c.search_id == bindparam("search"),
        or_(orders.c.state == OrderState.WAITING.value, orders.c.state == OrderState.OPEN.value),
    )
    .order_by(orders.c.number)
)
_NEXT_START = Prepared(
    select(orders)
    .where(
        orders.c.search_id == bindparam("search"),
        orders.c.phase == Phase.START.value,
        or_(orders.c.state == OrderState.WAITING.value, orders.c.state == OrderState.EXPIRED.value),
    )
    .order_by(orders.c.number)
    .limit(1)
)
_ELITE = Prepared(
    select(nodes.c.score, nodes.c.viable)
    .join(elites, elites.c.node_id == nodes.c.id)
    .where(
        and_(
            elites.c.search_id == bindparam("search"),
            elites.c.island == bindparam("island"),
            elites.c.cell == bindparam("cell"),
        )
    )
)
_NEW_NODE: dict[str, Any] = {
    "confirmation_object": None, "confirmed": None, "refuted": False, "children": 0, "visits": 0, "reward": 0.0,
    "exhausted": False, "cell": None,
}  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """A node right after it was kept."""

    node: Node
    search: SearchRecord
    """The search as it was before."""
    leads: bool
    """Whether the node leads now."""


class Store(Reader):
    """All searches of one database; see `Reader` for what it takes."""

    # -- searches -----------------------------------------------------------------------------------------------------

    def create_search(
        self,
        task: str,
        platform: str,
        starting_points: Sequence[Candidate],
        options: OptimizeOptions,
        policy: str = "greedy",
        synthesizer: str = "mutator",
        brief: str = "",
        owner: str = "",
        shared: bool = False,
    ) -> str:
        """Begin a search.

        Args:
            task: path of the task, or `aten::<operator>`.
            platform: platform name.
            starting_points: what to begin with; each becomes an order that waits to be judged.
            options: budget, goal and rigour.
            policy: name of the selection policy.
            synthesizer: name of the synthesizer.
            brief: what an author must know of the task.
            owner: whom it belongs to; empty for whoever runs the server.
            shared: whether other callers may see it and work on it.

        Returns:
            The search's handle.
        """
        search_id = "".join(secrets.choice(_LETTERS) for _ in range(_ID_LENGTH))
        kept = [(point, self._objects.pack(point.source)) for point in starting_points]
        packed_brief = self._objects.pack(brief) if brief else None
        with self._database.writing() as connection:
            row = {
                "id": search_id, "task_id": _task_id(connection, task), "platform": platform,
                "options": options.model_dump_json(), "policy": policy, "synthesizer": synthesizer,
                "brief_object": packed_brief.write(connection) if packed_brief else None,
                "state": SearchState.RUNNING, "made": _now(), "resumed_at": self.clock(), "issued": len(kept),
                "starts": len(kept), "owner": owner, "shared": shared,
            }  # fmt: skip
            connection.execute(insert(searches), row)
            for number, (point, packed) in enumerate(kept):
                order = {
                    "id": f"{search_id}.o{number}", "search_id": search_id, "number": number, "phase": Phase.START,
                    "state": OrderState.WAITING, "parents": "[]", "memory": MemoryMode.CLEAN_SLATE, "issued": _now(),
                    "expires": 0.0, "language": point.language, "name": point.name,
                    "source_object": packed.write(connection),
                }  # fmt: skip
                _ADD_ORDER.write(connection, order)
            _log(connection, search_id, -1, "created", {"platform": platform, "policy": policy})
        return search_id

    def finish(self, search_id: str, reason: StopReason, winner: Node | None = None) -> SearchRecord:
        """Mark a search as ended; of several that do so at once, the first gives the reason.

        Args:
            search_id: the search.
            reason: why it ends.
            winner: the node that leads it from now on, where that is not the one with the best first verdict.
        """
        with self._database.writing() as connection:
            search = read_search(connection, search_id, lock=True)
            if search.state is not SearchState.FINISHED:
                changes: dict[str, Any] = {"state": SearchState.FINISHED, "reason": reason, "finished": _now()}
                if winner is not None:
                    changes |= {"leader_id": winner.node_id, "leader_score": winner.score.speedup}
                _CHANGE_SEARCH.write(connection, {"key": search_id, **changes})
                _log(connection, search_id, search.step, "finished", {"reason": reason})
            return read_search(connection, search_id)

    def reopen(self, search_id: str, options: OptimizeOptions | None = None) -> SearchRecord:
        """Let a search go on, with other options if they are given. Its wall clock begins anew."""
        with self._database.writing() as connection:
            search = read_search(connection, search_id, lock=True)
            changes: dict[str, Any] = {
                "state": SearchState.RUNNING, "reason": None, "finished": None, "resumed_at": self.clock(),
                "author_failures": 0, "harness_errors": 0, **_leader(connection, search),
            }  # fmt: skip
            if options is not None:
                changes["options"] = options.model_dump_json()
            _CHANGE_SEARCH.write(connection, {"key": search_id, **changes})
            _log(connection, search_id, search.step, "resumed", {})
            return read_search(connection, search_id)

    # -- orders -------------------------------------------------------------------------------------------------------

    def claim_start(self, search_id: str, holder: str, lease_s: float) -> tuple[Order, Candidate] | None:
        """Take a starting point that nobody judges right now, or None."""
        with self._database.writing() as connection:
            search = read_search(connection, search_id, lock=True)
            self._live(connection, search)
            row = _NEXT_START.first(connection, search=search_id)
            if row is None:
                return None
            self._lease(connection, row["id"], lease_s, holder=holder)
            source = self._objects.read(connection, row["source_object"])
            order = read_order(connection, row["id"])[0]
        return order, Candidate(language=row["language"], name=row["name"], source=source)

    def issue(
        self,
        search_id: str,
        choose: Callable[[SearchView, int], tuple[Phase, Choice] | None],
        holder: str,
        lease_s: float,
        along_path: bool = False,
    ) -> Order | None:
        """Make an order in one transaction with the choice of its parents.

        Args:
            search_id: the search.
            choose: gets a view and the order's number; what to build on, or None when nothing is left.
            holder: who will have it.
            lease_s: seconds until it is taken back.
            along_path: count the visit on all ancestors of the first parent, not on the parents alone (MCTS).

        Returns:
            The order; None when there is nothing to build on, the search has ended, or what is under way will use up
            its budget of candidates.
        """
        # Not synced to disk: if the machine loses power, an order that led to nothing yet may be forgotten.
        with self._database.writing(synced=False) as connection:
            search = read_search(connection, search_id, lock=True)
            if search.state is SearchState.FINISHED:
                return None
            live = self._live(connection, search)
            waiting = [order for order in live if order.state is OrderState.WAITING and order.phase is not Phase.START]
            if search.step + 1 + len(live) - len(waiting) >= search.options.evaluations:
                return None
            if waiting:
                return self._issue_again(connection, waiting[0], holder, lease_s)
            number = search.issued
            chosen = choose(SqlView(connection, search, len(live)), number)
            if chosen is None:
                return None
            phase, choice = chosen
            parents = tuple(parent.node_id for parent in choice.parents)
            row = {
                "id": f"{search_id}.o{number}", "search_id": search_id, "number": number, "phase": phase,
                "state": OrderState.OPEN, "parents": json.dumps(parents), "memory": choice.memory,
                "island": choice.island, "along_path": along_path, "note": choice.note, "holder": holder,
                "issued": _now(), "expires": self.clock() + lease_s,
            }  # fmt: skip
            _ADD_ORDER.write(connection, row)
            _CHANGE_SEARCH.write(connection, {"key": search_id, "issued": number + 1})
            _visit(connection, parents, along_path, 1)
            _log(connection, search_id, search.step, "order", {"order": row["id"], "parents": parents})
            return order_of({**row, "node_id": None, "reason": ""})

    def _issue_again(self, connection: Connection, order: Order, holder: str, lease_s: float) -> Order:
        """Hand out an order that was given back."""
        self._lease(connection, order.order_id, lease_s, holder=holder)
        again, row = read_order(connection, order.order_id)
        _visit(connection, again.parents, row["along_path"], 1)
        return again

    def under_way(self, search_id: str) -> int:
        """Orders that somebody holds; those whose lease has run out are taken back first."""
        with self._database.writing() as connection:
            live = self._live(connection, read_search(connection, search_id, lock=True))
            return sum(order.state is OrderState.OPEN for order in live)

    def give_back(self, order_id: str) -> None:
        """Put an order back that nobody works on any more: the next to ask gets it, as it is."""
        with self._database.writing() as connection:
            _search, order, row = _locked(connection, order_id)
            if order.state is OrderState.OPEN:
                values = {"state": OrderState.WAITING, "source_hash": None, "holder": ""}
                _CHANGE_ORDER.write(connection, {"key": order_id, **values})
                _visit(connection, order.parents, row["along_path"], -1)

    def heartbeat(self, order_id: str, lease_s: float) -> Order:
        """Give an order more time, from now on.

        Raises:
            SearchError: it is not open any more.
        """
        with self._database.writing() as connection:
            _search, order, _row = _locked(connection, order_id)
            if order.state is not OrderState.OPEN:
                raise SearchError(f"Order {order_id} is {order.state.value}.", "Ask for another order.")
            self._lease(connection, order_id, lease_s)
            return read_order(connection, order_id)[0]

    def reserve(
        self, order_id: str, search_id: str, source_hash: str, lease_s: float, cost: Cost | None = None
    ) -> Order:
        """Note what was handed in for an order before it is judged, and renew the lease for the judging.

        Args:
            order_id: the order.
            search_id: the search it must belong to.
            source_hash: `Candidate.source_hash` of what was handed in.
            lease_s: seconds the judging may take.
            cost: what writing it took; counted here only if it is a duplicate.

        Raises:
            SearchError: the order cannot take a candidate any more.
            DuplicateError: the search has this source; the order is closed.
        """
        duplicate: DuplicateError | None = None
        with self._database.writing(synced=False) as connection:
            search = read_search(connection, search_id, lock=True)
            order, row = read_order(connection, order_id)
            _takes_candidates(order, search)
            duplicate = _duplicate(connection, order, source_hash, search_id, self.clock())
            if duplicate is None:
                self._lease(connection, order_id, lease_s, source_hash=source_hash)
                if order.state is OrderState.EXPIRED:
                    _visit(connection, order.parents, row["along_path"], 1)
                return order
            self._close_duplicate(connection, order, search, duplicate, cost)
        raise duplicate

    def release(self, order_id: str) -> None:
        """Forget what was handed in for an order, because the judge failed on it: the order stays open."""
        with self._database.writing() as connection:
            _CHANGE_ORDER.write(connection, {"key": order_id, "source_hash": None})

    def fail(self, order_id: str, reason: str, cost: Cost | None = None, *, exhausted: bool = False) -> Order:
        """Close an order whose author gave up.

        Args:
            order_id: the order.
            reason: why.
            cost: what was spent all the same.
            exhausted: nothing was left to try, which says nothing against the author.
        """
        with self._database.writing() as connection:
            search, order, _row = _locked(connection, order_id)
            if order.state in (OrderState.OPEN, OrderState.EXPIRED):
                self._close(connection, order, search, OrderState.FAILED, reason)
                changes = _spent(search, cost)
                if not exhausted:
                    changes["author_failures"] = search.author_failures + 1
                if changes:
                    _CHANGE_SEARCH.write(connection, {"key": search.search_id, **changes})
            return read_order(connection, order_id)[0]

    def keep_prompt(self, order_id: str, text: str) -> None:
        """Keep what the author of an order was told."""
        packed = self._objects.pack(text)
        with self._database.writing() as connection:
            _CHANGE_ORDER.write(connection, {"key": order_id, "prompt_object": packed.write(connection)})

    def _lease(self, connection: Connection, order_id: str, lease_s: float, **more: Any) -> None:
        values = {"state": OrderState.OPEN, "expires": self.clock() + lease_s, **more}
        _CHANGE_ORDER.write(connection, {"key": order_id, **values})

    def _live(self, connection: Connection, search: SearchRecord) -> list[Order]:
        """Orders that wait or are held, by number; those whose lease has run out are taken back."""
        rows = _LIVE.rows(connection, search=search.search_id)
        live, now = [], self.clock()
        for order in (order_of(row) for row in rows):
            if order.state is OrderState.OPEN and order.expires < now:
                self._close(connection, order, search, OrderState.EXPIRED, "its lease ran out")
            else:
                live.append(order)
        return live

    @staticmethod
    def _close(
        connection: Connection,
        order: Order,
        search: SearchRecord,
        state: OrderState,
        reason: str = "",
        node_id: str | None = None,
    ) -> None:
        values = {"state": state, "reason": reason, "node_id": node_id, "source_hash": None}
        _CHANGE_ORDER.write(connection, {"key": order.order_id, **values})
        if order.state is OrderState.OPEN:
            # It was counted as a visit that would bring something.
            along_path = read_order(connection, order.order_id)[1]["along_path"]
            _visit(connection, order.parents, along_path, -1)
        _log(connection, order.search_id, search.step, state.value, {"order": order.order_id, "reason": reason[:200]})

    def _close_duplicate(
        self,
        connection: Connection,
        order: Order,
        search: SearchRecord,
        duplicate: DuplicateError,
        cost: Cost | None,
    ) -> None:
        self._close(connection, order, search, OrderState.DUPLICATE, str(duplicate), duplicate.node_id)
        # A starting point that was given twice is no author's fault.
        failed = order.phase is not Phase.START
        changes = {"author_failures": search.author_failures + failed, **_spent(search, cost)}
        _CHANGE_SEARCH.write(connection, {"key": search.search_id, **changes})

    # -- nodes --------------------------------------------------------------------------------------------------------

    def add_node(
        self,
        search_id: str,
        candidate: Candidate,
        verdict: Verdict,
        parents: Sequence[str] = (),
        mutation: str = "",
        judged_s: float = 0.0,
        *,
        order_id: str | None = None,
        author: str = "",
        cost: Cost | None = None,
        place: Callable[[PlatformVerdict], str | None] | None = None,
        embedding: bytes | None = None,
        counts_rewards: bool = False,
    ) -> Kept:
        """Keep a judged candidate; when this returns, it is not lost any more.

        Args:
            search_id: the search.
            candidate: what was judged.
            verdict: the judge's answer; must hold the search's platform.
            parents: the nodes it was derived from, the main one first; none for a starting point.
            mutation: how it was derived.
            judged_s: seconds the judge took.
            order_id: the order it was written for, which is closed.
            author: who wrote it.
            cost: what writing it took.
            place: gives the archive cell of a viable node from its platform verdict (evolutionary policy).
            embedding: the source's, for telling later ones apart from it.
            counts_rewards: add its reward to all its ancestors (MCTS).

        Raises:
            DuplicateError: the search has this source already; the order is closed.
            SearchError: the task has changed since the search began, or the order cannot take a candidate.
        """
        packed_source = self._objects.pack(candidate.source)
        packed_verdict = self._objects.pack(verdict.model_dump_json())
        duplicate: DuplicateError | None = None
        with self._database.writing() as connection:
            search = read_search(connection, search_id, lock=True)
            order, along_path = None, False
            if order_id is not None:
                order, order_row = read_order(connection, order_id)
                along_path = order_row["along_path"]
                _takes_candidates(order, search)
            duplicate = _duplicate(connection, order, candidate.source_hash, search_id, self.clock())
            if duplicate is None:
                entry = verdict.of(search.platform)
                row = {
                    **_NEW_NODE, "source_object": packed_source.write(connection),
                    "verdict_object": packed_verdict.write(connection), "mutation": mutation, "judged_s": judged_s,
                    "author": author, "order_id": order_id, "embedding": embedding,
                }  # fmt: skip
                row |= _judged(connection, search, candidate, entry, verdict, parents)
                row["island"] = order.island if order is not None else 0
                if place is not None and row["viable"]:
                    row["cell"] = place(entry)
                _ADD_NODE.write(connection, row)
                for position, parent_id in enumerate(parents):
                    edge = {"child_id": row["id"], "position": position, "parent_id": parent_id}
                    _ADD_EDGE.write(connection, {**edge, "transformation": mutation})
                if parents:
                    _MORE_CHILDREN.write(connection, {"key": parents[0]})
                changes, leads = _count(search, row, entry, verdict)
                _CHANGE_SEARCH.write(connection, {"key": search_id, **changes, **_spent(search, cost)})
                if parents and not leads:
                    # A change that broke the code will break it elsewhere too; one that brought nothing may still.
                    _set_back(connection, search_id, mutation, 1 if entry.status is Status.CORRECT else 2)
                if row["cell"] is not None:
                    _challenge_elite(connection, row, search.options.margin)
                if counts_rewards and parents and search.start_score and row["score"] > search.start_score:
                    values = {"key": parents[0], "more": math.log(row["score"] / search.start_score)}
                    _REWARD_LINE.write(connection, values)
                if order is not None:
                    if order.state is OrderState.EXPIRED:
                        _visit(connection, order.parents, along_path, 1)
                    done = {"state": OrderState.DONE, "node_id": row["id"], "source_hash": None}
                    _CHANGE_ORDER.write(connection, {"key": order_id, **done})
                _log(connection, search_id, row["step"], "node", {"node": row["id"], "status": row["status"]})
                return Kept(node_of(row), search, leads)
            if order is not None:
                self._close_duplicate(connection, order, search, duplicate, cost)
        raise duplicate

    def confirm(self, node_id: str, verdict: Verdict) -> Node:
        """Keep the second, fuller verdict of a node; one that is not *correct*, or whose audit says no, refutes it."""
        packed = self._objects.pack(verdict.model_dump_json())
        with self._database.writing() as connection:
            node = read_node(connection, node_id)
            search = read_search(connection, node.search_id, lock=True)
            entry = verdict.of(search.platform)
            correct = entry.stands
            values: dict[str, Any] = {"confirmation_object": packed.write(connection), "refuted": not correct}
            if correct:
                # The paired figure, however wide: a confirmation is what gets reported.
                fitness = fitness_of(verdict, search.platform, search.options.baseline)
                values |= {
                    "confirmed": fitness_text(fitness),
                    "latency_ms": mean_ms(entry.timings, search.options.baseline),
                    "roofline_share": roofline_share(entry.timings, search.options.baseline),
                    "viable": fitness.speedup > 0, "score": fitness.speedup, "low": fitness.low,
                }  # fmt: skip
            else:
                values |= {"viable": False, "score": 0.0, "low": 0.0}
            _CHANGE_NODE.write(connection, {"key": node_id, **values})
            leader = _leader(connection, search)
            _CHANGE_SEARCH.write(connection, {"key": search.search_id, **leader})
            kind = "confirmed" if correct else "refuted"
            _log(connection, search.search_id, search.step, kind, {"node": node_id, "leader": leader["leader_id"]})
            return read_node(connection, node_id)

    def exhaust(self, node_id: str) -> None:
        """Note that the synthesizer has nothing left to try from a node."""
        with self._database.writing() as connection:
            search = read_search(connection, read_node(connection, node_id).search_id, lock=True)
            _CHANGE_NODE.write(connection, {"key": node_id, "exhausted": True})
            _log(connection, search.search_id, search.step, "exhausted", {"node": node_id})


# -- parts of transactions --------------------------------------------------------------------------------------------


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _task_id(connection: Connection, reference: str) -> int:
    query = select(tasks.c.id).where(tasks.c.reference == reference)
    known = connection.execute(query).scalar()
    if known is None:
        connection.execute(_upsert(connection, tasks).values(reference=reference).on_conflict_do_nothing())
        known = connection.execute(query).scalar_one()
    return int(known)


def _upsert(connection: Connection, table: Any) -> Any:
    """An insert that may say what to do on conflict; both databases know the same clause."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


_UPSERTS: dict[tuple[str, str], Prepared] = {}


def _set_back(connection: Connection, search_id: str, mutation: str, count: int) -> None:
    key = (connection.dialect.name, "setbacks")
    if key not in _UPSERTS:
        statement = _upsert(connection, setbacks)
        more = {"count": setbacks.c.count + statement.excluded.count}
        _UPSERTS[key] = Prepared(statement.on_conflict_do_update(index_elements=["search_id", "mutation"], set_=more))
    _UPSERTS[key].write(connection, {"search_id": search_id, "mutation": mutation, "count": count})


def _challenge_elite(connection: Connection, row: Mapping[str, Any], margin: float) -> None:
    place = {"search": row["search_id"], "island": row["island"], "cell": row["cell"]}
    before = _ELITE.first(connection, **place)
    if before is not None and before["viable"] and not _leads(row["score"], row["low"], before["score"], margin):
        return
    key = (connection.dialect.name, "elites")
    if key not in _UPSERTS:
        statement = _upsert(connection, elites)
        change = {"node_id": statement.excluded.node_id}
        columns = ["search_id", "island", "cell"]
        _UPSERTS[key] = Prepared(statement.on_conflict_do_update(index_elements=columns, set_=change))
    values = {"search_id": row["search_id"], "island": row["island"], "cell": row["cell"], "node_id": row["id"]}
    _UPSERTS[key].write(connection, values)


def _log(connection: Connection, search_id: str, step: int, kind: str, detail: dict[str, Any]) -> None:
    row = {"search_id": search_id, "step": step, "kind": kind, "detail": json.dumps(detail), "made": _now()}
    _ADD_EVENT.write(connection, row)


def _visit(connection: Connection, parents: Sequence[str], along_path: bool, more: int) -> None:
    if along_path and parents:
        _VISIT_LINE.write(connection, {"key": parents[0], "more": more})
    elif parents:
        for parent in parents:
            _VISIT_ONE.write(connection, {"key": parent, "more": more})


def _judged(
    connection: Connection,
    search: SearchRecord,
    candidate: Candidate,
    entry: PlatformVerdict,
    verdict: Verdict,
    parents: Sequence[str],
) -> dict[str, Any]:
    """What a verdict makes of a candidate in this search, as columns."""
    options = search.options
    latency_ms = mean_ms(entry.timings, options.baseline)
    fitness = fitness_of(verdict, search.platform, options.baseline)
    fitness = steadied(fitness, latency_ms, search.anchor_ms, options.margin)
    step = search.step + 1
    viable = entry.status is Status.CORRECT and fitness.speedup > 0
    return {
        "id": f"{search.search_id}.{step}",
        "search_id": search.search_id,
        "step": step,
        "parent_id": parents[0] if parents else None,
        "more_parents": " ".join(parents[1:]),
        "language": candidate.language,
        "name": candidate.name,
        "source_hash": candidate.source_hash,
        "status": entry.status,
        "signature": _signature(entry),
        "fitness": fitness_text(fitness),
        "latency_ms": latency_ms,
        "roofline_share": roofline_share(entry.timings, options.baseline),
        "made": _now(),
        "depth": 1 + _DEPTH.tuples(connection, key=parents[0])[0][0] if parents else 0,
        "viable": viable,
        "score": fitness.speedup if viable else 0.0,
        "low": fitness.low if viable else 0.0,
    }


def _count(
    search: SearchRecord, row: Mapping[str, Any], entry: PlatformVerdict, verdict: Verdict
) -> tuple[dict[str, Any], bool]:
    """What changes in the row that sums up a search, and whether the new node leads."""
    changes: dict[str, Any] = {"step": row["step"], "author_failures": 0}
    broken = entry.status is Status.HARNESS_ERROR
    changes["harness_errors"] = search.harness_errors + 1 if broken else 0
    if entry.status is Status.CORRECT:
        # Only of correct candidates: one that does not compile may have been judged before the task was even read.
        if search.task_hash not in (None, verdict.receipt.task_hash):
            raise SearchError(
                f"The task of search {search.search_id} has changed since it began, so speed-ups cannot be compared.",
                "Start a new search.",
            )
        changes["task_hash"] = verdict.receipt.task_hash
    if row["viable"] and row["latency_ms"] is not None and search.anchor_ms is None:
        changes["anchor_ms"] = row["latency_ms"] * row["score"]
    if row["viable"] and search.start_score is None:
        changes["start_score"] = row["score"]
    leads = row["viable"] and (
        search.leader_id is None or _leads(row["score"], row["low"], search.leader_score, search.options.margin)
    )
    if leads:
        changes |= {"leader_id": row["id"], "leader_score": row["score"], "stalled": 0}
    elif row["parent_id"] is not None:
        changes["stalled"] = search.stalled + 1
    return changes, leads


def _leads(score: float, low: float, best: float, margin: float) -> bool:
    return improves(Fitness.model_construct(speedup=score, low=low), Fitness.model_construct(speedup=best), margin)


def _leader(connection: Connection, search: SearchRecord) -> dict[str, Any]:
    """The leader by going through all nodes: needed only when a score has changed afterwards."""
    query = select(nodes.c.id, nodes.c.score, nodes.c.low).where(nodes.c.search_id == search.search_id, nodes.c.viable)
    best: Any = None
    for row in connection.execute(query.order_by(nodes.c.step)):
        if best is None or _leads(row.score, row.low, best.score, search.options.margin):
            best = row
    if best is None:
        return {"leader_id": None, "leader_score": 0.0}
    return {"leader_id": best.id, "leader_score": best.score}


def _locked(connection: Connection, order_id: str) -> tuple[SearchRecord, Order, dict[str, Any]]:
    """An order and its search, which nobody else changes until the transaction ends."""
    search = read_search(connection, read_order(connection, order_id)[0].search_id, lock=True)
    # Read again: it may have changed before the lock was ours.
    return search, *read_order(connection, order_id)


def _takes_candidates(order: Order, search: SearchRecord) -> None:
    if order.search_id != search.search_id:
        raise SearchError(
            f"Order {order.order_id} belongs to search {order.search_id}, not to {search.search_id}.",
            "Hand it in there.",
        )
    if order.state not in (OrderState.OPEN, OrderState.EXPIRED):
        raise SearchError(f"Order {order.order_id} is {order.state.value} already.", "Ask for another order.")
    if search.state is SearchState.FINISHED:
        why = search.reason.value if search.reason else "stopped"
        raise SearchError(
            f"Search {search.search_id} has ended ({why}), so nothing is judged for it any more.",
            "Resume it with a larger budget, then hand in again.",
        )


def _duplicate(
    connection: Connection, order: Order | None, source_hash: str, search_id: str, now: float
) -> DuplicateError | None:
    holder = held_by(connection, search_id, source_hash, now)
    if holder is None:
        return None
    node_id, order_id = holder
    if node_id is None and order is not None and order_id == order.order_id:
        return None
    return DuplicateError(node_id)


def _spent(search: SearchRecord, cost: Cost | None) -> dict[str, Any]:
    if cost is None or cost == Cost():
        return {}
    return {
        "input_tokens": search.input_tokens + cost.input_tokens,
        "output_tokens": search.output_tokens + cost.output_tokens,
        "usd": search.usd + cost.usd,
    }


def _signature(entry: PlatformVerdict) -> str | None:
    """What failures of the same kind have in common: the finding, and the summary without its numbers and names."""
    if entry.diagnosis is None:
        return None
    words = re.sub(r"[`'\"][^`'\"]*[`'\"]|[\d.]+", "#", entry.diagnosis.summary)
    return f"{entry.diagnosis.finding.value}:{hashlib.sha256(words.encode()).hexdigest()[:12]}"
