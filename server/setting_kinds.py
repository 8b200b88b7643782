"""Kinds of settings: how what a flag, a variable or a file says becomes a value, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Kind:
    """One kind of value."""

    metavar: str
    """How `--help` names the value."""
    allowed: str
    """What is allowed, for error messages and the reference."""
    read: Callable[[Any], Any]
    """Makes the value of a text (flag, variable) or of a TOML value; raises ValueError for what is not allowed."""
    is_switch: bool = False
    """Whether the flag takes no value."""
    repeats: bool = False
    """Whether the flag may be given more than once."""
    is_path: bool = False
    """Whether a relative value in a file means a place beside that file."""
    quotable: bool = True
    """Whether an error message may show the value. An address may hold a password."""
    shown: Callable[[Any], Any] = lambda value: value
    """What may be shown of a value."""


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip() or "\0" in raw:
        raise ValueError
    return raw.strip()


def _path(raw: Any) -> Path:
    return Path(_text(str(raw) if isinstance(raw, Path) else raw)).expanduser()


def _switch(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = _text(raw).lower()
    if word not in _YES + _NO:
        raise ValueError
    return word in _YES


def _several(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(_text(part) for part in raw.split(","))
    if not isinstance(raw, list | tuple):
        raise ValueError
    return tuple(_text(part) for part in raw)


def _host_port(raw: Any) -> str:
    text = _text(raw)
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError
    return text


def without_credentials(address: Any) -> Any:
    """An address without what may be a password: user information and the query. What is no address stays as it is."""
    if not isinstance(address, str):
        return address
    return re.sub(r"\?.*", "?…", re.sub(r"//.*@", "//…@", address))


def whole(low: int, high: int) -> Kind:
    """A whole number within limits, both included."""

    def read(raw: Any) -> int:
        # True is an int to Python; in a file it is a mistake.
        if isinstance(raw, bool) or not isinstance(raw, int | str):
            raise ValueError
        value = int(raw)
        if not low <= value <= high:
            raise ValueError
        return value

    return Kind("INTEGER", f"a whole number from {low} to {high}", read)


def number(low: float, high: float) -> Kind:
    """A number within limits, both included."""

    def read(raw: Any) -> float:
        if isinstance(raw, bool) or not isinstance(raw, int | float | str):
            raise ValueError
        value = float(raw)
        if not low <= value <= high:
            raise ValueError
        return value

    return Kind("NUMBER", f"a number from {low:g} to {high:g}", read)


def choice(*words: str) -> Kind:
    """One of a few words."""

    def read(raw: Any) -> str:
        word = _text(raw)
        if word not in words:
            raise ValueError
        return word

    return Kind("|".join(words), " or ".join((", ".join(words[:-1]), words[-1])), read)


TEXT = Kind("TEXT", "a text that is not empty", _text)
SECRET = Kind("TEXT", "a text that is not empty", _text, quotable=False)
PATH = Kind("PATH", "a path", _path, is_path=True)
PLACE = Kind("ADDRESS", "a path or an address", _text, is_path=True, quotable=False, shown=without_credentials)
ADDRESS = Kind("ADDRESS", "an address", _text, quotable=False, shown=without_credentials)
SWITCH = Kind("", "true or false", _switch, is_switch=True)
SEVERAL = Kind("TEXT", "texts; separated by commas in a variable, a list in a file", _several, repeats=True)
HOST_PORT = Kind("HOST:PORT", "HOST:PORT, such as 127.0.0.1:8770", _host_port)
