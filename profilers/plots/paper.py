"""What every picture of a profile is drawn with: elements of SVG, colours, texts that fit, room for labels.

Colours follow the reader's light or dark setting. They are written out in both style sheets instead of once as
variables, which programs that turn SVG into pixels do not know. Names of kernels come from the candidate: every text
is escaped, and characters that would hide what it says are spelled out.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

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


# -- the picture ------------------------------------------------------------------------------------------------------


@dataclass
class Picture:
    """Elements of one SVG, in the order in which they are drawn."""

    title: str
    description: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str, below: str) -> None:
        """What the picture shows, and a line about it."""
        self.text(20, 28, text, "ink strong")
        self.text(20, 47, fit(below, WIDTH - 40), "soft")

    def text(self, x: float, y: float, text: str, style: str, anchor: str = "start", title: str = "") -> None:
        """Draw a text: see `svg_text`."""
        self.parts.append(svg_text(x, y, text, style, anchor, title=title))

    def rect(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """Draw a rectangle: see `svg_rect`."""
        self.parts.append(svg_rect(x, y, width, height, style))

    def line(self, x: float, y: float, to_x: float, to_y: float, style: str) -> None:
        """Draw a straight line."""
        self.parts.append(
            f'<line class="{style}" x1="{pixels(x)}" y1="{pixels(y)}" x2="{pixels(to_x)}" y2="{pixels(to_y)}"/>'
        )

    def nothing(self, why: str) -> str:
        """The whole SVG document, where there is nothing to draw."""
        self.text(WIDTH / 2, 68, f"Nothing to show: {why}", "soft", "middle")
        return self.render(124)

    def render(self, height: float) -> str:
        """The whole SVG document, so many pixels high."""
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" class="ke-plot" role="img" '
            f'width="{WIDTH}" height="{pixels(height)}" viewBox="0 0 {WIDTH} {pixels(height)}">\n'
            f"<title>{clean(self.title)}</title>\n<desc>{clean(self.description)}</desc>\n"
            f"<style>{_style()}</style>\n{_HATCH}\n"
            f'<rect class="panel" width="{WIDTH}" height="{pixels(height)}" rx="10"/>\n'
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


def pixels(value: float) -> str:
    """A coordinate: a hundredth of a pixel is enough."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def clean(text: str) -> str:
    """A text as XML, with characters that deceive spelled out."""
    return escape(_DECEIVING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text))


def svg_text(x: float, y: float, text: str, style: str, anchor: str = "start", turn: str = "", title: str = "") -> str:
    """A text.

    Args:
        x: its place, pixels.
        y: the line that its letters stand on, pixels.
        text: need not be clean.
        style: classes of the style sheet.
        anchor: which part of it lies at `x`: `start`, `middle` or `end`.
        turn: a transformation.
        title: what a pointer over it is told.
    """
    where = f'x="{pixels(x)}" y="{pixels(y)}"' + (f' transform="{turn}"' if turn else "")
    where += f' text-anchor="{anchor}"' if anchor != "start" else ""
    told = f"<title>{clean(title)}</title>" if title else ""
    return f'<text class="{style}" {where}>{told}{clean(text)}</text>'


def svg_rect(x: float, y: float, width: float, height: float, style: str, title: str = "", radius: float = 0) -> str:
    """A rectangle.

    Args:
        x: its left edge, pixels.
        y: its upper edge, pixels.
        width: pixels.
        height: pixels.
        style: classes of the style sheet.
        title: what a pointer over it is told.
        radius: of its corners, pixels.
    """
    size = f'x="{pixels(x)}" y="{pixels(y)}" width="{pixels(width)}" height="{pixels(height)}"' + (
        f' rx="{pixels(radius)}"' if radius else ""
    )
    return f'<rect class="{style}" {size}>' + (f"<title>{clean(title)}</title></rect>" if title else "</rect>")


# -- texts that fit ---------------------------------------------------------------------------------------------------

