"""Where searches live: SQLite for the graph, a folder of objects beside it for sources and verdicts.

Each node insert is the checkpoint: node, edge and event are one transaction, and their objects are on disk before it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, create_engine, event, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.search.errors import SearchError
from kernelevolve.search.fitness import Fitness, fitness_of, mean_ms, steadied
from kernelevolve.search.node import Node, SearchRecord, SearchState, StartingPoint, StopReason
from kernelevolve.search.objects import ObjectStore
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.view import leader

_SCHEMA = 1
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_ID_LENGTH = 12  # of 31 letters: 59 bits


class _Row(DeclarativeBase):
    pass


class _Task(_Row):
    __tablename__ = "tasks"
    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(unique=True)


class _Search(_Row):
    __tablename__ = "searches"
    id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    task_hash: Mapped[str | None]
    platform: Mapped[str]
    options: Mapped[str]
    policy: Mapped[str]
    synthesizer: Mapped[str]
    starting_points: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str | None]
    made: Mapped[str]
    finished: Mapped[str | None]


class _Node(_Row):
    __tablename__ = "nodes"
    __table_args__ = (UniqueConstraint("search_id", "step"), UniqueConstraint("search_id", "source_hash"))
    id: Mapped[str] = mapped_column(primary_key=True)
    search_id: Mapped[str] = mapped_column(ForeignKey("searches.id"))
    step: Mapped[int]
    language: Mapped[str]
    name: Mapped[str]
    source_hash: Mapped[str]
    source_object: Mapped[str]
    verdict_object: Mapped[str]
    status: Mapped[str]
    fitness: Mapped[str]
    latency_ms: Mapped[float | None]
    confirmation_object: Mapped[str | None]
    confirmed: Mapped[str | None]
    refuted: Mapped[bool]
    judged_s: Mapped[float]
    made: Mapped[str]


class _Edge(_Row):
    __tablename__ = "edges"
    child_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), index=True)
    transformation: Mapped[str]


class _Event(_Row):
    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[str] = mapped_column(ForeignKey("searches.id"), index=True)
    step: Mapped[int]
    kind: Mapped[str]
    detail: Mapped[str]
    made: Mapped[str]


class StoredEvent(Contract):
    """One entry of a search's change log."""

    number: int
    """Position in the log of all searches; grows."""
    step: int
    """The last step when it happened; -1 before the first."""
    kind: str
    """`created`, `node`, `confirmed`, `refuted`, `finished` or `resumed`."""
    detail: dict[str, Any]
    """What changed."""
    made: str
    """UTC time, ISO 8601."""


