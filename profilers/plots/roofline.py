"""The roofline: cases and kernels under the roofs that they are held against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from kernelevolve.profilers.plots.paper import (
    BOUNDS,
    WIDTH,
    Box,
    Picture,
    Room,
    clean,
    fit,
    nice_step,
    percent,
    pixels,
    plain,
    short_name,
    si,
    svg_rect,
    svg_text,
    text_width,
)
from kernelevolve.profilers.report import Ceiling, RooflinePoint

_MOST_LISTED = 99
_PLOT = Box(76, 64, WIDTH - 76 - 24, 372)
_BADGE = 9.0


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
    picture = Picture("Roofline", _roofline_description(placed, barred))
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


def _usable(point: RooflinePoint) -> bool:
    return 0 < point.time_s < math.inf and 0 <= point.bytes < math.inf


def _rate(point: RooflinePoint) -> tuple[float, float] | None:
    """Operations for each byte and per second; None where either is unknown."""
    if not _usable(point) or not point.flops or not 0 < point.flops < math.inf:
        return None
    intensity = point.intensity or (point.flops / point.bytes if point.bytes else math.inf)
    return (intensity, point.flops / point.time_s) if 0 < intensity < math.inf else None


def _name(point: RooflinePoint) -> str:
    return f"{short_name(point.kernel)} ({point.case})" if point.kernel else point.case


def _ceilings(points: Sequence[RooflinePoint], kind: str) -> list[Ceiling]:
    """Different ceilings of one kind, the highest first."""
    found = {entry for point in points for entry in point.ceilings if entry.kind == kind and 0 < entry.value < math.inf}
    return sorted(found, key=lambda entry: (-entry.value, entry.source, entry.name))


def _dashed(ceiling: Ceiling) -> bool:
    return ceiling.source == "measured"


# -- under the roofs --------------------------------------------------------------------------------------------------


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

    def draw(self, picture: Picture) -> None:
        right, bottom = _PLOT.x + _PLOT.width, _PLOT.y + _PLOT.height
        for value in self._marks(self._x):
            at = self.x(value)
            picture.line(at, _PLOT.y, at, bottom, "grid")
            picture.text(at, bottom + 17, plain(value), "soft", "middle")
        for value in self._marks(self._y):
            at = self.y(value)
            picture.line(_PLOT.x, at, right, at, "grid")
            picture.text(_PLOT.x - 8, at + 4, si(value, ""), "soft", "end")
        picture.line(_PLOT.x, bottom, right, bottom, "axis")
        picture.line(_PLOT.x, _PLOT.y, _PLOT.x, bottom, "axis")
        picture.text((_PLOT.x + right) / 2, bottom + 37, "operations for each byte (FLOP/B)", "soft", "middle")
        middle = (_PLOT.y + bottom) / 2
        label = "operations per second (FLOP/s)"
        picture.parts.append(
            svg_text(0, 0, label, "soft", "middle", turn=f"translate(18 {pixels(middle)}) rotate(-90)")
        )

    @staticmethod
    def _marks(span: tuple[float, float]) -> list[float]:
        """Powers of ten, every so many that at most nine are labelled."""
        powers = range(math.ceil(span[0]), math.floor(span[1]) + 1)
        return [10.0**power for power in powers[:: math.ceil(len(powers) / 9)]]


def _draw_roofs(picture: Picture, points: Sequence[RooflinePoint]) -> float:
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
    room = Room(Box(_PLOT.x + 2, _PLOT.y + 2, _PLOT.width - 4, _PLOT.height - 4))
    lines = [(width, *_diagonal(axes, width, rates)) for width in bandwidths]
    lines += [(rate, *_flat(axes, rate, bandwidths)) for rate in rates]
    for ceiling, start, end in lines:
        picture.line(*start, *end, "roof dashed" if _dashed(ceiling) else "roof")
        for box in _along(start, end):
            room.take(box)
    for intensity, rate, dashed in ridges:
        x, y = axes.x(intensity), axes.y(rate)
        told = f"ridge: {plain(intensity)} FLOP/B at {si(rate, 'FLOP/s')}, {'measured' if dashed else 'spec sheet'}"
        picture.parts.append(
            f'<circle class="roof panel" cx="{pixels(x)}" cy="{pixels(y)}" r="4"><title>{clean(told)}</title></circle>'
        )
        room.take(Box(x - 5, y - 5, 10, 10))
    centres = _draw_markers(picture, points, axes, room)
    for intensity, rate, dashed in ridges:
        _draw_ridge_name(picture, room, f"ridge {plain(intensity)} FLOP/B", axes.x(intensity), axes.y(rate), dashed)
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


def _along(start: tuple[float, float], end: tuple[float, float]) -> Iterator[Box]:
    """Small boxes that cover a line."""
    steps = max(1, round(math.dist(start, end) / 4))
    for step in range(steps + 1):
        share = step / steps
        x, y = start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
        yield Box(x - 2, y - 2, 4, 4)


def _draw_roof_name(
    picture: Picture, room: Room, ceiling: Ceiling, start: tuple[float, float], end: tuple[float, float]
) -> None:
    """Write a roof's name along it, above or below, where there is room; the list below has all names anyway."""
    length, angle = math.dist(start, end), math.atan2(end[1] - start[1], end[0] - start[0])
    shares = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
    sides = (-15.5, 6.5) if _dashed(ceiling) else (6.5, -15.5)
    for text, away, share in itertools.product((_ceiling_text(ceiling), _ceiling_value(ceiling)), sides, shares):
        width = text_width(text, 11)
        begin = length * share - width / 2
        if begin < 8 or begin + width > length - 8:
            continue
        x = start[0] + begin * math.cos(angle) + away * math.sin(angle)
        y = start[1] + begin * math.sin(angle) - away * math.cos(angle)
        # The middle of the letters lies four pixels above their line; boxes along it stand for a turned text.
        middle = x + 4 * math.sin(angle), y - 4 * math.cos(angle)
        far = middle[0] + width * math.cos(angle), middle[1] + width * math.sin(angle)
        if room.all_free([Box(box.x - 1.5, box.y - 1.5, 7, 7) for box in _along(middle, far)]):
            turn = f"translate({pixels(x)} {pixels(y)}) rotate({pixels(math.degrees(angle))})"
            picture.parts.append(svg_text(0, 0, text, "ink small", turn=turn))
            return


