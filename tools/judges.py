"""Judges that are kept warm between tool calls, and shared by concurrent ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.tools.execution import Execution

if TYPE_CHECKING:
    from kernelevolve.evaluation.judge.client import Judge
    from kernelevolve.evaluation.verdict import Verdict


class Cancellation:
    """Lets another thread end a call that is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._judge: Judge | None = None
        self._others: list[Callable[[], None]] = []
        self._cancelled = False

    def also(self, end: Callable[[], None]) -> None:
        """Name something else that ends when the call does, such as a process beside the judge."""
        with self._lock:
            self._others.append(end)
            if self._cancelled:
                end()

    def bind(self, judge: Judge) -> None:
        """Name the judge that works for the call."""
        with self._lock:
            self._judge = judge
            if self._cancelled:
                judge.abort()

    def cancel(self) -> None:
        """End the call: its judge hangs up, and everything that worked for it is killed."""
        with self._lock:
            self._cancelled = True
            for end in self._others:
                end()
            if self._judge is not None:
                self._judge.abort()


@dataclass(frozen=True)
class PoolLoad:
    """What the judges of a pool do."""

    busy: int
    """Judges that work for a call."""
    waiting: int
    """Those of them that wait for their device, which another one has."""
    idle: int
    """Judges that are kept warm."""


class JudgePool:
    """Lends judges. One that was interrupted is ended, which frees its device; the next call gets a fresh one.

    Args:
        state: the state folder they share.
        workspace: the only folder whose tasks are taken, and then no task as text: a task's reference runs in the
            judge's own process, with this user's rights. None trusts the callers, who then start the server themselves.
        execution: whether code may be run, and behind which walls.
    """

    def __init__(self, state: Path, workspace: Path | None = None, execution: Execution | None = None) -> None:
        self.state = state
        self.workspace = None if workspace is None else workspace.resolve()
        self.execution = execution or Execution()
        self.folder = self.workspace or Path.cwd()
        """What an agreement to run without walls holds for."""
        self.on_verdict: Callable[[Verdict], None] | None = None
        """Told of every verdict, by the thread that waited for it."""
        self._idle: list[Judge] = []
        self._lent: set[Judge] = set()
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, cancellation: Cancellation | None = None) -> Iterator[Judge]:
        """A judge for one call, which `cancellation` may end.

        Raises:
            KernelEvolveError: no code may be run here.
        """
        # A server's start must not wait for it.
        from kernelevolve.evaluation.judge.client import Judge

        self.execution.permit(self.folder)
        with self._lock:
            judge = self._idle.pop() if self._idle else None
        judge = judge or Judge(self.state, sandbox=self.execution.sandbox)
        judge.on_verdict = self.on_verdict
        with self._lock:
            self._lent.add(judge)
        if cancellation is not None:
            cancellation.bind(judge)
        try:
            yield judge
        except KernelEvolveError as error:
            # Only an internal failure says that the judge's process may be gone.
            if error.finding is Finding.INTERNAL:
                judge.close()
            else:
                self._take_back(judge)
            raise
        except BaseException:
            judge.close()
            raise
        else:
            self._take_back(judge)
        finally:
            with self._lock:
                self._lent.discard(judge)

    def load(self) -> PoolLoad:
        """How much the judges have to do."""
        from kernelevolve.evaluation.judge.request import WAITING

        with self._lock:
            waiting = sum(judge.stage == WAITING for judge in self._lent)
            return PoolLoad(len(self._lent), waiting, len(self._idle))

    def _take_back(self, judge: Judge) -> None:
        with self._lock:
            self._idle.append(judge)

    def close(self) -> None:
        """End every judge that is not lent."""
        with self._lock:
            judges, self._idle = self._idle, []
        for judge in judges:
            judge.close()
