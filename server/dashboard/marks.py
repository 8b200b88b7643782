"""Small pictures and marked-up text: curves in a line, intervals, highlighted sources, documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from kernelevolve.evaluation.verdict import CaseTiming
from kernelevolve.search.page import visible
from kernelevolve.server.dashboard.guard import PREFIX

SPARK_WIDTH, SPARK_HEIGHT = 120, 28
BAR_WIDTH = 220
_LEXERS = {"triton": "python", "cpp": "cpp", "cuda": "cuda", "hip": "cuda"}
_LONGEST_COLOURED = 200_000
"""Characters of a source that is highlighted: more would keep the server busy for seconds."""
_MOST_LINES = 5000
_KNOWLEDGE = "knowledge://"


def spark_path(leads: Sequence[tuple[int, float]], last: int) -> str:
    """The best so far over the steps, as the path of an SVG of `SPARK_WIDTH` by `SPARK_HEIGHT`; empty without one.

    Args:
        leads: step and speed-up of each node that led.
        last: the newest step.
    """
    if not leads:
        return ""
    high, low = max(leads[-1][1], 1.0), min(leads[0][1], 1.0)
    span = (high - low) or 1.0

    def x(step: int) -> float:
        return round(2 + (SPARK_WIDTH - 4) * step / max(last, 1), 1)

    def y(value: float) -> float:
        return round(SPARK_HEIGHT - 3 - (SPARK_HEIGHT - 6) * (value - low) / span, 1)

    path = f"M{x(leads[0][0])} {y(leads[0][1])}"
    path += "".join(f"H{x(step)}V{y(value)}" for step, value in leads[1:])
    return f"{path}H{SPARK_WIDTH - 2}"


@dataclass(frozen=True)
class Bar:
    """The interval of one case's speed-up in a picture `BAR_WIDTH` wide."""

    timing: CaseTiming
    """What it shows."""
    low: float
    """Where the interval begins."""
    high: float
    """Where it ends."""
    at: float
    """Where the speed-up lies."""
    unity: float
    """Where a speed-up of 1 lies."""


def interval_bars(timings: Sequence[CaseTiming]) -> list[Bar]:
    """Intervals on one axis that begins at 0. Those without a finite end have no place on it and reach its end."""
    ends = [timing.interval.high for timing in timings if math.isfinite(timing.interval.high)]
    most = max([*ends, 1.0]) * 1.05

    def x(value: float) -> float:
        return round(min(max(value, 0.0) / most, 1.0) * BAR_WIDTH, 1) if math.isfinite(value) else float(BAR_WIDTH)

    return [
        Bar(timing, x(timing.interval.low), x(timing.interval.high), x(timing.interval.speedup), x(1.0))
        for timing in timings
    ]


def source_lines(source: str, language: str) -> tuple[list[Markup], int]:
    """The lines of a source, highlighted where it is not too long, each one safe to show.

    Returns:
        At most 5000 lines, and how many more there are.
    """
    text = str(visible(source))
    if len(text) <= _LONGEST_COLOURED:
        lines = _coloured(text, _LEXERS.get(language))
    else:
        lines = [escape(line) for line in text.splitlines()]
    return lines[:_MOST_LINES], max(0, len(lines) - _MOST_LINES)


def _coloured(text: str, language: str | None) -> list[Markup]:
    # Imported when needed: the lexers take a tenth of a second.
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(language or "text", stripnl=False, ensurenl=False)
    # Escapes what it marks; classes only, since the pages allow no style of their own.
    marked = highlight(text, lexer, HtmlFormatter(nowrap=True, classprefix="hl-"))
    return [Markup(line) for line in marked.removesuffix("\n").split("\n")]


def document(markdown: str) -> Markup:
    """A document of the knowledge base as HTML: no HTML of its own, links to other documents lead to their pages."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(str(visible(markdown)))
    for token in [*tokens, *(child for block in tokens for child in block.children or ())]:
        # Alignment comes as a style, which the pages do not allow.
        if "text-align:right" in str(token.attrs.pop("style", "")):
            token.attrSet("class", "n")
        href = str(token.attrs.get("href", ""))
        if href.startswith(_KNOWLEDGE):
            token.attrSet("href", f"{PREFIX}/knowledge/documents/{href.removeprefix(_KNOWLEDGE)}")
        elif href:
            token.attrSet("rel", "noreferrer noopener")
    return Markup(parser.renderer.render(tokens, parser.options, {}))
