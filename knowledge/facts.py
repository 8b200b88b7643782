"""Answer numeric questions from the spec sheets, exactly, before anything is searched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from kernelevolve.evaluation.platform import Quantity, SpecSheet
from kernelevolve.evaluation.platforms.spec_sheets import Field, architecture_sheets, fields, spec_sheets

SHEET_DOCUMENTS = "chips/"
"""Beginning of the ids of documents that are spec sheets."""
_MOST = 6
"""Answers at most; a question about more chips than that is a search."""
_WORD = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")
_NOISE = {"per", "of", "a", "an", "the", "in", "on", "for", "each", "one", "and", "to", "is", "does", "with"}
_SAME = {
    "smem": "shared memory",
    "multiprocessor": "sm",
    "multiprocessors": "sms",
    "cta": "block",
    "ctas": "blocks",
    "threadblock": "block",
    "workgroup": "block",
    "vram": "device memory",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float32": "fp32",
    "float64": "fp64",
    "double": "fp64",
    "float8": "fp8",
    "tflop": "tflops",
    "flop": "flops",
    "petaflops": "tflops",
    "pflops": "tflops",
    "teraflops": "tflops",
    "throughput": "peak",
    "rate": "peak",
    "maximum": "max",
    "cu": "cus",
    "wattage": "power",
    "frequency": "clock",
    "clocks": "clock",
}
_ASKING = {"how", "many", "much", "what", "number", "count"}
_ADVICE = frozenset(
    """
    why when avoid reduce improve increase should conflict conflicts optimize optimise tune faster slow fix
    error errors debug write implement choose pick best better must explain hide overlap swizzle
    """.split()
)
"""Words of a question for advice, in which a property may occur."""

_FILLER = frozenset(
    """
    what whats how much many big large which s value size number count total are there have has can could at
    most max peak dense limit spec specs available use used tell me give gpu chip card accelerator nvidia amd
    intel it its get do i we you single by capacity bytes kb kib mb gb tb without sparsity full high wide fast
    hold holds held given support supports allow allowed allows offer vs versus compare compared difference
    between than or from may claim up own thread threads one two both processor
    """.split()
)
"""Words that leave a question for a number a question for a number."""


@dataclass(frozen=True)
class SpecAnswer:
    """One number of a spec sheet, as the answer to a question."""

    sheet: SpecSheet
    field: Field
    fact: Quantity

    @property
    def document(self) -> str:
        """The sheet's document."""
        return f"{SHEET_DOCUMENTS}{self.sheet.key}"


def spec_answers(question: str, platforms: Sequence[str] = ()) -> list[SpecAnswer]:
    """Numbers that a question asks for.

    Args:
        question: e.g. `shared memory per block on H100`, `h100 vs a100 l2 cache`.
        platforms: families (`hopper`) that the caller filters by; used where the question names no chip.

    Returns:
        Answers in the order in which the question names the chips; empty where it names no chip, no property, or one
        that the sheets lack.
    """
    words = _words(question)
    sheets, rest = _sheets_in(words)
    if not sheets:
        sheets = [sheet for sheet in architecture_sheets().values() if sheet.family in platforms]
    found = []
    for sheet in sheets[:_MOST]:
        for field in _asked(rest, sheet):
            found.append(SpecAnswer(sheet, field, sheet.facts[field.name]))
    return found[:_MOST] if _is_about_numbers(rest, found) else []


def sheet_text(sheet: SpecSheet) -> str:
    """A whole spec sheet as Markdown, with the sources."""
    lines = [f"# {sheet.chip}", "", f"Architecture {sheet.architecture}, generation {sheet.family}.", ""]
    sources = list(dict.fromkeys(source for fact in sheet.facts.values() for source in fact.sources))
    lines += ["| property | value | sources | checked |", "| --- | --- | --- | --- |"]
    for name, fact in sheet.facts.items():
        marks = " ".join(f"[{sources.index(source) + 1}]" for source in fact.sources)
        note = f" ({fact.note})" if fact.note else ""
        lines.append(f"| {fields()[name].label} | {fact.text}{note} | {marks} | {fact.checked} |")
    return "\n".join([*lines, "", *(f"{number}. {source}" for number, source in enumerate(sources, 1))])