_NARROW, _BROAD = frozenset("ijlftrI.,:;'|!()[]{}-/ ·"), frozenset("mwMW%@…—")


def text_width(text: str, size: float = 12) -> float:
    """Pixels that a text takes at most, by classes of letters in DejaVu Sans, the widest of the usual fonts."""
    ems = 0.0
    for letter in text:
        if unicodedata.east_asian_width(letter) in "WF":
            ems += 1.05
        else:
            ems += 0.4 if letter in _NARROW else 1.0 if letter in _BROAD else 0.7 if letter.isupper() else 0.63
    return size * ems


def fit(text: str, width: float, size: float = 12) -> str:
    """The text, or as much of its start as fits, with an ellipsis; empty where not even three letters fit."""
    text = _DECEIVING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)
    if text_width(text, size) <= width:
        return text
    length = len(text)
    while length > 2 and text_width(text[:length], size) + size > width:
        length -= 1
    return f"{text[:length].rstrip()}…" if length > 2 else ""


def short_name(name: str) -> str:
    """A kernel's own name, without return type, namespaces, template and function arguments."""
    bare = re.split(r"[<(]", name.removeprefix("void "))[0].split("::")[-1].strip()
    return bare or name


# -- numbers as text --------------------------------------------------------------------------------------------------


def si(value: float, unit: str) -> str:
    """Three digits with a prefix: `3.35 TB/s`."""
    power = max(-3, min(6, math.floor(math.log10(abs(value)) / 3))) if value else 0
    scaled = value / 1000.0**power
    if abs(scaled) >= 999.5 and power < 6:
        scaled, power = scaled / 1000, power + 1
    return f"{scaled:.3g} {('n', 'µ', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E')[power + 3]}{unit}".rstrip()


def plain(value: float) -> str:
    """Three digits without a prefix: `0.512`, `1,370`."""
    return f"{float(f'{value:.3g}'):,.6g}"


def counted(value: float, one: str, many: str) -> str:
    """A number with its noun: `1 copy`, `2 copies`."""
    return f"{value:,g} {one if value == 1 else many}"


def us(value: float) -> str:
    """Microseconds: `7.25 µs`, `41.3 µs`, `1,370 µs`."""
    return f"{value:,.0f} µs" if value >= 1000 else f"{value:.1f} µs" if value >= 10 else f"{value:.2f} µs"


def percent(share: float | None) -> str:
    """A share from 0 to 1: `56 %`; a dash where it is not known."""
    return "–" if share is None else f"{100 * share:.0f} %"


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, … times a power of ten that divides a span into at most so many parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most)


# -- room for labels --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Box:
    """A rectangle with sides along the axes, pixels; `x` and `y` are its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def touches(self, other: Box) -> bool:
        """Whether the two overlap; to share an edge is not to."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )

    def inside(self, other: Box) -> bool:
        """Whether all of it lies in the other."""
        right, bottom = other.x + other.width, other.y + other.height
        return (
            self.x >= other.x and self.y >= other.y and self.x + self.width <= right and self.y + self.height <= bottom
        )


class Room:
    """Where there is still room for something that must overlap nothing.

    Args:
        whole: what must hold all of it.
    """

    def __init__(self, whole: Box) -> None:
        self._whole = whole
        self._taken: list[Box] = []

    def take(self, box: Box) -> None:
        """Keep others from a box, whatever is there already."""
        self._taken.append(box)

    def all_free(self, boxes: Sequence[Box]) -> bool:
        """Whether all of some boxes fit; they are then taken."""
        if any(not box.inside(self._whole) or any(box.touches(taken) for taken in self._taken) for box in boxes):
            return False
        self._taken.extend(boxes)
        return True

    def first_free(self, candidates: Iterable[Box]) -> Box | None:
        """The first candidate that fits, which is then taken."""
        for box in candidates:
            if box.inside(self._whole) and not any(box.touches(taken) for taken in self._taken):
                self.take(box)
                return box
        return None
