"""A profile as one trace file that ui.perfetto.dev opens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kernelevolve.profilers.perfetto import (
    INSTANT,
    ORDERED_BY_RANK,
    SLICE_BEGIN,
    SLICE_END,
    Packets,
    Value,
    integer,
    message,
    text,
)
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


# -- the trace --------------------------------------------------------------------------------------------------------

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
        self._packets = Packets(1)
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
        process = integer(1, _PID) + text(6, f"{report.candidate} on {report.device or report.platform}")
        yield self._packets.track(_PROCESS, "profile", kind=message(3, process))
        thread = integer(1, _PID) + integer(2, _PID) + text(5, "host")
        yield self._packets.track(_HOST, "host", kind=message(4, thread))
        self._lanes["host"] = [_Lane(_HOST, [])]
        yield self._packets.track(_COUNTER_GROUP, "counters", _PROCESS, kind=integer(11, ORDERED_BY_RANK))
        about = b"".join(self._packets.argument(name, value) for name, value in _about(report).items())
        yield self._packets.event(INSTANT, 0, _PROCESS, "profile", "profile", about)
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
            yield self._packets.event(SLICE_BEGIN, self._ns(start), track, name, "diagnosis", told)
            yield self._packets.event(SLICE_END, self._ns(end), track)

    def _notices(self, over: int, unrecorded: int) -> bytes:
        """Instants that say which events are not there."""
        at = self._ns(self._sorted[-1].start_us) if self._sorted else 0
        texts = (
            (over, f"{over} later events are left out: the trace would be larger than {self._limit} bytes"),
            (unrecorded, f"{unrecorded} events of the run were not recorded"),
            (self._unusable, f"{self._unusable} events have no usable times"),
        )
        # In a sequence of its own, so that the size does not depend on which strings are known by then.
        packets = Packets(2)
        return b"".join(packets.event(INSTANT, at, _PROCESS, notice, "dropped") for count, notice in texts if count)

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
        kind = SLICE_BEGIN if end > start else INSTANT
        yield self._packets.event(kind, start, lane, event.name, event.kind, arguments, counters, flows, arrow)
        if end > start:
            if event.kind == "kernel" and event.name not in self._scoped:
                self._scoped.add(event.name)
                measured = self._kernels.get(event.name)
                yield from self._scopes(measured.scopes if measured else (), lane, start, end)
            yield self._packets.event(SLICE_END, end, lane, counters=[(counter, 0.0) for counter, _value in counters])

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
                kind = message(8, text(6, "%") + text(7, "share"))
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
            yield self._packets.event(SLICE_BEGIN, low, lane, scope.name, "scope", arguments)
            yield self._packets.event(SLICE_END, low + length, lane)


# -- what is told -----------------------------------------------------------------------------------------------------


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
