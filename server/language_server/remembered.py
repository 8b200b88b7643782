"""What the language server keeps in the state folder: last verdicts, and which file a search began from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


class Remembered:
    """Small JSON files, each replaced as a whole, so that two servers can share the folder.

    Args:
        state: the state folder.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "language_server"

    def verdict(self, path: str) -> dict[str, Any] | None:
        """The last verdict on a file."""
        return self._read(self._verdict(path))

    def keep_verdict(self, path: str, verdict: dict[str, Any]) -> None:
        """Keep the last verdict on a file."""
        self._write(self._verdict(path), {name: verdict.get(name) for name in _VERDICT})

    def file_of(self, search: str) -> str | None:
        """The file that a search began from."""
        found = self._read(self._folder / "origins" / f"{search}.json")
        return found["file"] if found is not None else None

    def keep_file(self, search: str, file: str) -> None:
        """Keep which file a search began from."""
        self._write(self._folder / "origins" / f"{search}.json", {"file": file})

    def _verdict(self, path: str) -> Path:
        return self._folder / "verdicts" / f"{hashlib.sha256(path.encode(errors='replace')).hexdigest()[:32]}.json"

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # Nothing was kept, or it was damaged: there is no verdict then.
        return found if isinstance(found, dict) else None

    def _write(self, path: Path, value: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(value), encoding="utf-8")
        draft.replace(path)


_VERDICT = ("text_hash", "status", "message", "speedup", "receipt", "line")
