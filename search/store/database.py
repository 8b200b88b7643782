"""The connection to a database: SQLite or PostgreSQL, brought to this version's schema before it is used."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from kernelevolve.evaluation.spans import span
from kernelevolve.search.errors import SearchError
from kernelevolve.search.store.schema import HEAD

_BUSY_MS = 30_000
"""How long a writer waits for another one."""
_MIGRATION_LOCK = 0x6B65_726E
"""PostgreSQL advisory lock under which the schema changes."""


class Database:
    """Transactions on one database.

    Args:
        where: path of a SQLite file, made if it is not there, or a URL (`postgresql+psycopg://…`).

    Raises:
        SearchError: it cannot be opened, or was written by a newer version.
    """

    def __init__(self, where: Path | str) -> None:
        url = _url_of(where)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.name = url.render_as_string(hide_password=True)
        if self.is_sqlite and url.database:
            try:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SearchError(f"{url.database} cannot be made: {error}.", "Check the path.") from error
        with self._translated():
            try:
                self.engine = create_engine(url, pool_pre_ping=not self.is_sqlite)
            except (NoSuchModuleError, ModuleNotFoundError) as error:
                raise SearchError(
                    f"There is no driver for {self.name} here: {error}.",
                    "For PostgreSQL: pip install 'kernelevolve[postgresql]', URL postgresql+psycopg://…",
                ) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        # A SQLite writer takes the lock before it reads, so that what it read is still true when it writes.
        self._reader = self.engine
        if not self.is_sqlite:
            # What SQLite does anyway: all questions of one transaction see the same state.
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._writer = self.engine.execution_options(immediate=True)
        self._quick_writer = self.engine.execution_options(immediate=True, synced=False)
        try:
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database."""
        with span("store.read"), self._translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, synced: bool = True) -> Iterator[Connection]:
        """A transaction that changes something; on SQLite there is one at a time.

        Args:
            synced: on disk when it ends; else it survives the death of the process, but not that of the machine.
        """
        writer = self._writer if synced else self._quick_writer
        with span("store.write"), self._translated(), writer.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Failures of the database itself, in words that say what to do."""
        try:
            yield
        except self._failures() as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            what = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
            if "disk is full" in what or "No space left" in what or "disk I/O error" in what:
                raise disk_full(self.name, what) from error
            if "locked" in what or "busy" in what:
                raise SearchError(
                    f"{self.name} was locked by another process for {_BUSY_MS // 1000} s.", "Try again."
                ) from error
            if {"OperationalError", "DatabaseError"} & {type(error).__name__, type(cause).__name__}:
                raise SearchError(f"{self.name} cannot be used: {what}.", "Check the path or the URL.") from error
            raise

    def _failures(self) -> tuple[type[BaseException], ...]:
        """What SQLAlchemy raises, and what the driver does for statements that are handed to it directly."""
        engine: Any = getattr(self, "engine", None)
        return (DBAPIError,) if engine is None else (DBAPIError, engine.dialect.loaded_dbapi.Error)

    # -- schema -------------------------------------------------------------------------------------------------------

    def _bring_up_to_date(self) -> None:
        with self.reading() as connection:
            if self._revision(connection) == HEAD:
                return
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            # Asked again: another process may have been first.
            revision = self._revision(connection)
            if revision != HEAD:
                self._migrate(connection, revision)

    def _revision(self, connection: Connection) -> str | None:
        tables = set(inspect(connection).get_table_names())
        if "alembic_version" in tables:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if "searches" in tables:
            raise SearchError(
                f"{self.name} was written by a version before the first release, which is not read any more.",
                "Move it away, or name another state folder.",
            )
        return None

    def _migrate(self, connection: Connection, revision: str | None) -> None:
        # Loaded only now: most starts need no migration.
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if revision is not None and revision not in known:
            raise SearchError(
                f"{self.name} has schema {revision}, and this version knows none newer than {HEAD}.",
                "Update KernelEvolve; nothing was changed.",
            )
        command.upgrade(config, "head")


def disk_full(where: object, what: str) -> SearchError:
    """The error for a disk that takes no more."""
    return SearchError(
        f"Nothing more can be written to {where}: {what}.",
        "Free some space, then go on: all that was acknowledged is there.",
    )


def is_full(error: OSError) -> bool:
    """Whether a file could not be written for want of space."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _url_of(where: Path | str) -> URL:
    if isinstance(where, Path):
        return URL.create("sqlite", database=str(where))
    try:
        return make_url(where)
    except ArgumentError as error:
        raise SearchError(
            f"{where!r} is no database.", "Give a path, or a URL such as postgresql+psycopg://user@host/name."
        ) from error


def _configure_sqlite(connection: Any, record: object) -> None:
    # The driver's own transaction handling begins transactions too late; `_begin_sqlite` does it.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}").close()
    ends = time.monotonic() + _BUSY_MS / 1000
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        # Several processes that meet at a new file: SQLite doesn't wait for a lock to change the mode, it refuses.
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    cursor = connection.connection.cursor()
    if not options.get("immediate", False):
        cursor.execute("BEGIN")
    else:
        cursor.execute(f"PRAGMA synchronous = {'FULL' if options.get('synced', True) else 'NORMAL'}")
        cursor.execute("BEGIN IMMEDIATE")
    cursor.close()
