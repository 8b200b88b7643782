"""A folder of content-addressed objects: each file's name is the SHA-256 of what it holds."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from kernelevolve.search.errors import SearchError

_HASH = re.compile(r"[0-9a-f]{64}")


class ObjectStore:
    """Keeps texts under their hash. Writing is atomic: a reader sees the whole object or none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, text: str) -> str:
        """Keep a text, and return its hash. Durable when this returns."""
        content = text.encode()
        key = hashlib.sha256(content).hexdigest()
        path = self._path(key)
        if path.exists():
            return key
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
        self._sync(path.parent)
        return key

    def get(self, key: str) -> str:
        """Read a text back.

        Raises:
            SearchError: there is no such object, or it no longer has the content its name says.
        """
        if not _HASH.fullmatch(key):
            raise SearchError(f"{key!r} is no object name.")
        try:
            content = self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise SearchError(
                f"Object {key} is missing from {self.folder}.", "Keep the objects folder beside its database."
            ) from error
        if hashlib.sha256(content).hexdigest() != key:
            raise SearchError(f"Object {key} was changed on disk.", "Restore the objects folder from a copy.")
        return content.decode()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    @staticmethod
    def _sync(folder: Path) -> None:
        # The rename itself must reach the disk before a row may name the object.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