class Store:
    """All searches of one state folder.

    Args:
        path: the SQLite file; it and its folder are created. The objects lie in `objects/` beside it.

    Raises:
        SearchError: the file was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.objects = ObjectStore(path.parent / "objects")
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        # A writer takes the lock before it reads, so that the step it computes is still free when it inserts.
        self._writer = self._engine.execution_options(immediate=True)
        try:
            with self._writer.begin() as connection:
                version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
                if version > _SCHEMA:
                    raise SearchError(
                        f"{path} has schema {version}; this version knows {_SCHEMA}.", "Update KernelEvolve."
                    )
                _Row.metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {_SCHEMA}")
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Release the database file."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Searches

    def create_search(
        self,
        task: str,
        platform: str,
        starting_points: Sequence[Candidate],
        options: OptimizeOptions,
        policy: str = "greedy",
        synthesizer: str = "mutator",
    ) -> str:
        """Begin a search.

        Args:
            task: path of the task, or `aten::<operator>`.
            platform: platform name.
            starting_points: what to begin with; kept, so that an interrupted search can judge those it has not yet.
            options: budget, goal and rigour.
            policy: name of the selection policy.
            synthesizer: name of the synthesizer.

        Returns:
            The search's handle.
        """
        points = [
            StartingPoint(language=point.language, name=point.name, source_object=self.objects.put(point.source))
            for point in starting_points
        ]
        search_id = "".join(secrets.choice(_LETTERS) for _ in range(_ID_LENGTH))
        with Session(self._writer) as session, session.begin():
            row = session.scalar(select(_Task).where(_Task.reference == task))
            if row is None:
                row = _Task(reference=task)
                session.add(row)
                session.flush()
            session.add(
                _Search(
                    id=search_id,
                    task_id=row.id,
                    platform=platform,
                    options=options.model_dump_json(),
                    policy=policy,
                    synthesizer=synthesizer,
                    starting_points=json.dumps([point.model_dump() for point in points]),
                    state=SearchState.RUNNING,
                    made=_now(),
                )
            )
            session.flush()
            _log(session, search_id, -1, "created", {"platform": platform})
        return search_id

    def search(self, search_id: str) -> SearchRecord:
        """One search.

        Raises:
            SearchError: there is none with this handle.
        """
        with Session(self._engine) as session, session.begin():
            return _search_of(session, _search_row(session, search_id))

    def searches(self) -> tuple[SearchRecord, ...]:
        """All searches, the newest first."""
        with Session(self._engine) as session, session.begin():
            rows = session.scalars(select(_Search).order_by(_Search.made.desc(), _Search.id)).all()
            return tuple(_search_of(session, row) for row in rows)

    def finish(self, search_id: str, reason: StopReason) -> SearchRecord:
        """Mark a search as ended."""
        with Session(self._writer) as session, session.begin():
            row = _search_row(session, search_id)
            row.state, row.reason, row.finished = SearchState.FINISHED, reason, _now()
            _log(session, search_id, _last_step(session, search_id), "finished", {"reason": reason})
            return _search_of(session, row)

    def reopen(self, search_id: str, options: OptimizeOptions | None = None) -> SearchRecord:
        """Let a search go on, with other options if they are given."""
        with Session(self._writer) as session, session.begin():
            row = _search_row(session, search_id)
            row.state, row.reason, row.finished = SearchState.RUNNING, None, None
            if options is not None:
                row.options = options.model_dump_json()
            _log(session, search_id, _last_step(session, search_id), "resumed", {})
            return _search_of(session, row)

    # Nodes

    def add_node(
        self,
        search_id: str,
        candidate: Candidate,
        verdict: Verdict,
        parent_id: str | None,
        mutation: str,
        judged_s: float,
    ) -> Node:
        """Keep a judged candidate; when this returns, it is not lost any more.

        Args:
            search_id: the search.
            candidate: what was judged.
            verdict: the judge's answer; must hold the search's platform.
            parent_id: the node it was derived from; None for a starting point.
            mutation: how it was derived.
            judged_s: seconds the judge took.

        Raises:
            SearchError: the search has this source already, or its task has changed since its first node.
        """
        source_object = self.objects.put(candidate.source)
        verdict_object = self.objects.put(verdict.model_dump_json())
        with Session(self._writer) as session, session.begin():
            search = _search_row(session, search_id)
            if _has_source(session, search_id, candidate.source_hash):
                raise SearchError(f"Search {search_id} has this source already.", "Propose another one.")
            entry = verdict.of(search.platform)
            if entry.status is Status.CORRECT:
                _compare_task(search, verdict)
            baseline = OptimizeOptions.model_validate_json(search.options).baseline
            step = _last_step(session, search_id) + 1
            latency_ms = mean_ms(entry.timings, baseline)
            row = _Node(
                id=f"{search_id}.{step}",
                search_id=search_id,
                step=step,
                language=candidate.language,
                name=candidate.name,
                source_hash=candidate.source_hash,
                source_object=source_object,
                verdict_object=verdict_object,
                status=entry.status,
                fitness=_fitness(session, search, verdict, latency_ms).model_dump_json(),
                latency_ms=latency_ms,
                refuted=False,
                judged_s=judged_s,
                made=_now(),
            )
            session.add(row)
            session.flush()
            edges = []
            if parent_id is not None:
                edges = [_Edge(child_id=row.id, position=0, parent_id=parent_id, transformation=mutation)]
                session.add_all(edges)
            _log(session, search_id, step, "node", {"node": row.id, "status": row.status})
            session.flush()
            return _node_of(row, edges)

    def confirm(self, node_id: str, verdict: Verdict) -> Node:
        """Keep the second, fuller verdict of a node; a verdict that is not *correct* marks it as refuted."""
        key = self.objects.put(verdict.model_dump_json())
        with Session(self._writer) as session, session.begin():
            row = session.get(_Node, node_id)
            if row is None:
                raise SearchError(f"There is no node {node_id!r}.", "List the nodes of the search.")
            search = _search_row(session, row.search_id)
            correct = verdict.of(search.platform).status is Status.CORRECT
            row.confirmation_object = key
            row.refuted = not correct
            if correct:
                baseline = OptimizeOptions.model_validate_json(search.options).baseline
                row.latency_ms = mean_ms(verdict.of(search.platform).timings, baseline)
                # The paired figure, however wide: a confirmation is what gets reported.
                row.confirmed = fitness_of(verdict, search.platform, baseline).model_dump_json()
            kind = "confirmed" if correct else "refuted"
            _log(session, search.id, _last_step(session, search.id), kind, {"node": node_id})
            edges = session.scalars(select(_Edge).where(_Edge.child_id == node_id)).all()
            return _node_of(row, edges)

    def nodes(self, search_id: str) -> tuple[Node, ...]:
        """All nodes of a search, in the order of their steps."""
        with Session(self._engine) as session, session.begin():
            _search_row(session, search_id)
            rows = session.scalars(select(_Node).where(_Node.search_id == search_id).order_by(_Node.step)).all()
            edges: dict[str, list[_Edge]] = {}
            query = select(_Edge).join(_Node, _Node.id == _Edge.child_id).where(_Node.search_id == search_id)
            for edge in session.scalars(query.order_by(_Edge.position)):
                edges.setdefault(edge.child_id, []).append(edge)
            return tuple(_node_of(row, edges.get(row.id, [])) for row in rows)

    def best(self, search_id: str) -> Node | None:
        """The leading node of a search (see `view.leader`)."""
        return leader(self.nodes(search_id), self.search(search_id).options.margin)

    def has_source(self, search_id: str, source_hash: str) -> bool:
        """Whether a search holds a candidate with this `Candidate.source_hash`."""
        with Session(self._engine) as session, session.begin():
            return _has_source(session, search_id, source_hash)

    def candidate(self, node: Node) -> Candidate:
        """The candidate of a node."""
        return Candidate(language=node.language, source=self.objects.get(node.source_object), name=node.name)

    def verdict(self, node: Node) -> Verdict:
        """What the judge first said of a node."""
        return Verdict.model_validate_json(self.objects.get(node.verdict_object))

    def confirmation(self, node: Node) -> Verdict | None:
        """What the judge said of a node the second time, if it was asked."""
        key = node.confirmation_object
        return None if key is None else Verdict.model_validate_json(self.objects.get(key))

    def starting_points(self, search_id: str) -> tuple[Candidate, ...]:
        """The candidates that a search begins with."""
        return tuple(
            Candidate(language=point.language, source=self.objects.get(point.source_object), name=point.name)
            for point in self.search(search_id).starting_points
        )

    def events(self, search_id: str, after: int = 0) -> tuple[StoredEvent, ...]:
        """The change log of a search, from after an event's number on."""
        with Session(self._engine) as session, session.begin():
            query = select(_Event).where(_Event.search_id == search_id, _Event.id > after).order_by(_Event.id)
            return tuple(
                StoredEvent(number=row.id, step=row.step, kind=row.kind, detail=json.loads(row.detail), made=row.made)
                for row in session.scalars(query)
            )


