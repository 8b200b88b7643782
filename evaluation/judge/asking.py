"""What asking a process for something costs, by the judge's own doing: the other end is a thread that it trusts.

A worker can be slow to answer on purpose, so that little work seems to be left of what many calls took.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError

_LIMIT_S = 5.0


class Echo:
    """The other end of a connection like a worker's; it answers at once and does nothing."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._ours, self._theirs = Channel(ours), Channel(theirs)
        self._thread = threading.Thread(target=self._serve, name="echo", daemon=True)
        self._thread.start()

    def ask_ms(self) -> float:
        """What one request and its answer take, milliseconds."""
        began = time.perf_counter()
        self._ours.send({"do": "volley"})
        self._ours.receive(time.monotonic() + _LIMIT_S)
        return (time.perf_counter() - began) * 1e3

    def _serve(self) -> None:
        with contextlib.suppress(ChannelClosedError):
            while True:
                self._theirs.receive()
                self._theirs.send({})

    def __enter__(self) -> Echo:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._thread.join()
        self._theirs.close()
