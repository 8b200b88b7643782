"""Holding a worker still while the judge does something that the worker must not get ahead of, nor get in the way of.

Threads of a candidate go on between its calls. Were they let, they could keep the processors from the baseline while
that is timed, or start on inputs before the clock does. A stopped process does neither, whatever it means to do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import watch

_STOPPED = frozenset("TtZX")
"""States of a thread, as /proc says them, in which it runs nothing: stopped, traced, ended."""
_LIMIT_S = 5.0
"""Seconds that stopping may take; a thread in the middle of a page fault or of a write stops a little later."""
_PAUSE_S = 0.0002


@contextlib.contextmanager
def held_still(pid: int) -> Iterator[None]:
    """Stop a process and everything that it started, and let all of it go on afterwards.

    Args:
        pid: a worker's first process, as the host sees it.

    Raises:
        CandidateError: not everything stopped in time (`not_checkable`), so nothing can be said of what comes next.
    """
    family = _stop(pid)
    try:
        yield
    finally:
        for number in family:
            _signal(number, signal.SIGCONT)


def _stop(pid: int) -> list[int]:
    """Stop a family, and whoever joins it meanwhile, until two looks in a row find the same members, all stopped: what
    one of them started just before it stopped is seen the second time."""
    deadline = time.monotonic() + _LIMIT_S
    settled: list[int] = []
    family: list[int] = []
    while time.monotonic() < deadline:
        family = sorted(watch.family(pid))
        running = [number for number in family if not _is_stopped(number)]
        if not running and family == settled:
            return family
        settled = [] if running else family
        for number in running:
            _signal(number, signal.SIGSTOP)
        if running:
            time.sleep(_PAUSE_S)
    for number in family:
        _signal(number, signal.SIGCONT)
    raise CandidateError(
        Finding.NOT_CHECKABLE,
        f"The candidate's processes could not be held still within {_LIMIT_S:g} s, so its times cannot be checked.",
        "Start no processes in a candidate; judge it again if it starts none.",
    )


def _signal(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def _is_stopped(pid: int) -> bool:
    """Whether every thread of a process runs nothing; true of one that is gone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - asked often
    except FileNotFoundError:
        return True
    return all(_state(pid, thread) in _STOPPED for thread in threads)


def _state(pid: int, thread: str) -> str:
    try:
        with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:  # noqa: PTH123 - asked often
            # The name before it is in parentheses and may hold any character.
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