def _draw_ridge_name(picture: Picture, room: Room, text: str, x: float, y: float, dashed: bool) -> None:
    """Write where a ridge lies: a measured one below it, since it lies below the spec sheet's, which goes above."""
    width = text_width(text, 11)
    if dashed:
        beside = min(x + 4, _PLOT.x + _PLOT.width - width - 3)
        places = [(beside, y + 8), (x - width / 2, y + 8), (beside, y + 21)]
    else:
        places = [(x - width / 2, y - 20), (x - width - 4, y - 20), (x + 4, y - 20)]
    found = room.first_free(Box(left, top, width, 13) for left, top in places)
    if found is not None:
        picture.text(found.x, found.y + 10.5, text, "soft small over halo")


def _ceiling_value(ceiling: Ceiling) -> str:
    return si(ceiling.value, "B/s" if ceiling.kind == "bandwidth" else "FLOP/s")


def _ceiling_text(ceiling: Ceiling) -> str:
    return f"{fit(ceiling.name, 240, 11)} {_ceiling_value(ceiling)}"


def _draw_markers(
    picture: Picture, points: Sequence[RooflinePoint], axes: _LogAxes, room: Room
) -> list[tuple[float, float]]:
    """One numbered marker for each point, moved aside with a line to its place where another is in the way.

    Returns:
        Where the markers are.
    """
    size = 2 * _BADGE
    spots = [(axes.x(spot[0]), axes.y(spot[1])) for point in points if (spot := _rate(point)) is not None]
    centres: list[tuple[float, float]] = []
    others = Room(Box(_PLOT.x, _PLOT.y, _PLOT.width, _PLOT.height))
    for x, y in spots:
        box = others.first_free(Box(dx + x - _BADGE, dy + y - _BADGE, size, size) for dx, dy in _around())
        centres.append((box.x + _BADGE, box.y + _BADGE) if box else (x, y))
    for (x, y), (at_x, at_y) in zip(spots, centres, strict=True):
        if (x, y) != (at_x, at_y):
            picture.line(x, y, at_x, at_y, "leader")
            picture.parts.append(f'<circle class="ink" cx="{pixels(x)}" cy="{pixels(y)}" r="2.5"/>')
        room.take(Box(at_x - _BADGE - 1, at_y - _BADGE - 1, size + 2, size + 2))
    for number, (point, (x, y)) in enumerate(zip(points, centres, strict=True), 1):
        picture.parts.append(_marker(number, point, x, y))
    return centres


