"""A comparison as a page and as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kernelevolve.search.comparison import Comparison, PolicyCurve
from kernelevolve.search.curve import Tick, linear_marks

_COLOURS = ("#2f6fdb", "#d9730d", "#2e9e5b", "#b8336a", "#7a5cd6", "#7d8590", "#b08900", "#0f8b8d")
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 850.0, 14.0, 366.0


@dataclass(frozen=True)
class _Line:
    policy: str
    colour: str
    dashes: str
    points: str
    band: str
    cells: tuple[str, ...]
    ends: str


def marks_of(comparison: Comparison) -> tuple[int, ...]:
    """Evaluations at which a table shows the curves: a quarter, half, three quarters, all."""
    total = comparison.evaluations
    return tuple(sorted({max(1, round(total * share / 4)) for share in (1, 2, 3, 4)}))


def cells_of(comparison: Comparison, row: PolicyCurve) -> tuple[str, ...]:
    """Median and range at each mark."""
    return tuple(
        f"{row.median[mark - 1]:.2f} [{row.low[mark - 1]:.2f}, {row.high[mark - 1]:.2f}]"
        for mark in marks_of(comparison)
    )


def render_comparison(comparison: Comparison) -> str:
    """The page: curves with their ranges, and the table; one self-contained file."""
    highest = max(max(row.high) for row in comparison.policies)
    marks = linear_marks([highest, 1.0])

    def x_of(index: int) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * index / max(1, comparison.evaluations - 1), 1)

    def y_of(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * value / marks[-1], 1)

    lines = []
    for number, row in enumerate(comparison.policies):
        upper = [f"{x_of(index)},{y_of(value)}" for index, value in enumerate(row.high)]
        lower = [f"{x_of(index)},{y_of(value)}" for index, value in enumerate(row.low)]
        lines.append(
            _Line(
                policy=row.policy,
                colour=_COLOURS[number % len(_COLOURS)],
                # Told apart without colours too.
                dashes=("", "7 3", "2 3", "9 3 2 3", "4 4", "1 5")[number % 6],
                points=" ".join(f"{x_of(index)},{y_of(value)}" for index, value in enumerate(row.median)),
                band=" ".join([*upper, *reversed(lower)]),
                cells=cells_of(comparison, row),
                ends=", ".join(f"{curve[-1]:.2f}" for curve in row.curves),
            )
        )
    steps = sorted({0, *(mark - 1 for mark in marks_of(comparison))})
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("comparison.html").render(
        comparison=comparison,
        lines=lines,
        marks=marks_of(comparison),
        y_ticks=[Tick(y_of(mark), f"{mark:g}") for mark in marks],
        x_ticks=[Tick(x_of(step), str(step + 1)) for step in steps],
    )
