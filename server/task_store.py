"""Tasks of the protocol, kept in a small SQLite file: what runs, what came of it, who may ask.

The standard library's driver is enough for one table, and it costs the server's start nothing. Tasks belong to the
servers of one state folder; where several machines serve one database, a client's task calls must reach the machine
that made the task, which is what the protocol's `Mcp-Name` header is for.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

KEEP_S = 24 * 3600.0
"""How long a task is known after it was made, and its result after it ended."""
MOST_OF_A_CALLER = 16
"""Tasks that one caller may have under way."""

_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS tasks (
  id TEXT PRIMARY KEY, caller TEXT NOT NULL, tool TEXT NOT NULL, server TEXT NOT NULL,
  status TEXT NOT NULL, message TEXT, created INTEGER NOT NULL, updated INTEGER NOT NULL, expires INTEGER NOT NULL,
  result TEXT, error TEXT, requests TEXT NOT NULL DEFAULT '{}', responses TEXT NOT NULL DEFAULT '{}',
  cancel INTEGER NOT NULL DEFAULT 0
) STRICT
"""
_COLUMNS = "id, caller, tool, server, status, message, created, updated, expires, result, error, requests, responses"
_ACTIVE = "status IN ('working', 'input_required')"


class TaskStatus(StrEnum):
    """How a task stands, in the protocol's words."""

    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self in (TaskStatus.WORKING, TaskStatus.INPUT_REQUIRED)


class TaskStoreError(Exception):
    """A task can't be made or kept; the text says what to do."""


@dataclass(frozen=True)
class TaskRecord:
    """One task as it stands. Times are milliseconds since 1970, UTC."""

    id: str
    caller: str
    tool: str
    server: str
    """Which server works on it."""
    status: TaskStatus
    message: str | None
    created: int
    updated: int
    expires: int
    """When it is forgotten."""
    result: dict[str, Any] | None
    """The tool's answer, as it goes on the wire."""
    error: dict[str, Any] | None
    """The protocol error that ended it."""
    requests: dict[str, Any]
    """What it asks of the client and has no answer to, by key."""
    responses: dict[str, Any]
    """Answers that its tool has not taken yet, by key."""