def _draw_names(
    picture: Picture, points: Sequence[RooflinePoint], centres: Sequence[tuple[float, float]], room: Room
) -> None:
    """Names right beside their markers where there is room; the list below has all names anyway."""
    for point, (x, y) in zip(points, centres, strict=True):
        name = fit(_name(point), 190)
        width = text_width(name)
        places: dict[Box, tuple[float, float, str]] = {}
        for dx, dy in ((0, 0), (0, 19), (0, -19), (-4, 15), (-4, -15)):
            if abs(dy) < 19:
                places[Box(x + 12 + dx, y - 7 + dy, width, 14)] = (x + 12 + dx, y + 4 + dy, "start")
                places[Box(x - 12 - dx - width, y - 7 + dy, width, 14)] = (x - 12 - dx, y + 4 + dy, "end")
            else:
                places[Box(x - width / 2, y - 7 + dy, width, 14)] = (x, y + 4 + dy, "middle")
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
    shape = svg_rect(x - _BADGE, y - _BADGE, size, size, bound, radius=3 if bound == "compute" else _BADGE)
    label = svg_text(x, y + 3.8, str(number), f"badge on-{bound}", "middle")
    return f'<g class="point"><title>{clean(_tooltip(point))}</title>{shape}{label}</g>'


def _tooltip(point: RooflinePoint) -> str:
    lines = [_name(point) if not point.kernel else f"{point.kernel}\n{point.case}"]
    if (spot := _rate(point)) is not None:
        lines.append(f"{si(spot[1], 'FLOP/s')} at {plain(spot[0])} FLOP/B")
    lines.append(f"{si(point.bytes / point.time_s, 'B/s')}, {si(point.time_s, 's')} ({point.bytes_source})")
    lines.append(f"{percent(point.share_of_sheet)} of the spec sheet, {percent(point.share_of_measured)} of measured")
    return "\n".join(lines)


# -- in numbers -------------------------------------------------------------------------------------------------------


def _draw_list(picture: Picture, points: Sequence[RooflinePoint], y: float) -> float:
    """The roofs by name, and the points in numbers."""
    ceilings = _ceilings(points, "bandwidth") + _ceilings(points, "rate")
    for index, ceiling in enumerate(ceilings):
        x = 20 + 440 * (index % 2)
        y += 20 if index % 2 == 0 else 0
        picture.line(x, y - 4, x + 26, y - 4, "roof dashed" if _dashed(ceiling) else "roof")
        text = _ceiling_text(ceiling)
        widths = [entry.value for entry in ceilings if entry.kind == "bandwidth" and entry.source == ceiling.source]
        if ceiling.kind == "rate" and len(widths) == 1:
            text += f", ridge at {plain(ceiling.value / widths[0])} FLOP/B"
        picture.text(x + 34, y, fit(text, 395), "soft")
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
        picture.text(46, y, fit(_name(point), 330), "ink", title=point.kernel or point.case)
        cells = (si(spot[1], ""), plain(spot[0]), percent(point.share_of_sheet), percent(point.share_of_measured))
        for (x, _head), cell in zip(columns, (*cells, point.bound), strict=True):
            picture.text(x, y, cell, "ink", "end")
    return y + 12


def _draw_bars(picture: Picture, points: Sequence[RooflinePoint], y: float) -> float:
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
        half = text_width(text, 11) / 2
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
    step = nice_step(most, 6)
    for index in range(int(most / step) + 1):
        picture.line(x_of(index * step), top, x_of(index * step), bottom, "grid")
        picture.text(x_of(index * step), bottom + 16, si(index * step, "B/s") if index else "0", "soft", "middle")
    for point, value in zip(points, reached, strict=True):
        y += 26
        picture.text(left - 10, y + 2, fit(_name(point), 196), "ink", "end", title=point.kernel or point.case)
        bound = point.bound if point.bound in BOUNDS else "other"
        picture.parts.append(svg_rect(left, y - 10, x_of(value) - left, 16, f"bar {bound}", _tooltip(point), 2))
        cells = si(value, "B/s"), percent(point.share_of_sheet), percent(point.share_of_measured)
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
