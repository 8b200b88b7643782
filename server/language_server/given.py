"""Arguments of commands, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernelevolve.server.language_server.errors import WrongArguments


def text_of(given: Mapping[str, Any], name: str) -> str:
    """An argument that must be a text.

    Raises:
        WrongArguments: it is missing or something else.
    """
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise WrongArguments(f"The argument needs {name!r}, a text.")
    return value


def optional_text(given: Mapping[str, Any], name: str) -> str | None:
    """An argument that is a text or left out.

    Raises:
        WrongArguments: it is something else.
    """
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise WrongArguments(f"{name!r} is {value!r}, which is not a text.")
    return value or None


def number_of(given: Mapping[str, Any], name: str, default: float) -> float:
    """An argument that is a number above 0, or left out.

    Raises:
        WrongArguments: it is something else.
    """
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise WrongArguments(f"{name!r} is {value!r}, which is not a number above 0.")
    return value