class TaskStore:
    """The tasks of a state folder. Any number of servers may share it; each method may be called from any thread.

    Args:
        state: the state folder. The file is made when the first task is, readable to its owner alone.
        keep_s: seconds that a task is known after it was made, and its result after it ended.
    """

    def __init__(self, state: Path, keep_s: float = KEEP_S) -> None:
        self._path = state / "tasks.sqlite"
        self._alive = state / "servers"
        self._keep_ms = int(keep_s * 1000)
        self._server = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._flag: int | None = None

    def create(self, caller: str, tool: str) -> TaskRecord:
        """Make a task that works; it is on disk when this returns.

        Raises:
            TaskStoreError: the caller has too many under way, or the file can't be used.
        """
        now = _now()
        with self._transaction() as connection:
            connection.execute("DELETE FROM tasks WHERE expires <= ?", (now,))
            for (server,) in connection.execute(f"SELECT DISTINCT server FROM tasks WHERE {_ACTIVE}").fetchall():
                if not self._lives(server):
                    self._bury(connection, server)
            row = connection.execute(f"SELECT count(*) FROM tasks WHERE caller = ? AND {_ACTIVE}", (caller,)).fetchone()
            if row[0] >= MOST_OF_A_CALLER:
                raise TaskStoreError(
                    f"You have {row[0]} tasks under way, which is as many as there may be: wait until one of them ends "
                    "(tasks/get), or cancel one (tasks/cancel)."
                )
            identifier = secrets.token_urlsafe(24)
            connection.execute(
                "INSERT INTO tasks (id, caller, tool, server, status, created, updated, expires) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (identifier, caller, tool, self._server, TaskStatus.WORKING, now, now, now + self._keep_ms),
            )
            return _read(connection, identifier)

    def find(self, identifier: str, caller: str) -> TaskRecord | None:
        """A task of this caller; None where there is none, it is another's, or it is past its time.

        One whose server is gone has failed, and says so.

        Raises:
            TaskStoreError: the file can't be used.
        """
        with self._transaction() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM tasks WHERE id = ? AND caller = ? AND expires > ?",
                (identifier, caller, _now()),
            ).fetchone()
            if found is None:
                return None
            task = _record(found)
            if task.status.active and not self._lives(task.server):
                self._bury(connection, task.server)
                return _read(connection, identifier)
            return task

    def note(self, identifier: str, message: str) -> None:
        """Say what a working task does."""
        with self._transaction() as connection:
            connection.execute(
                f"UPDATE tasks SET message = ?, updated = ? WHERE id = ? AND {_ACTIVE}", (message, _now(), identifier)
            )

    def ask(self, identifier: str, requests: Mapping[str, Any]) -> None:
        """Have a task wait for the client's answers to these; their keys must be new."""
        with self._transaction() as connection:
            connection.execute(
                f"UPDATE tasks SET status = 'input_required', requests = ?, responses = '{{}}', updated = ? "
                f"WHERE id = ? AND {_ACTIVE}",
                (json.dumps(requests), _now(), identifier),
            )

    def answer(self, identifier: str, responses: Mapping[str, Any]) -> None:
        """Take answers of the client; those to keys that are not open are ignored. All given, the task works again."""
        with self._transaction() as connection:
            task = _read(connection, identifier)
            if task.status is not TaskStatus.INPUT_REQUIRED:
                return
            taken = {key: value for key, value in responses.items() if key in task.requests}
            left = {key: value for key, value in task.requests.items() if key not in taken}
            status = TaskStatus.INPUT_REQUIRED if left else TaskStatus.WORKING
            connection.execute(
                "UPDATE tasks SET status = ?, requests = ?, responses = ?, updated = ? WHERE id = ?",
                (status, json.dumps(left), json.dumps({**task.responses, **taken}), _now(), identifier),
            )

    def request_cancel(self, identifier: str) -> None:
        """Note that the client wants no more of a task; whichever server works on it looks."""
        with self._transaction() as connection:
            connection.execute(f"UPDATE tasks SET cancel = 1 WHERE id = ? AND {_ACTIVE}", (identifier,))

    def look(self, identifier: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether a task shall be cancelled, and the answers to what it asked once all of them are there."""
        with self._transaction("DEFERRED") as connection:
            row = connection.execute(
                "SELECT cancel, status, responses FROM tasks WHERE id = ?", (identifier,)
            ).fetchone()
            if row is None:
                # Past its time and forgotten: nobody can ask for the result.
                return True, None
            return bool(row[0]), json.loads(row[2]) if row[1] == TaskStatus.WORKING else None

    def settle(
        self,
        identifier: str,
        status: TaskStatus,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        message: str | None = None,
    ) -> None:
        """End a task, once; what has ended, or is past its time, stays as it is."""
        now = _now()
        with self._transaction() as connection:
            connection.execute(
                "UPDATE tasks SET status = ?, result = ?, error = ?, message = ?, requests = '{}', responses = '{}', "
                f"updated = ?, expires = ? WHERE id = ? AND expires > ? AND {_ACTIVE}",
                (status, _json(result), _json(error), message, now, now + self._keep_ms, identifier, now),
            )

    def close(self) -> None:
        """Let go of the file; this server counts as stopped."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._flag is not None:
                (self._alive / self._server).unlink(missing_ok=True)
                os.close(self._flag)
                self._flag = None

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                connection = self._connection or self._open()
                connection.execute(f"BEGIN {kind}")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                raise TaskStoreError(
                    f"Tasks can't be kept in {self._path} ({error}). Make the file usable or move it away; tools work "
                    "without tasks for clients that don't declare the extension."
                ) from error

    def _open(self) -> sqlite3.Connection:
        self._alive.mkdir(parents=True, exist_ok=True)
        if self._flag is None:
            # A lock that the system lets go when this process ends, however it ends.
            self._flag = os.open(self._alive / self._server, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._flag, fcntl.LOCK_EX)
        # SQLite would make it readable to others; its side files take over these rights.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, timeout=10.0, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # A task is promised to the client once it is made: it must survive a power cut.
            connection.execute("PRAGMA synchronous = FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"it has version {version}, this server knows {_VERSION}")
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _lives(self, server: str) -> bool:
        """Whether a server still holds its lock."""
        if server == self._server:
            return True
        try:
            descriptor = os.open(self._alive / server, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _bury(self, connection: sqlite3.Connection, server: str) -> None:
        """End what a server that is gone left behind."""
        now = _now()
        active = connection.execute(
            f"SELECT id, tool, cancel FROM tasks WHERE server = ? AND {_ACTIVE}", (server,)
        ).fetchall()
        for identifier, tool, cancel in active:
            text = None if cancel else stopped_text(tool)
            connection.execute(
                "UPDATE tasks SET status = ?, error = ?, message = ?, requests = '{}', responses = '{}', updated = ?, "
                "expires = ? WHERE id = ?",
                (
                    TaskStatus.CANCELLED if cancel else TaskStatus.FAILED,
                    None if text is None else json.dumps({"code": INTERNAL_ERROR, "message": text}),
                    text, now, now + self._keep_ms, identifier,
                ),
            )  # fmt: skip
        (self._alive / server).unlink(missing_ok=True)


INTERNAL_ERROR = -32603
"""JSON-RPC's code of a failure inside a server; here without the protocol library, which the store doesn't need."""


def stopped_text(tool: str) -> str:
    """What to do about a task whose server stopped before the task was done."""
    if tool == "run_search_step":
        return (
            "The server stopped before this task was done. Candidates that were judged are kept: look with get_search, "
            "then call run_search_step again."
        )
    return f"The server stopped before this task was done: call {tool} again."


def _now() -> int:
    return int(time.time() * 1000)


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _read(connection: sqlite3.Connection, identifier: str) -> TaskRecord:
    return _record(connection.execute(f"SELECT {_COLUMNS} FROM tasks WHERE id = ?", (identifier,)).fetchone())


def _record(row: sqlite3.Row) -> TaskRecord:
    values: dict[str, Any] = dict(row)
    for column in ("result", "error", "requests", "responses"):
        values[column] = None if values[column] is None else json.loads(values[column])
    return TaskRecord(**{**values, "status": TaskStatus(values["status"])})
