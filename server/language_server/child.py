"""A child process that answers requests: JSON lines over its stdin and stdout.

Whatever is heavy or may crash (compilers, the store, the judge) runs in one, so that the server's own process stays
small and quick. A child that dies takes only the requests with it that it was working on; the next starts a new one.

On the wire, one JSON object a line. To the child: `{"id", "do", "with"}` asks, `{"cancel": id}` gives up. From it:
`{"id", "event"}` on the way, then `{"id", "result"}` or `{"id", "error": {"message", …}}`; an `{"event"}` without an id
belongs to no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

_LONGEST_LINE = 1 << 26
_GRACE_S = 0.4
"""How long a process may take to end by itself, seconds."""

OnEvent = Callable[[dict[str, Any]], None]


class ChildError(Exception):
    """A request failed.

    Args:
        message: what was wrong and what to do.
        detail: what else the child said.
    """

    def __init__(self, message: str, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.detail = dict(detail or {})


class Child:
    """One child process, started at the first request and started again after its death.

    Args:
        name: what messages call it.
        module: the module to run.
        arguments: its arguments.
        environment: variables on top of this process's.
        on_event: told of events that belong to no request.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        self.name = name
        # -P: editors start servers in the workspace, whose files, such as triton.py, must not stand in for modules.
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._next = 0
        self._waiting: dict[int, tuple[asyncio.Future[Any], OnEvent | None]] = {}
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it, if it does not run.

        Raises:
            ChildError: it cannot be started, or the server is ending.
        """
        async with self._starting:
            if self._closed:
                raise ChildError("The server is shutting down.")
            if self.pid is not None:
                return
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    env=self._environment,
                    limit=_LONGEST_LINE,
                    start_new_session=True,
                )
            except OSError as error:
                raise ChildError(f"The {self.name} cannot be started: {error.strerror}.") from error
            self._reader = asyncio.create_task(self._read(self._process))

    async def ask(self, what: str, arguments: Mapping[str, Any], on_event: OnEvent | None = None) -> Any:
        """Ask and wait. Cancelling the wait cancels the work.

        Raises:
            ChildError: the child refused, or died over it.
        """
        await self.start()
        self._next += 1
        number = self._next
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (future, on_event)
        try:
            self._send({"id": number, "do": what, "with": dict(arguments)})
            return await future
        except asyncio.CancelledError:
            self._send({"cancel": number})
            raise
        finally:
            self._waiting.pop(number, None)

    def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            return
        # A child that has died meanwhile is noticed by the reader, which fails what waits for it.
        with contextlib.suppress(ConnectionError):
            process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                self._take(json.loads(line))
            code = await process.wait()
        except asyncio.CancelledError:
            # The server ends without a farewell. The child sees the end of its stdin, and ends too.
            self._fail("The server is shutting down.")
            raise
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._fail(f"The {self.name} ended ({how}). It starts again when needed.")

    def _fail(self, message: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(ChildError(message))

    def _take(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        if number is None:
            if self._on_event is not None:
                self._on_event(message["event"])
            return
        future, on_event = self._waiting.get(number, (None, None))
        if future is None or future.done():
            return  # It was cancelled; the answer crossed that on its way.
        if "event" in message:
            if on_event is not None:
                on_event(message["event"])
        elif "error" in message:
            future.set_exception(ChildError(message["error"]["message"], message["error"]))
        else:
            future.set_result(message.get("result"))

    async def close(self) -> None:
        """End it: its stdin closes, and after a moment everything in its group is killed."""
        self._closed = True
        async with self._starting:  # One that is just being started is ended too.
            process = self._process
        if process is None:
            return
        if process.returncode is None and process.stdin is not None:
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _GRACE_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=_GRACE_S)
