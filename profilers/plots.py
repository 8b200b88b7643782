"""Pictures of a profile: the roofline and the timeline, each one SVG that needs nothing else.

Colours follow the reader's light or dark setting. They are written out in both style sheets instead of once as
variables, which programs that turn SVG into pixels do not know. Names of kernels come from the candidate: every text
is escaped, and characters that would hide what it says are spelled out.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from kernelevolve.evaluation.judge.intervals import covered
from kernelevolve.profilers.report import Ceiling, DeviceEvent, RooflinePoint, Timeline

WIDTH = 900
"""Width of every picture, in its own units: pixels when it is not scaled."""

KINDS = {
    "kernel": ("#1f5fd0", "#ffffff", "#7aa8ff", "#131416"),
    "memcpy": ("#9a5b00", "#ffffff", "#e6a340", "#131416"),
    "memset": ("#0b7550", "#ffffff", "#4cc996", "#131416"),
    "launch": ("#a9c4f2", "#1b1c1e", "#38568c", "#f0f2f5"),
    "sync": ("#c92f2f", "#ffffff", "#f07070", "#131416"),
    "operator": ("#d6d9de", "#1b1c1e", "#434952", "#f0f2f5"),
}
"""Kind of an event → its colour and that of text on it, for a light and for a dark page."""
_OTHER = ("#62666d", "#ffffff", "#9aa0a8", "#131416")
BOUNDS = {"memory": KINDS["kernel"], "compute": ("#7a3fc4", "#ffffff", "#b98af0", "#131416")}
"""The same for what bounds a point of the roofline."""

_PAPER = (
    ("panel", "fill", "#ffffff", "#1a1c1f"),
    ("ink", "fill", "#1b1c1e", "#e7e8ea"),
    ("soft", "fill", "#62666d", "#9aa0a8"),
    ("grid", "stroke", "#e9eaec", "#2a2d32"),
    ("axis", "stroke", "#b9bcc2", "#4a4f57"),
    ("roof", "stroke", "#1b1c1e", "#e7e8ea"),
    ("leader", "stroke", "#62666d", "#9aa0a8"),
    ("halo", "stroke", "#ffffff", "#1a1c1f"),
    ("hatch", "stroke", "#d03a3a", "#f07070"),
    ("track", "fill", "#f5f6f7", "#202327"),
)
_DECEIVING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Characters that XML forbids, that are not seen, or that make text read in another order than it is written."""
_DEVICE_KINDS = ("kernel", "memcpy", "memset")


def roofline_svg(points: Sequence[RooflinePoint]) -> str:
    """Draw cases and kernels under the roofs that they are held against.

    Both axes are logarithmic: operations for each byte, and operations per second. What a spec sheet promises is solid,
    what was measured on the device is dashed; a ring marks where memory stops being the limit. Points without known
    operations have no place there; they are bars of bytes per second against the bandwidths.

    Args:
        points: at most 99 are listed, in their order.

    Returns:
        An SVG document, 900 wide. Where there is no point with a time and bytes, it says so.
    """
    placed = [point for point in points if _rate(point) is not None]
    barred = [point for point in points if _rate(point) is None and _usable(point) and point.bytes > 0]
    picture = _Picture("Roofline", _roofline_description(placed, barred))
    if not placed and not barred:
        return picture.nothing("there is no case whose time and bytes are known.")
    roofs = any(point.ceilings for point in (*placed, *barred))
    picture.heading("Roofline", "solid: spec sheet · dashed: measured on this device" if roofs else "no ceilings known")
    below = 56.0
    if placed:
        below = _draw_roofs(picture, placed[:_MOST_LISTED])
        below = _draw_list(picture, placed[:_MOST_LISTED], below)
    if barred:
        below = _draw_bars(picture, barred[:_MOST_LISTED], below + 22)
    left_out = len(points) - len(placed[:_MOST_LISTED]) - len(barred[:_MOST_LISTED])
    if left_out:
        below += 20
        picture.text(20, below, f"{left_out} more without usable numbers, or beyond what fits here", "soft")
    return picture.render(below + 18)


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
    picture = _Picture("Timeline", _timeline_description(timeline, events))
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
        picture.text(_LEFT - 10, y + 15, _fit(name, _LEFT - 30), "ink", "end", title=name)
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


# -- the picture ----------------------------------------------------------------------------------------------------