def _configure(connection: Any, record: object) -> None:
    # The driver's own transaction handling begins transactions too late; `_begin` does it.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 10000"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _log(session: Session, search_id: str, step: int, kind: str, detail: dict[str, Any]) -> None:
    session.add(_Event(search_id=search_id, step=step, kind=kind, detail=json.dumps(detail), made=_now()))


def _search_row(session: Session, search_id: str) -> _Search:
    row = session.get(_Search, search_id)
    if row is None:
        raise SearchError(f"There is no search {search_id!r}.", "List the searches to see their handles.")
    return row


def _last_step(session: Session, search_id: str) -> int:
    last = session.scalar(select(func.max(_Node.step)).where(_Node.search_id == search_id))
    return -1 if last is None else last


def _compare_task(search: _Search, verdict: Verdict) -> None:
    # Only of correct candidates: one that does not compile may have been judged before the task was even read.
    if search.task_hash not in (None, verdict.receipt.task_hash):
        raise SearchError(
            f"The task of search {search.id} has changed since it began, so speed-ups cannot be compared.",
            "Start a new search.",
        )
    search.task_hash = verdict.receipt.task_hash


def _fitness(session: Session, search: _Search, verdict: Verdict, latency_ms: float | None) -> Fitness:
    """What a verdict is worth in this search; see `steadied`."""
    options = OptimizeOptions.model_validate_json(search.options)
    fitness = fitness_of(verdict, search.platform, options.baseline)
    query = select(_Node).where(_Node.search_id == search.id, _Node.latency_ms.is_not(None)).order_by(_Node.step)
    first = session.scalars(query.limit(1)).first()
    if first is None or first.latency_ms is None:
        return fitness
    anchor_ms = first.latency_ms * Fitness.model_validate_json(first.fitness).speedup
    return steadied(fitness, latency_ms, anchor_ms or None, options.margin)


def _has_source(session: Session, search_id: str, source_hash: str) -> bool:
    query = select(_Node.id).where(_Node.search_id == search_id, _Node.source_hash == source_hash)
    return session.scalar(query) is not None


def _search_of(session: Session, row: _Search) -> SearchRecord:
    task = session.get_one(_Task, row.task_id)
    return SearchRecord(
        search_id=row.id,
        task=task.reference,
        task_hash=row.task_hash,
        platform=row.platform,
        options=OptimizeOptions.model_validate_json(row.options),
        policy=row.policy,
        synthesizer=row.synthesizer,
        starting_points=tuple(StartingPoint(**point) for point in json.loads(row.starting_points)),
        state=SearchState(row.state),
        reason=None if row.reason is None else StopReason(row.reason),
        made=row.made,
        finished=row.finished,
    )


def _node_of(row: _Node, edges: Iterable[_Edge]) -> Node:
    edges = list(edges)
    return Node(
        node_id=row.id,
        search_id=row.search_id,
        step=row.step,
        parents=tuple(edge.parent_id for edge in edges),
        mutation=edges[0].transformation if edges else "",
        language=row.language,
        name=row.name,
        source_hash=row.source_hash,
        source_object=row.source_object,
        verdict_object=row.verdict_object,
        status=Status(row.status),
        fitness=Fitness.model_validate_json(row.fitness),
        latency_ms=row.latency_ms,
        confirmation_object=row.confirmation_object,
        confirmed=None if row.confirmed is None else Fitness.model_validate_json(row.confirmed),
        refuted=row.refuted,
        judged_s=row.judged_s,
        made=row.made,
    )
