"""Logs: one line on stderr for each event, as text or JSON, without tokens, sources or bodies."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

_EVENTS = logging.getLogger("kernelevolve.events")
_SPOKEN = ("uvicorn.error", "py.warnings")
"""Loggers of others whose text is shown: they speak of the process, never of a request's content."""


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write down that something happened.

    Args:
        name: what, in the words of this project.
        level: of `logging`.
        fields: names, numbers and words. Never what a caller sent: that is why no field is called text or message.
    """
    _EVENTS.log(level, name, extra={"fields": fields})


def configure_logging(as_json: bool, level: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to stderr, in one form. Libraries are heard from `warning` on.

    Args:
        as_json: one JSON object for each line; else words for people.
        level: the least that is logged: debug, info, warning or error.
        stream: where to; stderr by default.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    least = logging.getLevelName(level.upper())
    root.setLevel(max(logging.WARNING, least))
    logging.getLogger("kernelevolve").setLevel(least)
    logging.captureWarnings(True)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_entry(record), ensure_ascii=False, default=str)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = _entry(record)
        head = f"{entry.pop('time')} {entry.pop('level')} {entry.pop('event')}"
        frames = entry.pop("frames", [])
        fields = " ".join(f"{name}={_word(value)}" for name, value in entry.items())
        return "\n  ".join([f"{head} {fields}".rstrip(), *frames])


def _word(value: Any) -> str:
    text = str(value)
    # Quoted where it holds a blank or a control character, so that a value can't look like another field or line.
    return text if text.isprintable() and " " not in text and text else json.dumps(text)


def _entry(record: logging.LogRecord) -> dict[str, Any]:
    when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    entry: dict[str, Any] = {"time": when, "level": record.levelname.lower()}
    if record.name == _EVENTS.name:
        entry |= {"event": record.getMessage(), **getattr(record, "fields", {})}
    else:
        # Libraries quote requests in their messages and exceptions. Where it happened is enough to find it.
        entry |= {"event": "library", "logger": record.name, "where": f"{record.module}:{record.lineno}"}
        if record.name in _SPOKEN:
            entry["says"] = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        kind, _error, trace = record.exc_info
        entry["error"] = f"{kind.__module__}.{kind.__qualname__}"
        found = traceback.extract_tb(trace)
        entry["frames"] = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in found]
    return entry