@dataclass
class _Picture:
    """Elements of one SVG."""

    title: str
    description: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str, below: str) -> None:
        self.text(20, 28, text, "ink strong")
        self.text(20, 47, _fit(below, WIDTH - 40), "soft")

    def text(self, x: float, y: float, text: str, style: str, anchor: str = "start", title: str = "") -> None:
        self.parts.append(_text(x, y, text, style, anchor, title=title))

    def rect(self, x: float, y: float, width: float, height: float, style: str) -> None:
        self.parts.append(_rect(x, y, width, height, style))

    def line(self, x: float, y: float, to_x: float, to_y: float, style: str) -> None:
        self.parts.append(f'<line class="{style}" x1="{_c(x)}" y1="{_c(y)}" x2="{_c(to_x)}" y2="{_c(to_y)}"/>')

    def nothing(self, why: str) -> str:
        self.text(WIDTH / 2, 68, f"Nothing to show: {why}", "soft", "middle")
        return self.render(124)

    def render(self, height: float) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="ke-plot" role="img" width="{WIDTH}" height="{_c(height)}" '
            f'viewBox="0 0 {WIDTH} {_c(height)}">\n'
            f"<title>{_clean(self.title)}</title>\n<desc>{_clean(self.description)}</desc>\n"
            f"<style>{_style()}</style>\n{_HATCH}\n"
            f'<rect class="panel" width="{WIDTH}" height="{_c(height)}" rx="10"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


_HATCH = (
    '<defs><pattern id="ke-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line class="hatch" x1="3" y1="0" x2="3" y2="6"/></pattern></defs>'
)


def _style() -> str:
    fixed = (
        "font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif;"
        "font-variant-numeric:tabular-nums"
    )
    rules = [
        f".ke-plot text{{{fixed}}}",
        ".ke-plot text.strong{font-weight:600;font-size:15px}.ke-plot text.head{font-weight:600}",
        ".ke-plot text.small{font-size:11px}.ke-plot text.badge{font-size:10.5px;font-weight:600}",
        ".ke-plot text.over{paint-order:stroke;stroke-width:3.5px;stroke-linejoin:round}",
        ".ke-plot .roof{fill:none;stroke-width:1.8}.ke-plot .dashed{stroke-dasharray:6 4;stroke-width:1.5}",
        ".ke-plot .leader{stroke-width:1}.ke-plot .hatch{stroke-width:1.6;opacity:.6}",
        ".ke-plot .idle{fill:url(#ke-hatch)}.ke-plot .many{opacity:.72}",
    ]
    for dark in (False, True):
        colours = [f".ke-plot .{name}{{{key}:{pair[dark]}}}" for name, key, *pair in _PAPER]
        for name, (light, on_light, dim, on_dim) in {**KINDS, "other": _OTHER, **BOUNDS}.items():
            colours.append(f".ke-plot .{name}{{fill:{dim if dark else light}}}")
            colours.append(f".ke-plot text.on-{name}{{fill:{on_dim if dark else on_light}}}")
        rules.append(f"@media (prefers-color-scheme:dark){{{''.join(colours)}}}" if dark else "".join(colours))
    return "".join(rules)


