"""Which walls are asked for around code that nobody trusts: the level, and how a process is told it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.finding import Finding

VARIABLE = "KERNELEVOLVE_SANDBOX"
"""Environment variable with the level."""
UNSANDBOXED = "none (--sandbox none: the candidate had this user's rights)"
"""What a receipt says in place of the walls where none was wanted."""


class Protection(StrEnum):
    """How candidates, and compilers that read their source, are confined."""

    AUTO = "auto"
    """Every wall that this machine offers: namespaces, Landlock, limits; compilers in bubblewrap where it works."""
    BWRAP = "bwrap"
    """As `auto`, but nothing runs unless all of that is there: bubblewrap for programs, namespaces for workers."""
    LANDLOCK = "landlock"
    """Landlock, a network namespace where it can be had, limits; no mount or process namespace. Nothing runs without
    Landlock."""
    NONE = "none"
    """No wall at all."""


class ProtectionError(KernelEvolveError):
    """There is no such level, or this machine cannot give it."""

    def __init__(self, summary: str, advice: str) -> None:
        super().__init__(Finding.SANDBOX_MISSING, summary, advice)


_chosen: list[Protection] = []
_for_now: ContextVar[Protection | None] = ContextVar("protection", default=None)


def choose(level: Protection) -> None:
    """Set the level of this process, and of the processes that it starts."""
    _chosen[:] = [level]
    os.environ[VARIABLE] = level.value


@contextmanager
def using(level: Protection) -> Iterator[None]:
    """Another level for what this thread does meanwhile."""
    token = _for_now.set(level)
    try:
        yield
    finally:
        _for_now.reset(token)


def chosen() -> Protection:
    """The level that holds: that of `using`, else what `choose` set, else what the environment says, else `auto`.

    Raises:
        ProtectionError: the environment names no level.
    """
    if (level := _for_now.get()) is not None:
        return level
    return _chosen[0] if _chosen else parse(os.environ.get(VARIABLE) or Protection.AUTO.value)


def parse(text: str) -> Protection:
    """A level by its name.

    Raises:
        ProtectionError: there is none of that name.
    """
    try:
        return Protection(text)
    except ValueError:
        names = ", ".join(level.value for level in Protection)
        raise ProtectionError(f"{text!r} is no level of protection.", f"Use {names} (--sandbox, {VARIABLE}).") from None
