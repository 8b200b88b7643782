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
        self._ours = False
        self._loading = threading.Timer(_INDEX_AFTER_S, lambda: base().warm_up())
        self._judging = threading.Timer(_JUDGE_AFTER_S, self._start_judge) if judge else None

    def start(self) -> None:
        """Begin; returns at once."""
        for timer in (self._judging, self._loading):
            if timer is not None:
                timer.daemon = True
                timer.start()

    def _start_judge(self) -> None:
        from kernelevolve.evaluation.judge.client import start_warm_host, warm_host

        self._ours = warm_host(self._state) is None
        start_warm_host(self._state)

    def end_loading(self) -> None:
        """Load nothing more; what is being loaded is waited for, since it uses what is closed next."""
        self._loading.cancel()
        self._loading.join()

    def end_judge(self) -> None:
        """End the judge, unless somebody else had started it."""
        if self._judging is None:
            return
        self._judging.cancel()
        self._judging.join()
        if self._ours:
            from kernelevolve.evaluation.judge.client import stop_warm_host

            stop_warm_host(self._state)
