"""The timeline: what host and device did in the first traced run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernelevolve.evaluation.judge.intervals import covered
from kernelevolve.profilers.plots.paper import (
    KINDS,
    WIDTH,
    Picture,
    counted,
    fit,
    nice_step,
    percent,
    short_name,
    si,
    svg_rect,
    svg_text,
    text_width,
    us,
)
from kernelevolve.profilers.report import DeviceEvent, Timeline

_DEVICE_KINDS = ("kernel", "memcpy", "memset")


_LEFT, _RIGHT = 126.0, WIDTH - 20.0
_LANE = 24.0
_MOST_TRACKS = 12
_MOST_LANES = 4


def timeline_svg(timeline: Timeline) -> str:
    """Draw what host and device did in the first traced run.

    One row for the host (more where calls lie inside one another), one for each stream, and one that shows when nothing
    ran on the device. Events narrower than half a pixel are drawn together, paler, coloured by the kind that took most
    of the time.

    Args:
        timeline: at most 12 tracks are drawn, those with most events.

    Returns:
        An SVG document, 900 wide. Where there are no events, it says so.
    """
    events = sorted(
        (event for event in timeline.events if math.isfinite(event.start_us) and 0 <= event.duration_us < math.inf),
        key=lambda event: (event.start_us, -event.duration_us),
    )
    picture = Picture("Timeline", _timeline_description(timeline, events))
    if not events:
        return picture.nothing("the timeline has no events.")
    picture.heading("Timeline of the first traced run", _timeline_summary(timeline))
    tracks = _tracks(events)
    axis = _TimeAxis(events[0].start_us, max(event.start_us + event.duration_us for event in events))
    rows = [(name, _rows(tracks[name], nested=name == "host")) for name in tracks]
    top = 92.0
    body: list[str] = []
    y = top
    for name, lanes in rows:
        height = len(lanes) * _LANE - 2
        picture.rect(_LEFT, y, _RIGHT - _LEFT, height, "track")
        picture.text(_LEFT - 10, y + 15, fit(name, _LEFT - 30), "ink", "end", title=name)
        for lane in lanes:
            body.extend(_draw_lane(lane, axis, y))
            y += _LANE
        y += 8
    gaps = _gaps(events)
    if gaps:
        picture.text(_LEFT - 10, y + 12, "device idle", "soft", "end")
        body.extend(_draw_gaps(gaps, axis, y))
        y += 26
    axis.draw(picture, top, y - 6)
    picture.parts.extend(body)
    y = _draw_legend(picture, events, bool(gaps), y + 16)
    left_out = timeline.dropped + len(timeline.events) - sum(map(len, tracks.values()))
    if left_out:
        y += 20
        picture.text(
            20, y, f"{left_out:,} events are not drawn: not recorded, without times, or on further tracks", "soft"
        )
    return picture.render(y + 18)


class _TimeAxis:
    """Microseconds from left to right."""

    def __init__(self, first_us: float, last_us: float) -> None:
        self._first = first_us
        self._span = max(last_us - first_us, 1e-3)

    @property
    def pixels_per_us(self) -> float:
        return (_RIGHT - _LEFT) / self._span

    def x(self, time_us: float) -> float:
        return _LEFT + (time_us - self._first) * self.pixels_per_us

    def draw(self, picture: Picture, top: float, bottom: float) -> None:
        step = nice_step(self._span, 8)
        index = math.ceil(self._first / step)
        while index * step <= self._first + self._span:
            at = self.x(index * step)
            picture.line(at, top - 6, at, bottom, "axis" if index == 0 else "grid")
            label = f"{index * step:,.10g}"
            # The last label must not reach beyond the picture.
            picture.text(min(at, WIDTH - 6 - text_width(label) / 2), top - 12, label, "soft", "middle")
            index += 1
        picture.text(_LEFT - 10, top - 12, "time, µs", "soft", "end")


@dataclass(frozen=True)
class _Bar:
    """What is drawn as one rectangle: one event, or many that are too narrow."""

    start_us: float
    end_us: float
    events: tuple[DeviceEvent, ...]

    @property
    def kind(self) -> str:
        """The kind that took most of the time."""
        totals: dict[str, float] = {}
        for event in self.events:
            totals[event.kind] = totals.get(event.kind, 0.0) + event.duration_us
        return max(totals, key=lambda kind: totals[kind])


def _tracks(events: Sequence[DeviceEvent]) -> dict[str, list[DeviceEvent]]:
    """Events by track: the host first, then streams by number; those with most events where there are too many."""
    found: dict[str, list[DeviceEvent]] = {}
    for event in events:
        found.setdefault(event.track, []).append(event)
    kept = sorted(found, key=lambda name: (name != "host", -len(found[name])))[:_MOST_TRACKS]

    def order(name: str) -> tuple[bool, list[tuple[int, str]]]:
        return name != "host", [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]

    return {name: found[name] for name in sorted(kept, key=order)}


def _rows(events: Sequence[DeviceEvent], nested: bool) -> list[list[DeviceEvent]]:
    """Events of one track in rows: calls below their callers, overlapping kernels beside each other.

    The fourth row takes all that would lie deeper, so what overlaps there is drawn over one another.
    """
    rows: list[list[DeviceEvent]] = [[]]
    ends = [-math.inf]
    for event in events:
        if nested:  # Below the last call that is still open.
            row = 1 + max((index for index, end in enumerate(ends) if end > event.start_us), default=-1)
        else:
            row = next((index for index, end in enumerate(ends) if end <= event.start_us), len(rows))
        row = min(row, _MOST_LANES - 1)
        if row == len(rows):
            rows.append([])
            ends.append(-math.inf)
        rows[row].append(event)
        ends[row] = max(ends[row], event.start_us + event.duration_us)
    return rows


def _bars(events: Sequence[DeviceEvent], axis: _TimeAxis) -> Iterator[_Bar]:
    """Wide events as they are; of those narrower than half a pixel, all of one pixel together."""
    narrow: dict[int, list[DeviceEvent]] = {}
    for event in events:
        if event.duration_us * axis.pixels_per_us >= 0.5:
            yield _Bar(event.start_us, event.start_us + event.duration_us, (event,))
        else:
            narrow.setdefault(int(axis.x(event.start_us)), []).append(event)
    pixel_us = 1 / axis.pixels_per_us
    pending: list[DeviceEvent] = []
    last, kind = -1, ""
    for pixel in sorted(narrow):
        bar = _together(narrow[pixel], pixel_us)
        # Neighbours of one colour are one rectangle.
        if pending and (pixel > last + 1 or bar.kind != kind):
            yield _together(pending, pixel_us)
            pending = []
        pending += bar.events
        last, kind = pixel, bar.kind
    if pending:
        yield _together(pending, pixel_us)


def _together(events: Sequence[DeviceEvent], pixel_us: float) -> _Bar:
    """One bar for narrow events, at least a pixel wide."""
    return _Bar(events[0].start_us, events[-1].start_us + pixel_us, tuple(events))


def _draw_lane(events: Sequence[DeviceEvent], axis: _TimeAxis, y: float) -> Iterator[str]:
    for bar in _bars(events, axis):
        kind = bar.kind if bar.kind in KINDS else "other"
        x, width = axis.x(bar.start_us), (bar.end_us - bar.start_us) * axis.pixels_per_us
        width = min(max(width, 0.75), _RIGHT - x) if x < _RIGHT - 0.75 else 0.75
        # A seam of paper between neighbours, where both are wide enough to lose it.
        drawn = width - 0.75 if width > 3 else width
        style = f"event {kind}" if len(bar.events) == 1 else f"event {kind} many"
        yield svg_rect(x, y, drawn, _LANE - 2, style, _event_tooltip(bar), 2 if width > 8 else 0)
        if len(bar.events) == 1:
            name = fit(short_name(bar.events[0].name), width - 10, 11)
            if name:
                yield svg_text(x + 5, y + 15, name, f"small on-{kind}")


def _event_tooltip(bar: _Bar) -> str:
    if len(bar.events) == 1:
        event = bar.events[0]
        name = event.name if len(event.name) <= 160 else f"{event.name[:160]}…"
        moved = f", {si(event.bytes, 'B')}" if event.bytes else ""
        return f"{name}\n{event.kind}, {us(event.duration_us)} from {us(event.start_us)}{moved}"
    counts: dict[str, int] = {}
    for event in bar.events:
        counts[event.kind] = counts.get(event.kind, 0) + 1
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    total = sum(event.duration_us for event in bar.events)
    return f"{len(bar.events):,} short events: {kinds}\n{us(total)} together, from {us(bar.start_us)}"


def _gaps(events: Sequence[DeviceEvent]) -> list[tuple[float, float]]:
    """Stretches between the first and the last device event with nothing running, microseconds."""
    gaps: list[tuple[float, float]] = []
    until: float | None = None
    for event in events:
        if event.kind not in _DEVICE_KINDS:
            continue
        if until is not None and event.start_us > until:
            gaps.append((until, event.start_us))
        until = max(until if until is not None else -math.inf, event.start_us + event.duration_us)
    return gaps


def _draw_gaps(gaps: Sequence[tuple[float, float]], axis: _TimeAxis, y: float) -> Iterator[str]:
    for start, end in gaps:
        width = (end - start) * axis.pixels_per_us
        if width < 0.5:
            continue
        told = f"nothing runs on the device for {us(end - start)} from {us(start)}"
        yield svg_rect(axis.x(start), y, width, 16, "gap idle", told)
        text = us(end - start)
        if width >= text_width(text, 11) + 8:
            yield svg_text(axis.x((start + end) / 2), y + 12, text, "ink small over halo", "middle")


def _draw_legend(picture: Picture, events: Sequence[DeviceEvent], gaps: bool, y: float) -> float:
    """Kinds that occur, how often and how long; how far down it reaches."""
    x = 20.0
    for kind in [*KINDS, *sorted({event.kind for event in events} - set(KINDS))]:
        lengths = [event.duration_us for event in events if event.kind == kind]
        if not lengths:
            continue
        text = f"{fit(kind, 120)} {len(lengths):,} · {us(sum(lengths))}"
        width = 34 + text_width(text)
        if x + width > WIDTH - 20:
            x, y = 20.0, y + 20
        picture.parts.append(svg_rect(x, y - 10, 12, 12, kind if kind in KINDS else "other", radius=2))
        picture.text(x + 18, y, text, "soft")
        x += width
    if gaps:
        text = "nothing on the device"
        if x + 34 + text_width(text) > WIDTH - 20:
            x, y = 20.0, y + 20
        picture.rect(x, y - 10, 12, 12, "idle")
        picture.text(x + 18, y, text, "soft")
    return y


def _timeline_summary(timeline: Timeline) -> str:
    busy = f" ({percent(timeline.busy_us / timeline.wall_us)})" if timeline.wall_us > 0 else ""
    return (
        f"median of {timeline.runs}: {us(timeline.wall_us)} on the host, device busy {us(timeline.busy_us)}{busy}, "
        f"gaps {us(timeline.gaps_us)}, {counted(timeline.launches, 'kernel', 'kernels')}, "
        f"{counted(timeline.synchronizations, 'wait', 'waits')}, "
        f"{counted(timeline.host_copies + timeline.device_copies, 'copy', 'copies')}"
    )


def _timeline_description(timeline: Timeline, events: Sequence[DeviceEvent]) -> str:
    spans = [(event.start_us, event.start_us + event.duration_us) for event in events if event.kind in _DEVICE_KINDS]
    return (
        f"{len(events):,} events of one run; something runs on the device for {us(covered(spans))}. "
        f"{_timeline_summary(timeline)}."
    )
