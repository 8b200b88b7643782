"""Statements that are compiled once and run often.

SQLAlchemy spends some 80 µs on each execution of a statement, several times what SQLite needs to run it, and a step of
a search runs thirty. These are built and compiled by SQLAlchemy, for either database, and go to the driver directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from sqlalchemy import ClauseElement, Insert
from sqlalchemy.engine import Connection

Values = Mapping[str, Any]
_Compiled = tuple[str, Callable[[Values], Any]]


class Prepared:
    """One statement.

    Args:
        statement: with `bindparam`s for what changes; an insert or update takes its columns from the values. Not with
            `in_` over a list, which SQLAlchemy writes out at each execution.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[tuple[str, tuple[str, ...]], _Compiled] = {}
        columns: Any = statement.table.c if isinstance(statement, Insert) else ()
        self._defaults = {column.name: column.default.arg for column in columns if column.default is not None}

    def run(self, connection: Connection, values: Values) -> Any:
        """Execute it; the driver's cursor."""
        if self._defaults:
            values = {**self._defaults, **values}
        key = (connection.dialect.name, tuple(values))
        if key not in self._compiled:
            self._compiled[key] = _compile(self._statement, connection, values)
        text, bind = self._compiled[key]
        cursor = connection.connection.cursor()
        cursor.execute(text, bind(values))
        return cursor

    def rows(self, connection: Connection, **values: Any) -> list[dict[str, Any]]:
        """All rows, by column; booleans may come as 0 and 1."""
        cursor = self.run(connection, values)
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        cursor.close()
        return found

    def first(self, connection: Connection, **values: Any) -> dict[str, Any] | None:
        """The first row, or None."""
        found = self.rows(connection, **values)
        return found[0] if found else None

    def tuples(self, connection: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """All rows as tuples."""
        cursor = self.run(connection, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
        return found

    def write(self, connection: Connection, values: Values) -> None:
        """Execute an insert or update."""
        self.run(connection, values).close()


def _compile(statement: ClauseElement, connection: Connection, values: Values) -> _Compiled:
    compiled: Any = statement.compile(dialect=connection.dialect, column_keys=list(values))
    fixed = {name: value for name, value in compiled.params.items() if value is not None}
    if not compiled.positional:
        return compiled.string, lambda given: {name: _plain(value) for name, value in {**fixed, **given}.items()}
    names = tuple(compiled.positiontup)
    # Positions that hold the same value in every execution.
    return compiled.string, lambda given: [_plain(given[name]) if name in given else fixed.get(name) for name in names]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        # PostgreSQL keeps no NUL in a text.
        text: str = value.value if isinstance(value, Enum) else value
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return value
