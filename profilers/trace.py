"""A profile as one trace file that ui.perfetto.dev opens.

The format is Perfetto's own: a `Trace` message, that is a row of `TracePacket`s, in protocol-buffer wire format
(protobuf.dev/programming-guides/encoding). Only a handful of messages are needed, so they are encoded here; every field
number is from `protos/perfetto/trace/` of github.com/google/perfetto, and
`docs/reference/synthetic-track-event.md` there says what a reader expects. Packets need not be in order of time.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from kernelevolve.profilers.report import Bottleneck, DeviceEvent, KernelMeasurement, ProfileReport, Scope

COUNTERS = (
    "occupancy",
    "compute_share",
    "memory_share",
    "dram_share",
    "l2_share",
    "matrix_unit_share",
    "issue_share",
    "cache_hit_rate.l2",
)
"""Metrics, shares from 0 to 1, that are drawn as a counter in per cent. Perfetto takes at most 8 with one event; all
other metrics are among the arguments of the kernel's slices."""

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value]"
"""What an argument of an event may be."""


@dataclass(frozen=True)
class TraceInfo:
    """What was written."""

    path: Path
    """The file."""
    bytes: int
    """Its size."""
    events: int
    """Events of the timeline in it."""
    dropped: int
    """Events that are not: over the limit, without usable times, or already left out of the timeline."""


def write_trace(report: ProfileReport, path: Path, limit_bytes: int = 100 << 20) -> TraceInfo:
    """Write a profile as a trace: host and streams, launches tied to their kernels, counters, scopes, the diagnosis.

    A kernel's scopes are drawn inside its first slice: their lengths are their shares, their places mean nothing.
    Events are encoded one at a time, oldest first, and from the first one that does not fit all are left out. The same
    report always gives the same bytes.

    Args:
        report: the profile; without a timeline, the trace holds only what the profile says of itself.
        path: the file to write; it appears when it is complete.
        limit_bytes: most bytes that it may take.

    Raises:
        ValueError: not even what the profile says of itself fits the limit.
        OSError: the file can't be written.
    """
    draft = path.with_name(f"{path.name}.draft")
    try:
        with draft.open("wb") as stream:
            trace = _Trace(report, stream, limit_bytes)
            trace.write()
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return TraceInfo(path, trace.written, trace.events, trace.dropped)


