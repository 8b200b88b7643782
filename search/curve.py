"""The search curve: where every node and the best so far lie in a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernelevolve.evaluation.finding import Status
from kernelevolve.search.fitness import improves
from kernelevolve.search.node import Node

WIDTH, HEIGHT = 860, 380
_LEFT, _RIGHT, _TOP = 58, 16, 18
_BOTTOM, _BOTTOM_WITH_RAIL = 52, 74
_RAIL = 36
"""Distance below the axis of the row of nodes without a speed-up."""
_LOG_RANGE = 20.0
_KINDS = {
    Status.CORRECT: "correct",
    Status.WRONG: "wrong",
    Status.COMPILE_ERROR: "compile_error",
    Status.RUNTIME_ERROR: "runtime_error",
    Status.TIMEOUT: "runtime_error",
    Status.RULE_VIOLATION: "refused",
    Status.REWARD_HACK: "refused",
    Status.UNSUPPORTED: "not_judged",
    Status.HARNESS_ERROR: "not_judged",
}
_NAMES = {
    "correct": "correct",
    "best": "best when judged",
    "wrong": "wrong",
    "compile_error": "compile error",
    "runtime_error": "runtime error or timeout",
    "refused": "rule violation or reward hack",
    "not_judged": "could not be judged",
    "refuted": "refuted when confirmed",
    "confirmed": "winner, confirmed",
}


@dataclass(frozen=True)
class Tick:
    """One label of an axis, and where it stands."""

    at: float
    label: str


@dataclass(frozen=True)
class Dot:
    """One node."""

    x: float
    y: float
    kind: str
    """Decides colour and shape: a key of the legend."""
    title: str
    """What its tooltip says."""
    step: int
    """The node's step."""
    low: float | None = None
    """Where the lower end of its interval lies."""
    high: float | None = None
    """Where the upper end of its interval lies."""


@dataclass(frozen=True)
class Curve:
    """Everything the picture shows, in its own coordinates."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    logarithmic: bool
    dots: tuple[Dot, ...]
    best_line: str
    """The best so far, as an SVG path; empty where nothing is correct."""
    unity: float | None
    """Where a speed-up of 1 lies."""
    rail: float | None
    """Where nodes without a speed-up lie; None where there are none."""
    legend: tuple[tuple[str, str], ...]
    """Kind and name of what occurs."""
    bottom: int
    """Where the x axis lies."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP


def search_curve(nodes: Sequence[Node], margin: float, winner: Node | None) -> Curve:
    """Lay out the curve.

    Args:
        nodes: in the order of their steps; of a large search some, all that ever led among them.
        margin: the search's margin, which decides when the best changes.
        winner: the node that was confirmed last, if there is one.
    """
    values = [value for node in nodes for value in (node.fitness.low, node.fitness.speedup, node.fitness.high)]
    values = [value for value in values if value > 0]
    if winner is not None and winner.confirmed is not None:
        values.append(winner.confirmed.speedup)
    logarithmic = bool(values) and max(values) > _LOG_RANGE * min(values)
    y_marks = _log_marks(values) if logarithmic else linear_marks([*values, 1.0])
    low, high = y_marks[0], y_marks[-1]
    some_fail = any(node.fitness.speedup <= 0 for node in nodes)
    bottom = HEIGHT - (_BOTTOM_WITH_RAIL if some_fail else _BOTTOM)
    count = nodes[-1].step + 1 if nodes else 0
    last = max(count - 1, 1)

    def x_of(step: float) -> float:
        return round(_LEFT + 10 + (WIDTH - _RIGHT - _LEFT - 20) * step / last, 1)

    def y_of(value: float) -> float:
        at, least, most = (math.log(max(mark, low)) if logarithmic else mark for mark in (value, low, high))
        share = (at - least) / (most - least)
        return round(bottom - (bottom - _TOP) * share, 1)

    dots: list[Dot] = []
    line: list[str] = []
    best: Node | None = None
    rail = bottom + _RAIL
    for node in nodes:
        leads = node.status is Status.CORRECT and node.fitness.speedup > 0 and not node.refuted
        leads = leads and (best is None or improves(node.fitness, best.fitness, margin))
        if leads:
            y = y_of(node.fitness.speedup)
            line.append(f"M{x_of(node.step)} {y}" if best is None else f"H{x_of(node.step)}V{y}")
            best = node
        kind = "refuted" if node.refuted else "best" if leads else _KINDS[node.status]
        if node.fitness.speedup > 0:
            ends = y_of(node.fitness.low), y_of(node.fitness.high)
            dots.append(Dot(x_of(node.step), y_of(node.fitness.speedup), kind, _title(node), node.step, *ends))
        else:
            dots.append(Dot(x_of(node.step), rail, kind, _title(node), node.step))
    if best is not None:
        line.append(f"H{x_of(last)}")
    if winner is not None and winner.confirmed is not None:
        title = f"step {winner.step}, confirmed: {winner.confirmed.speedup:.2f}×"
        dots.append(Dot(x_of(winner.step), y_of(winner.confirmed.speedup), "confirmed", title, winner.step))
    kinds = {dot.kind for dot in dots}
    return Curve(
        x_ticks=tuple(Tick(x_of(step), str(step)) for step in _steps(count)),
        y_ticks=tuple(Tick(y_of(mark), f"{mark:g}×") for mark in y_marks),
        logarithmic=logarithmic,
        dots=tuple(dots),
        best_line="".join(line),
        unity=y_of(1.0) if low <= 1.0 <= high else None,
        rail=rail if some_fail else None,
        bottom=bottom,
        legend=tuple((kind, name) for kind, name in _NAMES.items() if kind in kinds),
    )


def _title(node: Node) -> str:
    what = node.mutation or "starting point"
    if node.fitness.speedup > 0:
        return (
            f"step {node.step}: {what}\n{node.fitness.speedup:.2f}× [{node.fitness.low:.2f}, {node.fitness.high:.2f}]"
        )
    return f"step {node.step}: {what}\n{node.status.value.replace('_', ' ')}"


def _nice(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, … times a power of ten that divides a span into at most so many parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most)


def linear_marks(values: Sequence[float]) -> list[float]:
    """Round numbers from 0 to a little above the largest value: marks of an axis."""
    step = _nice(max(values), 6)
    return [round(index * step, 10) for index in range(math.ceil(max(values) / step * 1.02) + 1)]


def _log_marks(values: Sequence[float]) -> list[float]:
    low, high = min(*values, 1.0), max(*values, 1.0)
    marks = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        for factor in (1, 2, 5)
    ]
    first = max(index for index, mark in enumerate(marks) if mark <= low)
    last = max(first + 1, min(index for index, mark in enumerate(marks) if mark >= high))
    chosen = marks[first : last + 1]
    if len(chosen) > 10:
        chosen = [mark for mark in chosen if f"{mark:e}".startswith("1.") or mark in (chosen[0], chosen[-1])]
    return chosen


def _steps(count: int) -> list[int]:
    if count < 2:
        return [0] if count else []
    return list(range(0, count, max(1, round(_nice(count - 1, 12)))))


def spark(values: Sequence[float], width: int = 32) -> str:
    """A curve in one line of text, from 0 to the largest value."""
    if not values or max(values) <= 0:
        return ""
    chosen = [values[min(len(values) - 1, index * len(values) // width)] for index in range(min(width, len(values)))]
    bars = "▁▂▃▄▅▆▇█"
    return "".join(bars[min(len(bars) - 1, int(value / max(values) * (len(bars) - 1) + 0.5))] for value in chosen)