def _c(value: float) -> str:
    """A coordinate: a hundredth of a pixel is enough."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _clean(text: str) -> str:
    return escape(_DECEIVING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text))


def _text(x: float, y: float, text: str, style: str, anchor: str = "start", turn: str = "", title: str = "") -> str:
    where = f'x="{_c(x)}" y="{_c(y)}"' + (f' transform="{turn}"' if turn else "")
    where += f' text-anchor="{anchor}"' if anchor != "start" else ""
    told = f"<title>{_clean(title)}</title>" if title else ""
    return f'<text class="{style}" {where}>{told}{_clean(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, style: str, title: str = "", radius: float = 0) -> str:
    size = f'x="{_c(x)}" y="{_c(y)}" width="{_c(width)}" height="{_c(height)}"' + (
        f' rx="{_c(radius)}"' if radius else ""
    )
    return f'<rect class="{style}" {size}>' + (f"<title>{_clean(title)}</title></rect>" if title else "</rect>")


_NARROW, _BROAD = frozenset("ijlftrI.,:;'|!()[]{}-/ ·"), frozenset("mwMW%@…—")


def _text_width(text: str, size: float = 12) -> float:
    """Pixels that a text takes at most, by classes of letters in DejaVu Sans, the widest of the usual fonts."""
    ems = 0.0
    for letter in text:
        if unicodedata.east_asian_width(letter) in "WF":
            ems += 1.05
        else:
            ems += 0.4 if letter in _NARROW else 1.0 if letter in _BROAD else 0.7 if letter.isupper() else 0.63
    return size * ems


def _fit(text: str, width: float, size: float = 12) -> str:
    """The text, or as much of its start as fits, with an ellipsis; empty where not even three letters fit."""
    text = _DECEIVING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)
    if _text_width(text, size) <= width:
        return text
    length = len(text)
    while length > 2 and _text_width(text[:length], size) + size > width:
        length -= 1
    return f"{text[:length].rstrip()}…" if length > 2 else ""


def _si(value: float, unit: str) -> str:
    """Three digits with a prefix: `3.35 TB/s`."""
    power = max(-3, min(6, math.floor(math.log10(abs(value)) / 3))) if value else 0
    scaled = value / 1000.0**power
    if abs(scaled) >= 999.5 and power < 6:
        scaled, power = scaled / 1000, power + 1
    return f"{scaled:.3g} {('n', 'µ', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E')[power + 3]}{unit}".rstrip()


def _plain(value: float) -> str:
    """Three digits without a prefix: `0.512`, `1,370`."""
    return f"{float(f'{value:.3g}'):,.6g}"


def _count(value: float, one: str, many: str) -> str:
    return f"{value:,g} {one if value == 1 else many}"


def _us(value: float) -> str:
    return f"{value:,.0f} µs" if value >= 1000 else f"{value:.1f} µs" if value >= 10 else f"{value:.2f} µs"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, … times a power of ten that divides a span into at most so many parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most)


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    def touches(self, other: _Box) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )

    def inside(self, other: _Box) -> bool:
        right, bottom = other.x + other.width, other.y + other.height
        return (
            self.x >= other.x and self.y >= other.y and self.x + self.width <= right and self.y + self.height <= bottom
        )


class _Room:
    """Where there is still room for something that must overlap nothing."""

    def __init__(self, whole: _Box) -> None:
        self._whole = whole
        self._taken: list[_Box] = []

    def take(self, box: _Box) -> None:
        self._taken.append(box)

    def all_free(self, boxes: Sequence[_Box]) -> bool:
        """Whether all of some boxes fit; they are then taken."""
        if any(not box.inside(self._whole) or any(box.touches(taken) for taken in self._taken) for box in boxes):
            return False
        self._taken.extend(boxes)
        return True

    def first_free(self, candidates: Iterable[_Box]) -> _Box | None:
        """The first candidate that fits, which is then taken."""
        for box in candidates:
            if box.inside(self._whole) and not any(box.touches(taken) for taken in self._taken):
                self.take(box)
                return box
        return None


# -- the roofline ---------------------------------------------------------------------------------------------------

_MOST_LISTED = 99
_PLOT = _Box(76, 64, WIDTH - 76 - 24, 372)
_BADGE = 9.0


def _usable(point: RooflinePoint) -> bool:
    return 0 < point.time_s < math.inf and 0 <= point.bytes < math.inf


def _rate(point: RooflinePoint) -> tuple[float, float] | None:
    """Operations for each byte and per second; None where either is unknown."""
    if not _usable(point) or not point.flops or not 0 < point.flops < math.inf:
        return None
    intensity = point.intensity or (point.flops / point.bytes if point.bytes else math.inf)
    return (intensity, point.flops / point.time_s) if 0 < intensity < math.inf else None


def _name(point: RooflinePoint) -> str:
    return f"{_short(point.kernel)} ({point.case})" if point.kernel else point.case


def _ceilings(points: Sequence[RooflinePoint], kind: str) -> list[Ceiling]:
    """Different ceilings of one kind, the highest first."""
    found = {entry for point in points for entry in point.ceilings if entry.kind == kind and 0 < entry.value < math.inf}
    return sorted(found, key=lambda entry: (-entry.value, entry.source, entry.name))


def _dashed(ceiling: Ceiling) -> bool:
    return ceiling.source == "measured"


class _LogAxes:
    """Logarithmic axes around points and roofs: at least two decades each way, and room at the edges."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self._x, self._y = self._range(xs), self._range(ys)

    @staticmethod
    def _range(values: Sequence[float]) -> tuple[float, float]:
        low, high = math.log10(min(values)) - 0.4, math.log10(max(values)) + 0.4
        spare = max(0.0, 2 - (high - low)) / 2
        return low - spare, high + spare

    def x(self, value: float) -> float:
        low, high = self._x
        return _PLOT.x + _PLOT.width * (math.log10(value) - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self._y
        return _PLOT.y + _PLOT.height * (1 - (math.log10(value) - low) / (high - low))

    @property
    def least_x(self) -> float:
        return 10 ** self._x[0]

    @property
    def most_x(self) -> float:
        return 10 ** self._x[1]

    @property
    def least_y(self) -> float:
        return 10 ** self._y[0]

    @property
    def most_y(self) -> float:
        return 10 ** self._y[1]

    def draw(self, picture: _Picture) -> None:
        right, bottom = _PLOT.x + _PLOT.width, _PLOT.y + _PLOT.height
        for value in self._marks(self._x):
            at = self.x(value)
            picture.line(at, _PLOT.y, at, bottom, "grid")
            picture.text(at, bottom + 17, _plain(value), "soft", "middle")
        for value in self._marks(self._y):
            at = self.y(value)
            picture.line(_PLOT.x, at, right, at, "grid")
            picture.text(_PLOT.x - 8, at + 4, _si(value, ""), "soft", "end")
        picture.line(_PLOT.x, bottom, right, bottom, "axis")
        picture.line(_PLOT.x, _PLOT.y, _PLOT.x, bottom, "axis")
        picture.text((_PLOT.x + right) / 2, bottom + 37, "operations for each byte (FLOP/B)", "soft", "middle")
        middle = (_PLOT.y + bottom) / 2
        label = "operations per second (FLOP/s)"
        picture.parts.append(_text(0, 0, label, "soft", "middle", turn=f"translate(18 {_c(middle)}) rotate(-90)"))

    @staticmethod
    def _marks(span: tuple[float, float]) -> list[float]:
        """Powers of ten, every so many that at most nine are labelled."""
        powers = range(math.ceil(span[0]), math.floor(span[1]) + 1)
        return [10.0**power for power in powers[:: math.ceil(len(powers) / 9)]]


def _draw_roofs(picture: _Picture, points: Sequence[RooflinePoint]) -> float:
    """Axes, roofs, ridges and markers; how far down it reaches."""
    bandwidths, rates = _ceilings(points, "bandwidth"), _ceilings(points, "rate")
    ridges = sorted(
        {(rate.value / width.value, rate.value, _dashed(rate)) for rate in rates for width in bandwidths
         if rate.source == width.source}
    )  # fmt: skip
    spots = [spot for point in points if (spot := _rate(point)) is not None]
    xs = [spot[0] for spot in spots] + [ridge[0] for ridge in ridges]
    reached = [width.value * max(xs) for width in bandwidths] if not rates else []
    axes = _LogAxes(xs, [spot[1] for spot in spots] + [rate.value for rate in rates] + reached)
    axes.draw(picture)
    room = _Room(_Box(_PLOT.x + 2, _PLOT.y + 2, _PLOT.width - 4, _PLOT.height - 4))
    lines = [(width, *_diagonal(axes, width, rates)) for width in bandwidths]
    lines += [(rate, *_flat(axes, rate, bandwidths)) for rate in rates]
    for ceiling, start, end in lines:
        picture.line(*start, *end, "roof dashed" if _dashed(ceiling) else "roof")
        for box in _along(start, end):
            room.take(box)
    for intensity, rate, dashed in ridges:
        x, y = axes.x(intensity), axes.y(rate)
        told = f"ridge: {_plain(intensity)} FLOP/B at {_si(rate, 'FLOP/s')}, {'measured' if dashed else 'spec sheet'}"
        picture.parts.append(
            f'<circle class="roof panel" cx="{_c(x)}" cy="{_c(y)}" r="4"><title>{_clean(told)}</title></circle>'
        )
        room.take(_Box(x - 5, y - 5, 10, 10))
    centres = _draw_markers(picture, points, axes, room)
    for intensity, rate, dashed in ridges:
        _draw_ridge_name(picture, room, f"ridge {_plain(intensity)} FLOP/B", axes.x(intensity), axes.y(rate), dashed)
    _draw_names(picture, points, centres, room)
    for ceiling, start, end in lines:
        _draw_roof_name(picture, room, ceiling, start, end)
    return _PLOT.y + _PLOT.height + 46


def _diagonal(
    axes: _LogAxes, bandwidth: Ceiling, rates: Sequence[Ceiling]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of a bandwidth's roof: from the edge of the plot to its last ridge, or to the other edge."""
    first = max(axes.least_x, axes.least_y / bandwidth.value)
    highest = max((rate.value for rate in rates if rate.source == bandwidth.source), default=axes.most_y)
    last = min(axes.most_x, highest / bandwidth.value)
    return (axes.x(first), axes.y(first * bandwidth.value)), (axes.x(last), axes.y(last * bandwidth.value))


def _flat(
    axes: _LogAxes, rate: Ceiling, bandwidths: Sequence[Ceiling]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of a rate's roof: from its first ridge to the right edge."""
    widest = max((entry.value for entry in bandwidths if entry.source == rate.source), default=None)
    first = axes.least_x if widest is None else max(axes.least_x, rate.value / widest)
    return (axes.x(first), axes.y(rate.value)), (axes.x(axes.most_x), axes.y(rate.value))


def _along(start: tuple[float, float], end: tuple[float, float]) -> Iterator[_Box]:
    """Small boxes that cover a line."""
    steps = max(1, round(math.dist(start, end) / 4))
    for step in range(steps + 1):
        share = step / steps
        x, y = start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
        yield _Box(x - 2, y - 2, 4, 4)


def _draw_roof_name(
    picture: _Picture, room: _Room, ceiling: Ceiling, start: tuple[float, float], end: tuple[float, float]
) -> None:
    """Write a roof's name along it, above or below, where there is room; the list below has all names anyway."""
    length, angle = math.dist(start, end), math.atan2(end[1] - start[1], end[0] - start[0])
    shares = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
    sides = (-15.5, 6.5) if _dashed(ceiling) else (6.5, -15.5)
    for text, away, share in itertools.product((_ceiling_text(ceiling), _ceiling_value(ceiling)), sides, shares):
        width = _text_width(text, 11)
        begin = length * share - width / 2
        if begin < 8 or begin + width > length - 8:
            continue
        x = start[0] + begin * math.cos(angle) + away * math.sin(angle)
        y = start[1] + begin * math.sin(angle) - away * math.cos(angle)
        # The middle of the letters lies four pixels above their line; boxes along it stand for a turned text.
        middle = x + 4 * math.sin(angle), y - 4 * math.cos(angle)
        far = middle[0] + width * math.cos(angle), middle[1] + width * math.sin(angle)
        if room.all_free([_Box(box.x - 1.5, box.y - 1.5, 7, 7) for box in _along(middle, far)]):
            turn = f"translate({_c(x)} {_c(y)}) rotate({_c(math.degrees(angle))})"
            picture.parts.append(_text(0, 0, text, "ink small", turn=turn))
            return


def _draw_ridge_name(picture: _Picture, room: _Room, text: str, x: float, y: float, dashed: bool) -> None:
    """Write where a ridge lies: a measured one below it, since it lies below the spec sheet's, which goes above."""
    width = _text_width(text, 11)
    if dashed:
        beside = min(x + 4, _PLOT.x + _PLOT.width - width - 3)
        places = [(beside, y + 8), (x - width / 2, y + 8), (beside, y + 21)]
    else:
        places = [(x - width / 2, y - 20), (x - width - 4, y - 20), (x + 4, y - 20)]
    found = room.first_free(_Box(left, top, width, 13) for left, top in places)
    if found is not None:
        picture.text(found.x, found.y + 10.5, text, "soft small over halo")


def _ceiling_value(ceiling: Ceiling) -> str:
    return _si(ceiling.value, "B/s" if ceiling.kind == "bandwidth" else "FLOP/s")


def _ceiling_text(ceiling: Ceiling) -> str:
    return f"{_fit(ceiling.name, 240, 11)} {_ceiling_value(ceiling)}"


def _draw_markers(
    picture: _Picture, points: Sequence[RooflinePoint], axes: _LogAxes, room: _Room
) -> list[tuple[float, float]]:
    """One numbered marker for each point, moved aside with a line to its place where another is in the way.

    Returns:
        Where the markers are.
    """
    size = 2 * _BADGE
    spots = [(axes.x(spot[0]), axes.y(spot[1])) for point in points if (spot := _rate(point)) is not None]
    centres: list[tuple[float, float]] = []
    others = _Room(_Box(_PLOT.x, _PLOT.y, _PLOT.width, _PLOT.height))
    for x, y in spots:
        box = others.first_free(_Box(dx + x - _BADGE, dy + y - _BADGE, size, size) for dx, dy in _around())
        centres.append((box.x + _BADGE, box.y + _BADGE) if box else (x, y))
    for (x, y), (at_x, at_y) in zip(spots, centres, strict=True):
        if (x, y) != (at_x, at_y):
            picture.line(x, y, at_x, at_y, "leader")
            picture.parts.append(f'<circle class="ink" cx="{_c(x)}" cy="{_c(y)}" r="2.5"/>')
        room.take(_Box(at_x - _BADGE - 1, at_y - _BADGE - 1, size + 2, size + 2))
    for number, (point, (x, y)) in enumerate(zip(points, centres, strict=True), 1):
        picture.parts.append(_marker(number, point, x, y))
    return centres


def _draw_names(
    picture: _Picture, points: Sequence[RooflinePoint], centres: Sequence[tuple[float, float]], room: _Room
) -> None:
    """Names right beside their markers where there is room; the list below has all names anyway."""
    for point, (x, y) in zip(points, centres, strict=True):
        name = _fit(_name(point), 190)
        width = _text_width(name)
        places: dict[_Box, tuple[float, float, str]] = {}
        for dx, dy in ((0, 0), (0, 19), (0, -19), (-4, 15), (-4, -15)):
            if abs(dy) < 19:
                places[_Box(x + 12 + dx, y - 7 + dy, width, 14)] = (x + 12 + dx, y + 4 + dy, "start")
                places[_Box(x - 12 - dx - width, y - 7 + dy, width, 14)] = (x - 12 - dx, y + 4 + dy, "end")
            else:
                places[_Box(x - width / 2, y - 7 + dy, width, 14)] = (x, y + 4 + dy, "middle")
        found = room.first_free(places)
        if found is not None:
            at_x, at_y, anchor = places[found]
            picture.text(at_x, at_y, name, "ink over halo", anchor)


def _around() -> Iterator[tuple[float, float]]:
    """Offsets at growing distance, the nearest first."""
    yield 0.0, 0.0
    for radius in range(20, 200, 12):
        for turn in range(12):
            yield radius * math.cos(turn * math.pi / 6), radius * math.sin(turn * math.pi / 6)


def _marker(number: int, point: RooflinePoint, x: float, y: float) -> str:
    """A disc where memory is the limit, a square where arithmetic is, with a number."""
    bound = point.bound if point.bound in BOUNDS else "other"
    size = 2 * _BADGE
    shape = _rect(x - _BADGE, y - _BADGE, size, size, bound, radius=3 if bound == "compute" else _BADGE)
    label = _text(x, y + 3.8, str(number), f"badge on-{bound}", "middle")
    return f'<g class="point"><title>{_clean(_tooltip(point))}</title>{shape}{label}</g>'


def _tooltip(point: RooflinePoint) -> str:
    lines = [_name(point) if not point.kernel else f"{point.kernel}\n{point.case}"]
    if (spot := _rate(point)) is not None:
        lines.append(f"{_si(spot[1], 'FLOP/s')} at {_plain(spot[0])} FLOP/B")
    lines.append(f"{_si(point.bytes / point.time_s, 'B/s')}, {_si(point.time_s, 's')} ({point.bytes_source})")
    lines.append(f"{_percent(point.share_of_sheet)} of the spec sheet, {_percent(point.share_of_measured)} of measured")
    return "\n".join(lines)


def _draw_list(picture: _Picture, points: Sequence[RooflinePoint], y: float) -> float:
    """The roofs by name, and the points in numbers."""
    ceilings = _ceilings(points, "bandwidth") + _ceilings(points, "rate")
    for index, ceiling in enumerate(ceilings):
        x = 20 + 440 * (index % 2)
        y += 20 if index % 2 == 0 else 0
        picture.line(x, y - 4, x + 26, y - 4, "roof dashed" if _dashed(ceiling) else "roof")
        text = _ceiling_text(ceiling)
        widths = [entry.value for entry in ceilings if entry.kind == "bandwidth" and entry.source == ceiling.source]
        if ceiling.kind == "rate" and len(widths) == 1:
            text += f", ridge at {_plain(ceiling.value / widths[0])} FLOP/B"
        picture.text(x + 34, y, _fit(text, 395), "soft")
    y += 34
    columns = ((470, "FLOP/s"), (570, "FLOP/B"), (680, "of spec sheet"), (780, "of measured"), (880, "limit"))
    picture.text(46, y, "case", "soft head")
    for x, name in columns:
        picture.text(x, y, name, "soft head", "end")
    for number, point in enumerate(points, 1):
        spot = _rate(point)
        assert spot is not None
        y += 23
        picture.parts.append(_marker(number, point, 29, y - 4))
        picture.text(46, y, _fit(_name(point), 330), "ink", title=point.kernel or point.case)
        cells = (_si(spot[1], ""), _plain(spot[0]), _percent(point.share_of_sheet), _percent(point.share_of_measured))
        for (x, _head), cell in zip(columns, (*cells, point.bound), strict=True):
            picture.text(x, y, cell, "ink", "end")
    return y + 12


def _draw_bars(picture: _Picture, points: Sequence[RooflinePoint], y: float) -> float:
    """Points without known operations: bytes per second against the bandwidths."""
    left, right = 230.0, 670.0
    bandwidths = _ceilings(points, "bandwidth")
    reached = [point.bytes / point.time_s for point in points]
    most = max([*reached, *(entry.value for entry in bandwidths)]) * 1.04

    def x_of(value: float) -> float:
        return left + (right - left) * value / most

    picture.text(20, y, "Bytes per second, where operations are not known", "ink head")
    columns = ((right + 72, ""), (right + 132, "of sheet"), (WIDTH - 20.0, "measured"))
    y += 10
    # Each bandwidth's name stands over its line, in the first row where it touches no other.
    names: list[list[tuple[float, float, str]]] = []
    for ceiling in bandwidths:
        text = f"{_ceiling_text(ceiling)}, {ceiling.source}"
        half = _text_width(text, 11) / 2
        middle = min(max(x_of(ceiling.value), 20 + half), WIDTH - 20 - half)
        row = next((row for row in names if all(abs(middle - at) > half + other for at, other, _ in row)), None)
        if row is None:
            names.append(row := [])
        row.append((middle, half, text))
    for row in names:
        y += 15
        for middle, _half, text in row:
            picture.text(middle, y, text, "soft small", "middle")
    for x, name in columns:
        picture.text(x, y + 16, name, "soft head", "end")
    y += 14
    top, bottom = y - 8, y + 12 + 26 * len(points)
    step = _nice_step(most, 6)
    for index in range(int(most / step) + 1):
        picture.line(x_of(index * step), top, x_of(index * step), bottom, "grid")
        picture.text(x_of(index * step), bottom + 16, _si(index * step, "B/s") if index else "0", "soft", "middle")
    for point, value in zip(points, reached, strict=True):
        y += 26
        picture.text(left - 10, y + 2, _fit(_name(point), 196), "ink", "end", title=point.kernel or point.case)
        bound = point.bound if point.bound in BOUNDS else "other"
        picture.parts.append(_rect(left, y - 10, x_of(value) - left, 16, f"bar {bound}", _tooltip(point), 2))
        cells = _si(value, "B/s"), _percent(point.share_of_sheet), _percent(point.share_of_measured)
        for (x, _head), cell in zip(columns, cells, strict=True):
            picture.text(x, y + 2, cell, "ink", "end")
    for ceiling in bandwidths:
        x = x_of(ceiling.value)
        picture.line(x, top, x, bottom, "roof dashed" if _dashed(ceiling) else "roof")
    picture.line(left, bottom, right, bottom, "axis")
    return bottom + 24


def _roofline_description(placed: Sequence[RooflinePoint], barred: Sequence[RooflinePoint]) -> str:
    told = [_tooltip(point).replace("\n", ", ") for point in (*placed, *barred)][:10]
    return f"{len(placed)} points under the roofs, {len(barred)} as bars of bytes per second. " + "; ".join(told)


# -- the timeline ---------------------------------------------------------------------------------------------------

_LEFT, _RIGHT = 126.0, WIDTH - 20.0
_LANE = 24.0
_MOST_TRACKS = 12
_MOST_LANES = 4


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

    def draw(self, picture: _Picture, top: float, bottom: float) -> None:
        step = _nice_step(self._span, 8)
        index = math.ceil(self._first / step)
        while index * step <= self._first + self._span:
            at = self.x(index * step)
            picture.line(at, top - 6, at, bottom, "axis" if index == 0 else "grid")
            label = f"{index * step:,.10g}"
            # The last label must not reach beyond the picture.
            picture.text(min(at, WIDTH - 6 - _text_width(label) / 2), top - 12, label, "soft", "middle")
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


def _short(name: str) -> str:
    """A kernel's own name, without return type, namespaces, template and function arguments."""
    bare = re.split(r"[<(]", name.removeprefix("void "))[0].split("::")[-1].strip()
    return bare or name


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
        yield _rect(x, y, drawn, _LANE - 2, style, _event_tooltip(bar), 2 if width > 8 else 0)
        if len(bar.events) == 1:
            name = _fit(_short(bar.events[0].name), width - 10, 11)
            if name:
                yield _text(x + 5, y + 15, name, f"small on-{kind}")


def _event_tooltip(bar: _Bar) -> str:
    if len(bar.events) == 1:
        event = bar.events[0]
        name = event.name if len(event.name) <= 160 else f"{event.name[:160]}…"
        moved = f", {_si(event.bytes, 'B')}" if event.bytes else ""
        return f"{name}\n{event.kind}, {_us(event.duration_us)} from {_us(event.start_us)}{moved}"
    counts: dict[str, int] = {}
    for event in bar.events:
        counts[event.kind] = counts.get(event.kind, 0) + 1
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    total = sum(event.duration_us for event in bar.events)
    return f"{len(bar.events):,} short events: {kinds}\n{_us(total)} together, from {_us(bar.start_us)}"


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
        told = f"nothing runs on the device for {_us(end - start)} from {_us(start)}"
        yield _rect(axis.x(start), y, width, 16, "gap idle", told)
        text = _us(end - start)
        if width >= _text_width(text, 11) + 8:
            yield _text(axis.x((start + end) / 2), y + 12, text, "ink small over halo", "middle")


def _draw_legend(picture: _Picture, events: Sequence[DeviceEvent], gaps: bool, y: float) -> float:
    """Kinds that occur, how often and how long; how far down it reaches."""
    x = 20.0
    for kind in [*KINDS, *sorted({event.kind for event in events} - set(KINDS))]:
        lengths = [event.duration_us for event in events if event.kind == kind]
        if not lengths:
            continue
        text = f"{_fit(kind, 120)} {len(lengths):,} · {_us(sum(lengths))}"
        width = 34 + _text_width(text)
        if x + width > WIDTH - 20:
            x, y = 20.0, y + 20
        picture.parts.append(_rect(x, y - 10, 12, 12, kind if kind in KINDS else "other", radius=2))
        picture.text(x + 18, y, text, "soft")
        x += width
    if gaps:
        text = "nothing on the device"
        if x + 34 + _text_width(text) > WIDTH - 20:
            x, y = 20.0, y + 20
        picture.rect(x, y - 10, 12, 12, "idle")
        picture.text(x + 18, y, text, "soft")
    return y


def _timeline_summary(timeline: Timeline) -> str:
    busy = f" ({_percent(timeline.busy_us / timeline.wall_us)})" if timeline.wall_us > 0 else ""
    return (
        f"median of {timeline.runs}: {_us(timeline.wall_us)} on the host, device busy {_us(timeline.busy_us)}{busy}, "
        f"gaps {_us(timeline.gaps_us)}, {_count(timeline.launches, 'kernel', 'kernels')}, "
        f"{_count(timeline.synchronizations, 'wait', 'waits')}, "
        f"{_count(timeline.host_copies + timeline.device_copies, 'copy', 'copies')}"
    )


def _timeline_description(timeline: Timeline, events: Sequence[DeviceEvent]) -> str:
    spans = [(event.start_us, event.start_us + event.duration_us) for event in events if event.kind in _DEVICE_KINDS]
    return (
        f"{len(events):,} events of one run; something runs on the device for {_us(covered(spans))}. "
        f"{_timeline_summary(timeline)}."
    )