# -- protocol buffers -----------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # Negative numbers go as two's complement of 64 bits.
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _fixed(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<Q", value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode("utf-8", "replace"))


# -- packets --------------------------------------------------------------------------------------------------------

_SLICE_BEGIN, _SLICE_END, _INSTANT = 1, 2, 3  # TrackEvent.Type
_CATEGORIES, _EVENT_NAMES, _ANNOTATION_NAMES, _STRINGS = 1, 2, 3, 29  # Tables of InternedData
_STATE_CLEARED, _STATE_NEEDED = 1, 2  # TracePacket.SequenceFlags
_ORDERED_BY_RANK = 3  # TrackDescriptor.ChildTracksOrdering.EXPLICIT


class _Packets:
    """Encodes the packets of one sequence. A string that is used is sent once and then known by its number."""

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
        body = _integer(9, kind) + _integer(11, track) + arguments
        if name:
            body += _integer(10, self._intern(_EVENT_NAMES, name))
        if category:
            body += _integer(3, self._intern(_CATEGORIES, category))
        for counter, value in counters:
            body += _integer(45, counter) + _double(46, value)
        for flow in flows:
            body += _fixed(47, flow)
        if ends_flow is not None:
            body += _fixed(48, ends_flow)
        return self._packet(at_ns, _message(11, body))

    def track(
        self, identifier: int, name: str, parent: int | None = None, rank: int | None = None, kind: bytes = b""
    ) -> bytes:
        """A `TrackDescriptor`; `kind` has the fields that make it a process, a thread, a counter or a group."""
        body = _integer(1, identifier) + _text(2, name) + kind
        if parent is not None:
            body += _integer(5, parent)
        if rank is not None:
            body += _integer(12, rank)
        return self._packet(0, _message(60, body))

    def argument(self, name: str, value: Value) -> bytes:
        """A `DebugAnnotation`: what is shown of an event when it is selected."""
        return _message(4, _integer(1, self._intern(_ANNOTATION_NAMES, name)) + self._value(value))

    def _value(self, value: Value) -> bytes:
        if isinstance(value, bool):
            return _integer(2, value)
        if isinstance(value, int):
            return _integer(4, value)
        if isinstance(value, float):
            return _double(5, value)
        if isinstance(value, str):
            return _integer(17, self._intern(_STRINGS, value))
        if isinstance(value, Mapping):
            entries = ((self._intern(_ANNOTATION_NAMES, name), item) for name, item in value.items())
            return b"".join(_message(11, _integer(1, number) + self._value(item)) for number, item in entries)
        return b"".join(_message(12, self._value(item)) for item in value)

    def _intern(self, table: int, text: str) -> int:
        number = self._known.get((table, text))
        if number is None:
            number = self._counts[table] = self._counts.get(table, 0) + 1
            self._known[table, text] = number
            self._fresh += _message(table, _integer(1, number) + _text(2, text))
        return number

    def _packet(self, at_ns: int, body: bytes) -> bytes:
        # Every packet of a writer carries its sequence, without which nothing that was sent once is known.
        body += _integer(8, at_ns) + _integer(10, self._sequence) + _integer(13, self._flags)
        if self._flags & _STATE_CLEARED:
            body += _integer(87, 1)
            self._flags = _STATE_NEEDED
        if self._fresh:
            body += _message(12, self._fresh)
            self._fresh = b""
        return _message(1, body)


# -- the trace ------------------------------------------------------------------------------------------------------

_PROCESS, _HOST, _COUNTER_GROUP = 1, 2, 3
_FIRST_FREE = 16
_PID = 1
_DEVICE_KINDS = ("kernel", "memcpy", "memset")
_LONGEST_US = 1e12
"""Times beyond eleven days are none: what the profiled process says is a claim."""


@dataclass
class _Lane:
    """One row of slices that lie beside or inside one another."""

    track: int
    open_until: list[int]
    """Ends of the slices that the newest one lies in, outermost first, nanoseconds."""


class _Trace:
    def __init__(self, report: ProfileReport, stream: BinaryIO, limit: int) -> None:
        self.written = 0
        self.events = 0
        self.dropped = 0
        self._report = report
        self._stream = stream
        self._limit = limit
        self._packets = _Packets(1)
        self._free = _FIRST_FREE
        self._kernels = {entry.kernel: entry for entry in report.kernels}
        self._arguments: dict[str, bytes] = {}
        self._lanes: dict[str, list[_Lane]] = {}
        self._counters: dict[tuple[int, str], int] = {}
        self._scoped: set[str] = set()
        recorded = report.timeline.events if report.timeline else ()
        usable = (event for event in recorded if _usable(event))
        self._sorted = sorted(usable, key=lambda event: (event.start_us, -event.duration_us))
        self._unusable = len(recorded) - len(self._sorted)
        self._ranks = {name: rank for rank, name in enumerate(sorted({e.track for e in self._sorted}, key=_natural))}
        # A time may lie before the stretch's start by the drift of two clocks, and Perfetto knows none below zero.
        self._origin_us = min(0.0, self._sorted[0].start_us) if self._sorted else 0.0
        self._begins, self._ends = _flows(self._sorted)

    def write(self) -> None:
        """Write everything, or as much as the limit allows."""
        head = b"".join(self._head())
        unrecorded = self._report.timeline.dropped if self._report.timeline else 0
        notices = self._notices(len(self._sorted), unrecorded)
        least = len(head) + len(notices)
        if least > self._limit:
            raise ValueError(f"A trace of this profile takes at least {least:,} bytes; the limit is {self._limit:,}.")
        self._put(head)
        over = 0
        for position, event in enumerate(self._sorted):
            packets = b"" if over else b"".join(self._slice(event, self._ends.get(position)))
            if over or self.written + len(packets) + len(notices) > self._limit:
                over += 1
                continue
            self._put(packets)
            self.events += 1
        self.dropped = over + unrecorded + self._unusable
        # Its numbers can only be smaller than those that room was kept for.
        self._put(self._notices(over, unrecorded))

    def _put(self, packets: bytes) -> None:
        self._stream.write(packets)
        self.written += len(packets)

    def _new(self) -> int:
        self._free += 1
        return self._free

    def _ns(self, time_us: float) -> int:
        return round((time_us - self._origin_us) * 1000)

    def _head(self) -> Iterator[bytes]:
        report = self._report
        process = _integer(1, _PID) + _text(6, f"{report.candidate} on {report.device or report.platform}")
        yield self._packets.track(_PROCESS, "profile", kind=_message(3, process))
        thread = _integer(1, _PID) + _integer(2, _PID) + _text(5, "host")
        yield self._packets.track(_HOST, "host", kind=_message(4, thread))
        self._lanes["host"] = [_Lane(_HOST, [])]
        yield self._packets.track(_COUNTER_GROUP, "counters", _PROCESS, kind=_integer(11, _ORDERED_BY_RANK))
        about = b"".join(self._packets.argument(name, value) for name, value in _about(report).items())
        yield self._packets.event(_INSTANT, 0, _PROCESS, "profile", "profile", about)
        yield from self._diagnosis()

    def _diagnosis(self) -> Iterator[bytes]:
        """Each bottleneck as a slice over the first launch of its kernel, or over the whole run."""
        if not self._sorted:
            return
        first: dict[str, tuple[float, float]] = {}
        for event in self._sorted:
            if event.kind == "kernel":
                first.setdefault(event.name, (event.start_us, event.start_us + event.duration_us))
        whole = self._sorted[0].start_us, max(event.start_us + event.duration_us for event in self._sorted)
        for rank, bottleneck in enumerate(self._report.bottlenecks, 1):
            start, end = first.get(bottleneck.kernel, whole)
            track = self._new()  # One for each, since they overlap; Perfetto draws tracks of one name as one.
            yield self._packets.track(track, "diagnosis", _PROCESS)
            told = b"".join(self._packets.argument(name, value) for name, value in _finding(rank, bottleneck).items())
            name = bottleneck.kind.value.replace("_", " ")
            yield self._packets.event(_SLICE_BEGIN, self._ns(start), track, name, "diagnosis", told)
            yield self._packets.event(_SLICE_END, self._ns(end), track)

    def _notices(self, over: int, unrecorded: int) -> bytes:
        """Instants that say which events are not there."""
        at = self._ns(self._sorted[-1].start_us) if self._sorted else 0
        texts = (
            (over, f"{over} later events are left out: the trace would be larger than {self._limit} bytes"),
            (unrecorded, f"{unrecorded} events of the run were not recorded"),
            (self._unusable, f"{self._unusable} events have no usable times"),
        )
        # In a sequence of its own, so that the size does not depend on which strings are known by then.
        packets = _Packets(2)
        return b"".join(packets.event(_INSTANT, at, _PROCESS, text, "dropped") for count, text in texts if count)

    def _slice(self, event: DeviceEvent, arrow: int | None) -> Iterator[bytes]:
        """All packets of one event, at which an arrow may end: new tracks, its slice, the scopes inside."""
        start, end = self._ns(event.start_us), self._ns(event.start_us + event.duration_us)
        on_device = event.track != "host"
        lane, descriptor = self._lane(event.track, start, end, nested=not on_device)
        yield descriptor
        arguments = b"".join(self._packets.argument(name, value) for name, value in _moved(event).items())
        counters: list[tuple[int, float]] = []
        if event.kind == "kernel":
            arguments += self._of_kernel(event.name)
            for counter, value, descriptor in self._values(event, lane):
                counters.append((counter, value))
                yield descriptor
        flows = self._begins.pop(event.correlation, ()) if event.kind == "launch" else ()
        kind = _SLICE_BEGIN if end > start else _INSTANT
        yield self._packets.event(kind, start, lane, event.name, event.kind, arguments, counters, flows, arrow)
        if end > start:
            if event.kind == "kernel" and event.name not in self._scoped:
                self._scoped.add(event.name)
                measured = self._kernels.get(event.name)
                yield from self._scopes(measured.scopes if measured else (), lane, start, end)
            yield self._packets.event(_SLICE_END, end, lane, counters=[(counter, 0.0) for counter, _value in counters])

    def _lane(self, name: str, start: int, end: int, nested: bool) -> tuple[int, bytes]:
        """The first row of a track on which a slice crosses no other, and the packet that describes a new row."""
        lanes = self._lanes.setdefault(name, [])
        for lane in lanes:
            while lane.open_until and lane.open_until[-1] <= start:
                lane.open_until.pop()
            if not lane.open_until or (nested and lane.open_until[-1] >= end):
                lane.open_until.append(end)
                return lane.track, b""
        track = self._new()
        lanes.append(_Lane(track, [end]))
        return track, self._packets.track(track, name, _PROCESS, self._ranks[name])

    def _of_kernel(self, name: str) -> bytes:
        """Arguments of a kernel's slices, which are the same for each of its launches."""
        if name not in self._arguments:
            told = _kernel(self._report, name, self._kernels.get(name))
            self._arguments[name] = b"".join(self._packets.argument(key, value) for key, value in told.items())
        return self._arguments[name]

    def _values(self, event: DeviceEvent, lane: int) -> Iterator[tuple[int, float, bytes]]:
        """Counters during a kernel: the counter's track, its value in per cent, the packet that describes a new track.

        Every row has its own, so that the end of one kernel does not hide the value of another beside it.
        """
        measured = self._kernels.get(event.name)
        for rank, name in enumerate(COUNTERS):
            metric = measured.metrics.get(name) if measured else None
            if metric is None or not math.isfinite(metric.value):
                continue
            descriptor = b""
            if (lane, name) not in self._counters:
                track = self._counters[lane, name] = self._new()
                row = [entry.track for entry in self._lanes[event.track]].index(lane)
                title = f"{name}, {event.track}" + (f", row {row + 1}" if row else "")
                kind = _message(8, _text(6, "%") + _text(7, "share"))
                place = rank + len(COUNTERS) * self._ranks[event.track]
                descriptor = self._packets.track(track, title, _COUNTER_GROUP, place, kind)
            yield self._counters[lane, name], 100 * metric.value, descriptor

    def _scopes(self, scopes: Sequence[Scope], lane: int, start: int, end: int) -> Iterator[bytes]:
        """Scopes inside a kernel's slice, which the longest of them fills.

        A loop contains the scopes in its body, so shares add up to more than one; which contains which is not known.
        The largest comes first, and each goes into the first slice with room: a smaller one always finds some.
        """
        whole = end - start
        room = [(start, end)]
        placed: list[tuple[int, int, Scope]] = []
        for scope in sorted(scopes, key=lambda entry: -entry.share):
            length = int(whole * min(1.0, scope.share)) if math.isfinite(scope.share) else 0
            if length <= 0:
                continue
            index = next(index for index, (low, high) in enumerate(room) if high - low >= length)
            low, high = room[index]
            room[index] = low + length, high
            room.append((low, low + length))
            placed.append((low, length, scope))
        # Where one ends as another begins, the end must come first, which holds when all come in order.
        for low, length, scope in sorted(placed, key=lambda entry: (entry[0], -entry[1])):
            told: dict[str, Value] = {"cycles": scope.cycles, "share": scope.share}
            told["note"] = "the length is its share of the longest scope's cycles; the place is not measured"
            arguments = b"".join(self._packets.argument(name, value) for name, value in told.items())
            yield self._packets.event(_SLICE_BEGIN, low, lane, scope.name, "scope", arguments)
            yield self._packets.event(_SLICE_END, low + length, lane)


def _usable(event: DeviceEvent) -> bool:
    return abs(event.start_us) < _LONGEST_US and 0 <= event.duration_us < _LONGEST_US


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `stream 7` before `stream 13`."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]


def _flows(events: Sequence[DeviceEvent]) -> tuple[dict[int | None, list[int]], dict[int, int]]:
    """Arrows from launches to what they started.

    An arrow does not fork, so a launch of a graph begins one for each of its kernels.

    Returns:
        Correlation of a launch → arrows that begin there; position of a device event → the arrow that ends there.
    """
    launched = {event.correlation: event.start_us for event in events if event.kind == "launch"}
    launched.pop(None, None)
    begins: dict[int | None, list[int]] = {}
    ends: dict[int, int] = {}
    for position, event in enumerate(events):
        if event.kind in _DEVICE_KINDS and launched.get(event.correlation, math.inf) <= event.start_us:
            ends[position] = len(ends) + 1
            begins.setdefault(event.correlation, []).append(ends[position])
    return begins, ends


def _about(report: ProfileReport) -> dict[str, Value]:
    """What the profile says of itself."""
    told: dict[str, Value] = {
        "task": report.task,
        "candidate": report.candidate,
        "language": report.language,
        "source_hash": report.source_hash,
        "platform": report.platform,
        "device": report.device or "none",
        "level": report.level.value,
        "case": report.case,
        "dtype": report.dtype,
    }
    if report.parts:
        told["parts"] = {part.name: f"{part.state.value}. {part.why}".strip(" .") for part in report.parts}
    if report.candidate_ms is not None:
        told["candidate_ms"] = report.candidate_ms
    if report.timeline is not None:
        told["timeline"] = report.timeline.model_dump(exclude={"events", "conversions", "dropped"})
    if report.notes:
        told["notes"] = report.notes
    return told


def _finding(rank: int, bottleneck: Bottleneck) -> dict[str, Value]:
    return {
        "rank": rank,
        "kernel": bottleneck.kernel or "the whole candidate",
        "share": bottleneck.share,
        "summary": bottleneck.summary,
        "advice": bottleneck.advice,
    }


def _moved(event: DeviceEvent) -> dict[str, Value]:
    """What is known of one event alone."""
    told: dict[str, Value] = {}
    if event.correlation is not None:
        told["correlation"] = event.correlation
    if event.bytes is not None:
        told["bytes"] = event.bytes
        if event.duration_us > 0:
            told["bytes_per_s"] = event.bytes / (event.duration_us * 1e-6)
    return told


def _kernel(report: ProfileReport, name: str, measured: KernelMeasurement | None) -> dict[str, Value]:
    """What is known of one kernel: launch, metrics, resources, lines of the source."""
    told: dict[str, Value] = {}
    if measured is not None:
        told["calls"] = measured.calls
        if measured.time_s is not None:
            told["median_us"] = measured.time_s.value * 1e6
        if measured.grid:
            told["grid"] = measured.grid
        if measured.threads_per_block is not None:
            told["threads_per_block"] = measured.threads_per_block
        if measured.metrics:
            told["metrics"] = {
                f"{key} ({metric.unit})" if metric.unit else key: metric.value
                for key, metric in sorted(measured.metrics.items())
            }
        if measured.lines:
            told["samples_by_line"] = {f"line {line}": share for line, share in sorted(measured.lines.items())}
    static = next((entry for entry in report.static if entry.kernel == name), None)
    if static is not None and static.resources is not None:
        chosen = {"registers", "spills", "shared_bytes", "occupancy", "occupancy_limiter"}
        told["resources"] = static.resources.model_dump(include=chosen, exclude_none=True)
    return told
