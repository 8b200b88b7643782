"""Perfetto's trace format: packets in protocol-buffer wire format.

A trace is a `Trace` message, that is a row of `TracePacket`s, encoded as protobuf.dev/programming-guides/encoding says.
Only a handful of messages are needed, so they are encoded here; every field number is from `protos/perfetto/trace/` of
github.com/google/perfetto, and `docs/reference/synthetic-track-event.md` there says what a reader expects. Packets need
not be in order of time.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value]"
"""What an argument of an event may be."""


# -- protocol buffers -------------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # Negative numbers go as two's complement of 64 bits.
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def integer(field: int, value: int) -> bytes:
    """A field of a message with an integer, a truth value or a member of an enumeration."""
    return _varint(field << 3) + _varint(value)


def _fixed(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<Q", value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def message(field: int, content: bytes) -> bytes:
    """A field with bytes, which may be an encoded message."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    """A field with a text, as UTF-8."""
    return message(field, value.encode("utf-8", "replace"))


# -- packets ----------------------------------------------------------------------------------------------------------

SLICE_BEGIN, SLICE_END, INSTANT = 1, 2, 3  # TrackEvent.Type
_CATEGORIES, _EVENT_NAMES, _ANNOTATION_NAMES, _STRINGS = 1, 2, 3, 29  # Tables of InternedData
_STATE_CLEARED, _STATE_NEEDED = 1, 2  # TracePacket.SequenceFlags
ORDERED_BY_RANK = 3  # TrackDescriptor.ChildTracksOrdering.EXPLICIT


class Packets:
    """Encodes the packets of one sequence. A string that is used is sent once and then known by its number.

    Args:
        sequence: its number, from 1; each writer of a trace has its own.
    """

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence
        self._known: dict[tuple[int, str], int] = {}
        self._counts: dict[int, int] = {}
        self._fresh = b""
        self._flags = _STATE_CLEARED | _STATE_NEEDED

    def event(
        self,
        kind: int,
        at_ns: int,
        track: int,
        name: str = "",
        category: str = "",
        arguments: bytes = b"",
        counters: Sequence[tuple[int, float]] = (),
        flows: Sequence[int] = (),
        ends_flow: int | None = None,
    ) -> bytes:
        """A `TrackEvent`.

        Args:
            kind: begin or end of a slice, or an instant.
            at_ns: when.
            track: identifier of the track.
            name: text on the slice; the end of a slice needs none.
            category: its kind.
            arguments: from `argument`.
            counters: tracks of counters and the values that they take now.
            flows: arrows that begin here.
            ends_flow: the arrow that ends here.
        """
        body = integer(9, kind) + integer(11, track) + arguments
        if name:
            body += integer(10, self._intern(_EVENT_NAMES, name))
        if category:
            body += integer(3, self._intern(_CATEGORIES, category))
        for counter, value in counters:
            body += integer(45, counter) + _double(46, value)
        for flow in flows:
            body += _fixed(47, flow)
        if ends_flow is not None:
            body += _fixed(48, ends_flow)
        return self._packet(at_ns, message(11, body))

    def track(
        self, identifier: int, name: str, parent: int | None = None, rank: int | None = None, kind: bytes = b""
    ) -> bytes:
        """A `TrackDescriptor`; `kind` has the fields that make it a process, a thread, a counter or a group."""
        body = integer(1, identifier) + text(2, name) + kind
        if parent is not None:
            body += integer(5, parent)
        if rank is not None:
            body += integer(12, rank)
        return self._packet(0, message(60, body))

    def argument(self, name: str, value: Value) -> bytes:
        """A `DebugAnnotation`: what is shown of an event when it is selected."""
        return message(4, integer(1, self._intern(_ANNOTATION_NAMES, name)) + self._value(value))

    def _value(self, value: Value) -> bytes:
        if isinstance(value, bool):
            return integer(2, value)
        if isinstance(value, int):
            return integer(4, value)
        if isinstance(value, float):
            return _double(5, value)
        if isinstance(value, str):
            return integer(17, self._intern(_STRINGS, value))
        if isinstance(value, Mapping):
            entries = ((self._intern(_ANNOTATION_NAMES, name), item) for name, item in value.items())
            return b"".join(message(11, integer(1, number) + self._value(item)) for number, item in entries)
        return b"".join(message(12, self._value(item)) for item in value)

    def _intern(self, table: int, string: str) -> int:
        number = self._known.get((table, string))
        if number is None:
            number = self._counts[table] = self._counts.get(table, 0) + 1
            self._known[table, string] = number
            self._fresh += message(table, integer(1, number) + text(2, string))
        return number

    def _packet(self, at_ns: int, body: bytes) -> bytes:
        # Every packet of a writer carries its sequence, without which nothing that was sent once is known.
        body += integer(8, at_ns) + integer(10, self._sequence) + integer(13, self._flags)
        if self._flags & _STATE_CLEARED:
            body += integer(87, 1)
            self._flags = _STATE_NEEDED
        if self._fresh:
            body += message(12, self._fresh)
            self._fresh = b""
        return message(1, body)
