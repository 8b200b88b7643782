"""What a server gets ready in the background, a moment after its start: a warm judge, the knowledge base's index."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernelevolve.knowledge.base import KnowledgeBase

GetBase = Callable[[], "KnowledgeBase"]

_JUDGE_AFTER_S = 0.2
_INDEX_AFTER_S = 1.0
"""Imports and the index take the interpreter, the index for two seconds: the client's first answers come before."""


def base_when_needed(state: Path) -> GetBase:
    """A function that gives the one knowledge base of a server; its modules are imported when it is first called."""

    @cache
    def base() -> KnowledgeBase:
        from kernelevolve.knowledge.base import KnowledgeBase

        return KnowledgeBase(state)

    return base


class WarmUp:
    """Gets ready what the first judgement and the first question need.

    Args:
        state: the state folder.
        base: gives the knowledge base.
        judge: whether a judge may be started.
    """

    def __init__(self, state: Path, base: GetBase, judge: bool) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._ours = self._ended = False
        self._loading = threading.Timer(_INDEX_AFTER_S, lambda: base().warm_up())
        self._judging = threading.Timer(_JUDGE_AFTER_S, self._start_judge) if judge else None

    def start(self) -> None:
        """Begin; returns at once."""
        for timer in (self._judging, self._loading):
            if timer is not None:
                timer.daemon = True
                timer.start()

    def end(self, within_s: float | None = None) -> None:
        """End what was begun: the judge too, unless somebody else had started it.

        Args:
            within_s: how long a half-loaded index is waited for, before the process ends over it. A judge that is just
                starting is not waited for then: it ends when it is ready, or with this process. None waits for both as
                long as it takes, which keeps the interpreter from ending under a library that works.
        """
        self._loading.cancel()
        if self._judging is not None:
            self._judging.cancel()
        with self._lock:
            self._ended = True
            started = self._ours
        if started:
            self._stop_judge()
        self._loading.join(within_s)
        if self._judging is not None and within_s is None:
            self._judging.join()

    def _start_judge(self) -> None:
        from kernelevolve.evaluation.judge.client import start_warm_host, warm_host

        if warm_host(self._state) is not None:
            return
        start_warm_host(self._state)
        with self._lock:
            self._ours = True
            too_late = self._ended
        if too_late:
            self._stop_judge()

    def _stop_judge(self) -> None:
        from kernelevolve.evaluation.judge.client import stop_warm_host

        stop_warm_host(self._state)