def sheet_lines(sheet: SpecSheet) -> str:
    """A spec sheet as a list without sources: what is searched."""
    notes = {name: f" ({fact.note})" if fact.note else "" for name, fact in sheet.facts.items()}
    return "\n".join(f"- {fields()[name].label}: {fact.text}{notes[name]}" for name, fact in sheet.facts.items())


def known_sheets() -> dict[str, SpecSheet]:
    """Chips and architectures by key."""
    return {**architecture_sheets(), **spec_sheets()}


def _words(text: str) -> list[str]:
    words: list[str] = []
    for word in _WORD.findall(text.lower().replace("_", " ")):
        words += _SAME.get(word, word).split()
    return words


@cache
def _names() -> list[tuple[tuple[str, ...], SpecSheet]]:
    """Names of chips, generations and targets as words, the longest first."""
    found: dict[tuple[str, ...], SpecSheet] = {}
    for sheet in spec_sheets().values():
        for name in (sheet.chip, sheet.key, *sheet.aliases):
            found.setdefault(tuple(_words(name)), sheet)
    for key, sheet in architecture_sheets().items():
        for name in (key, sheet.chip, sheet.family, *sheet.aliases):
            found.setdefault(tuple(_words(name)), sheet)
    return sorted(found.items(), key=lambda item: -len(item[0]))


def _sheets_in(words: list[str]) -> tuple[list[SpecSheet], list[str]]:
    """Chips that a question names, in order, and the words that name none."""
    rest: list[str | None] = list(words)
    found: list[tuple[int, SpecSheet]] = []
    for name, sheet in _names():
        for begin in range(len(rest) - len(name) + 1):
            if name and tuple(rest[begin : begin + len(name)]) == name:
                found.append((begin, sheet))
                rest[begin : begin + len(name)] = [None] * len(name)
    ordered = dict.fromkeys(sheet.key for _, sheet in sorted(found, key=lambda item: item[0]))
    by_key = {sheet.key: sheet for _, sheet in found}
    return [by_key[key] for key in ordered], [word for word in rest if word is not None]


@cache
def _asks() -> tuple[tuple[frozenset[str], Field], ...]:
    return tuple(
        (frozenset(_stem(word) for word in _words(ask) if word not in _NOISE | _ASKING), field)
        for field in fields().values()
        for ask in field.asks
    )


def _asked(words: list[str], sheet: SpecSheet) -> list[Field]:
    """The properties that match the most words; every word of one of a property's phrases must be in the question.

    If what matches best is a property that the sheet lacks (tensor memory of an H100), nothing that matches less is an
    answer (its memory).
    """
    have = {_stem(word) for word in words}
    best: dict[str, int] = {}
    for phrase, field in _asks():
        if phrase and phrase <= have:
            best[field.name] = max(best.get(field.name, 0), len(phrase))
    most = max(best.values(), default=0)
    return [fields()[name] for name, size in best.items() if size == most and name in sheet.facts]


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word


def sheets_named(question: str) -> set[str]:
    """Documents of the chips and architectures that a question names."""
    sheets, _ = _sheets_in(_words(question))
    return {f"{SHEET_DOCUMENTS}{sheet.key}" for sheet in sheets}


def _is_about_numbers(rest: list[str], found: list[SpecAnswer]) -> bool:
    """Whether a question asks for a number, rather than for advice in which a property happens to occur.

    "shared memory per block on H100" does; "how do I avoid shared memory bank conflicts on H100" does not: after the
    property's own words, a question for a number has few words left.
    """
    if not found:
        return False
    asked = {word for answer in found for ask in answer.field.asks for word in (_stem(part) for part in _words(ask))}
    if _ADVICE & set(rest):
        return False
    left = [word for word in rest if _stem(word) not in asked and word not in _FILLER and word not in _NOISE]
    return len(left) <= 2
