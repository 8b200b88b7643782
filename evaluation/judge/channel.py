"""Messages between the judge's processes: length-prefixed JSON over a Unix socket, with file descriptors beside it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_HEADER = struct.Struct("!IB")
_MAX_BYTES = 64 * 1024 * 1024
_MAX_DESCRIPTORS = 8
_MAX_VALUES = 1 << 21
"""Values in a message from a candidate's process; what compilers print of a large module has a tenth."""


class ChannelClosedError(Exception):
    """The other side is gone, or spoke nonsense, which is treated the same."""


class NonsenseError(ChannelClosedError):
    """The other side spoke nonsense: it is still there, but nothing that it says can be understood any more."""


class ReceiveTimeoutError(Exception):
    """Nothing came before the deadline."""


@dataclass(frozen=True)
class Message:
    """One message: a JSON object, and the descriptors that came with it."""

    body: dict[str, Any]
    descriptors: tuple[int, ...]


class Channel:
    """One end of a connection. Nothing that is received is ever unpickled: the other side may be a candidate.

    Args:
        connection: a connected `AF_UNIX` stream socket; the channel owns it.
        from_candidate: whether a candidate may speak at the other end. Then no descriptors are received, each of which
            would stay open here with all the memory behind it when the candidate is long gone, and a message has a
            bounded number of values, since a small one takes a hundred times the memory of its text.
        still_wanted: called about ten times a second while waiting; may raise to give up (the client went away).
    """

    def __init__(
        self,
        connection: socket.socket,
        still_wanted: Callable[[], None] | None = None,
        from_candidate: bool = False,
    ) -> None:
        self._socket = connection
        self._most_descriptors = 0 if from_candidate else _MAX_DESCRIPTORS
        self._most_values = _MAX_VALUES if from_candidate else None
        self._still_wanted = still_wanted
        self._buffer = bytearray()
        self._descriptors: list[int] = []
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def fileno(self) -> int:
        """The socket's descriptor, for `select`."""
        return self._socket.fileno()

    def send(self, body: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one message.

        Raises:
            ChannelClosedError: the other side is gone.
        """
        payload = json.dumps(body).encode()
        frame = _HEADER.pack(len(payload), len(descriptors)) + payload
        try:
            if descriptors:
                sent = socket.send_fds(self._socket, [frame], list(descriptors))
                frame = frame[sent:]
            self._socket.sendall(frame)
        except OSError as error:
            raise ChannelClosedError(str(error)) from error

    def receive(self, deadline: float | None = None) -> Message:
        """Wait for one message.

        Args:
            deadline: `time.monotonic()` value after which to give up; None waits for ever.

        Raises:
            ReceiveTimeoutError: the deadline passed.
            ChannelClosedError: the other side is gone; `NonsenseError`: it sent something that is no message.
        """
        self._fill(_HEADER.size, deadline)
        length, count = _HEADER.unpack_from(self._buffer)
        if length > _MAX_BYTES or count > self._most_descriptors:
            raise NonsenseError(f"a message of {length} bytes and {count} descriptors is not allowed")
        end = _HEADER.size + length
        # Nothing leaves the buffer before all of it is there: after a timeout the rest may still come.
        self._fill(end, deadline)
        payload = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        # Every value but the first has a comma in front of it, or a bracket around it.
        if self._most_values is not None and sum(map(payload.count, (b",", b"[", b"{"))) > self._most_values:
            raise NonsenseError(f"more than {self._most_values} values in a message")
        try:
            body = _read(payload)
        except (ValueError, RecursionError) as error:
            raise NonsenseError(f"not JSON: {error}") from error
        if not isinstance(body, dict) or len(self._descriptors) < count:
            raise NonsenseError("not a message")
        descriptors, self._descriptors = tuple(self._descriptors[:count]), self._descriptors[count:]
        return Message(body, descriptors)

    def _fill(self, count: int, deadline: float | None) -> None:
        while len(self._buffer) < count:
            self._wait(deadline)
            try:
                data = self._receive_some()
            except OSError as error:
                raise ChannelClosedError(str(error)) from error
            if len(self._descriptors) > 2 * _MAX_DESCRIPTORS:
                # This message's and the next one's; more would only fill our table of descriptors.
                raise NonsenseError("more descriptors than a message may have")
            if not data:
                raise ChannelClosedError("the other side closed the connection")
            self._buffer += data

    def _receive_some(self) -> bytes:
        if not self._most_descriptors:
            # Without room for them the kernel closes whatever descriptors come along.
            return self._socket.recv(1 << 20)
        data, descriptors, _flags, _address = socket.recv_fds(self._socket, 1 << 20, self._most_descriptors)
        self._descriptors.extend(descriptors)
        return data

    def _wait(self, deadline: float | None) -> None:
        while True:
            if self._still_wanted is not None:
                self._still_wanted()
            left = 0.1 if deadline is None else min(0.1, deadline - time.monotonic())
            if left <= 0 and deadline is not None:
                raise ReceiveTimeoutError
            # Not `select`, which fails on descriptors past 1023.
            if self._poll.poll(left * 1e3):
                return

    def hang_up(self) -> None:
        """End the connection from any thread; a thread that waits in `receive` sees it closed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection and whatever descriptors were not taken."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        self._socket.close()


def _read(payload: bytes) -> Any:
    """JSON whose texts can be written down again: halves of surrogate pairs, which UTF-8 has no bytes for, become `?`.

    A verdict that quotes such a half could be neither stored nor shown.
    """
    body = json.loads(payload)
    if b"\\ud" in payload.lower() or b"\xed" in payload:
        return json.loads(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    return body
