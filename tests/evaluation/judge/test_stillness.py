"""A process that is held still does nothing, and neither does what it started; afterwards all of it goes on."""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import stillness
from kernelevolve.evaluation.judge.stillness import held_still

COUNTERS = 3


class Family:
    """A busy process with a busy thread and a busy descendant in a session of its own; each counts in shared memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * COUNTERS)
        self.counts = memoryview(self._memory).cast("q")
        self.pid = os.fork()
        if self.pid == 0:
            self._live()

    def _live(self) -> None:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            self._count(0)
        threading.Thread(target=self._count, args=(1,), daemon=True).start()
        self._count(2)

    def _count(self, place: int) -> None:
        while True:
            self.counts[place] += 1
            time.sleep(0.0001)

    def all_go_on(self) -> bool:
        """Whether every counter moves, sooner or later."""
        before = list(self.counts)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if all(now > then for now, then in zip(self.counts, before, strict=True)):
                return True
            time.sleep(0.001)
        return False


@pytest.fixture
def family() -> Iterator[Family]:
    busy = Family()
    yield busy
    for pid in list(stillness.watch.family(busy.pid)):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(busy.pid, 0)


def test_nothing_moves_while_it_is_held_and_everything_does_afterwards(family: Family) -> None:
    assert family.all_go_on()
    with held_still(family.pid):
        before = list(family.counts)
        time.sleep(0.2)
        assert list(family.counts) == before
    assert family.all_go_on()


def test_it_goes_on_after_a_failure_of_the_judge(family: Family) -> None:
    with pytest.raises(ZeroDivisionError), held_still(family.pid):
        _ = 1 / 0
    assert family.all_go_on()


def test_a_process_that_is_gone_is_still() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with held_still(pid):
        pass


def test_what_does_not_stop_is_not_taken_for_still(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    assert family.all_go_on()
    monkeypatch.setattr(stillness, "_LIMIT_S", 0.2)
    send: Callable[[int, signal.Signals], None] = stillness._signal

    def only_others(pid: int, what: signal.Signals) -> None:
        if pid != family.pid:
            send(pid, what)

    monkeypatch.setattr(stillness, "_signal", only_others)
    with pytest.raises(CandidateError) as refused, held_still(family.pid):
        pytest.fail("it was taken for still")
    assert refused.value.finding is Finding.NOT_CHECKABLE
    assert family.all_go_on()


def test_a_name_with_parentheses_does_not_hide_a_state() -> None:
    name = Path("/proc/self/comm")
    before = name.read_text()
    try:
        name.write_text("x) T (y")
        assert stillness._state(os.getpid(), str(os.getpid())) == "R"
    finally:
        name.write_text(before.strip())
