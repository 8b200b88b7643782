"""What every page about a search shares: escaping that shows what hides, words for numbers, differences of texts."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kernelevolve.evaluation.verdict import Diagnosis

HERE = Path(__file__).parent
"""Folder of the templates that pages have in common: `look.css`, `curve.html`."""
_DECEIVING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Characters that are not seen, or that make text read in another order than it runs."""


def page_environment(folders: Sequence[Path] = ()) -> Environment:
    """Templates whose values are escaped, and whose missing values are errors.

    Args:
        folders: where templates lie, besides those that pages have in common.
    """
    environment = Environment(
        loader=FileSystemLoader([*folders, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters.update(ms=milliseconds, ratio=ratio, words=lambda value: str(value).replace("_", " "))
    return environment


def visible(value: Any) -> Any:
    """Make characters of a text visible that could hide what a candidate's text really says."""
    if type(value) is str:
        return _DECEIVING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", value)
    return value


def milliseconds(value: float | None) -> str:
    """A time in milliseconds, to about three digits."""
    if value is None:
        return "–"
    return f"{value:,.1f}" if value >= 1000 else f"{value:.3f}" if value >= 0.1 else f"{value:.5f}"


def ratio(value: float | None) -> str:
    """A speed-up; a dash where there is none."""
    return "–" if not value else f"{value:.2f}×" if value < 100 else f"{value:,.0f}×"


def diff_lines(before: str, after: str, first: str, second: str) -> list[tuple[str, str]]:
    """Lines of a unified diff, each with its kind: `head`, `add`, `drop` or `same`."""
    kinds = {"+": "add", "-": "drop", "@": "head"}
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), first, second, lineterm="")
    return [(kinds.get(line[:1], "same") if index > 1 else "head", line) for index, line in enumerate(lines)]


def pretty(value: Any) -> str:
    """JSON with a line for each entry, but lists of numbers, such as timed samples, on one."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(r"\[[\s\d.,eE+-]+\]", lambda match: re.sub(r"\s+", " ", match[0]), text)


def diagnosis_facts(found: Diagnosis) -> tuple[tuple[str, str], ...]:
    """What a diagnosis knows beside its summary: name and text of each fact."""
    facts = {
        "where": ", ".join(f"{key} {value}" for key, value in found.where.items()),
        "first index": "" if found.first_index is None else str(found.first_index),
        "expected": _number(found.expected),
        "got": _number(found.got),
        "out of bounds": "" if found.mismatched is None else f"{found.mismatched:,} of {found.elements or 0:,}",
        "largest error": _number(found.max_error),
        "in ULPs": _number(found.max_error_ulps),
        "times the reference's": _number(found.error_ratio),
    }
    return tuple((name, text) for name, text in facts.items() if text)


def _number(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, bool) else f"{value:,.9g}"
