"""What a reader of one file format gives: a title and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ReadFile:
    """A file as Markdown."""

    title: str
    """Empty if the file has none."""
    body: str
    notes: tuple[str, ...] = ()
    """What was lost on the way, e.g. pages without text."""
    head: Mapping[str, Any] = field(default_factory=dict)
    """What a Markdown file's YAML head says about it; see `knowledge/WRITING.md`."""


class UnreadableFileError(Exception):
    """The file can't be read; the text says why in one sentence."""
