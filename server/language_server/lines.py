"""The child's side of `child.py`: answer JSON lines, each request in a thread of its own, cancellable."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.search.errors import SearchError


class Call:
    """One request on its way: reports events, and says whether it was given up."""

    def __init__(self, number: int, send: Callable[[dict[str, Any]], None]) -> None:
        self._number = number
        self._send = send
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self.cancelled = False
        """Whether the client gave up."""

    def event(self, **what: Any) -> None:
        """Tell something on the way."""
        self._send({"id": self._number, "event": what})

    def on_cancel(self, end: Callable[[], None]) -> None:
        """Name what ends the work."""
        with self._lock:
            self._ends.append(end)
            if self.cancelled:
                end()

    def cancel(self) -> None:
        """End the work."""
        with self._lock:
            self.cancelled = True
            for end in self._ends:
                end()


Handler = Callable[[Call, Mapping[str, Any]], Any]


class Lines:
    """Serves handlers over stdin and stdout until stdin ends.

    Args:
        handlers: request → function.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._lock = threading.Lock()
        self._calls: dict[int, Call] = {}
        # Whatever prints must not get between the lines.
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def send(self, message: dict[str, Any]) -> None:
        """Write one line."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            try:
                self._out.write(data)
                self._out.flush()
            except BrokenPipeError:
                os._exit(0)  # The server is gone, and nobody is left to answer to.

    def serve(self) -> None:
        """Answer until stdin ends, then give up everything under way."""
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "cancel" in message:
                call = self._calls.get(message["cancel"])
                if call is not None:
                    call.cancel()
                continue
            call = Call(message["id"], self.send)
            self._calls[message["id"]] = call
            threading.Thread(target=self._answer, args=(call, message), daemon=True).start()
        for call in list(self._calls.values()):
            call.cancel()

    def _answer(self, call: Call, message: dict[str, Any]) -> None:
        number = message["id"]
        try:
            result = self._handlers[message["do"]](call, message["with"])
            self.send({"id": number, "result": result})
        except KernelEvolveError as error:
            data = {"finding": error.finding.value, "status": error.status.value, "log": error.log[:4000]}
            self.send({"id": number, "error": {"message": str(error), "data": data}})
        except SearchError as error:
            self.send({"id": number, "error": {"message": str(error)}})
        except Exception as error:  # noqa: BLE001 - the client is told, whatever it is
            self.send({"id": number, "error": {"message": f"{type(error).__name__}: {error}"}})
        finally:
            self._calls.pop(number, None)
