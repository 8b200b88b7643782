"""Content-addressed texts: each one's name is the SHA-256 of what it holds.

Small ones lie in the database and are written in the transaction that names them: a file of their own would cost more
syncs to disk than all the rest of a step. Large ones are files.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from kernelevolve.search.errors import SearchError
from kernelevolve.search.store.database import disk_full, is_full
from kernelevolve.search.store.prepared import Prepared
from kernelevolve.search.store.schema import objects

_SMALL = 32 * 1024
"""Bytes, compressed, that are kept in the database: most sources and verdicts, no profiles."""
_QUICK = 1
"""Compression level: verdicts shrink to a fifth at the fastest one already."""
_CONTENT = Prepared(select(objects.c.content).where(objects.c.id == bindparam("key")))
_ADD = {
    "sqlite": Prepared(sqlite.insert(objects).on_conflict_do_nothing()),
    "postgresql": Prepared(postgresql.insert(objects).on_conflict_do_nothing()),
}
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Packed:
    """A text on its way into the store."""

    key: str
    small: bytes | None
    """The compressed text, if the database keeps it; a large one is a file already."""

    def write(self, connection: Connection) -> str:
        """Write a small one in the transaction that will name it; its key."""
        if self.small is not None:
            _ADD[connection.dialect.name].write(connection, {"id": self.key, "content": self.small})
        return self.key


class ObjectStore:
    """Keeps texts under their hash. A reader sees the whole object or none.

    Args:
        where: for large objects: a folder, or a URL of any file system that `fsspec` knows (`s3://bucket/path`).

    Raises:
        SearchError: the URL's scheme is unknown, or its driver is not installed.
    """

    def __init__(self, where: Path | str) -> None:
        try:
            self._files, self.root = fsspec.core.url_to_fs(str(where))
        except (ValueError, ImportError) as error:
            raise SearchError(
                f"Objects can't be kept at {where}: {error}.", "Name a folder or install the driver."
            ) from error
        self._local = isinstance(self._files, LocalFileSystem)

    def pack(self, text: str) -> Packed:
        """Prepare a text before the transaction that names it. A large one is durable when this returns.

        Raises:
            SearchError: the disk is full.
        """
        content = text.encode()
        key = hashlib.sha256(content).hexdigest()
        small = zlib.compress(content, _QUICK)
        if len(small) <= _SMALL:
            return Packed(key, small)
        self._write(key, content)
        return Packed(key, None)

    def read(self, connection: Connection, key: str) -> str:
        """Read a text back.

        Raises:
            SearchError: there is no such object, or it no longer has the content its name says.
        """
        if not _HASH.fullmatch(key):
            raise SearchError(f"{key!r} is no object name.")
        row = _CONTENT.first(connection, key=key)
        try:
            content = zlib.decompress(row["content"]) if row is not None else self._read(key)
        except zlib.error:
            content = b""
        if hashlib.sha256(content).hexdigest() != key:
            raise SearchError(f"Object {key} was changed on disk.", "Restore the objects from a copy.")
        return content.decode()

    def _write(self, key: str, content: bytes) -> None:
        try:
            if self._local:
                self._write_local(key, content)
            elif not self._files.exists(self._path(key)):
                # Object stores show an object only once it is complete.
                self._files.pipe_file(self._path(key), content)
        except OSError as error:
            if is_full(error):
                raise disk_full(self.root, str(error.strerror)) from error
            raise SearchError(f"Object {key} can't be written to {self.root}: {error}.", "Check the path.") from error

    def _read(self, key: str) -> bytes:
        try:
            return bytes(self._files.cat_file(self._path(key)))
        except FileNotFoundError as error:
            raise SearchError(
                f"Object {key} is missing from {self.root}.", "Keep the objects beside their database."
            ) from error

    def _path(self, key: str) -> str:
        return f"{self.root}/{key[:2]}/{key}"

    def _write_local(self, key: str, content: bytes) -> None:
        path = Path(self._path(key))
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        _sync(path.parent)


def _sync(folder: Path) -> None:
    # The rename itself must reach the disk before a row may name the object.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
