"""A prompt: named parts within a budget of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernelevolve.evaluation.contract import Contract

CHARACTERS_PER_TOKEN = 3.5
"""Of source code, for the tokenizers in use; a little low, so that the estimate is rather too high."""
_CUT = "\n[… {count} characters left out …]\n"


class PromptPart(Contract):
    """One part of a prompt."""

    name: str
    """What it is: a heading."""
    text: str
    """The text, as long as the budget allows."""


class Prompt(Contract):
    """What an author reads."""

    parts: tuple[PromptPart, ...]
    """In the order they should be read."""

    @property
    def text(self) -> str:
        """All parts under their headings."""
        return "\n\n".join(f"## {part.name}\n{part.text}" for part in self.parts)

    @property
    def tokens(self) -> int:
        """Estimated length."""
        return tokens_of(self.text)


def tokens_of(text: str) -> int:
    """Estimated number of tokens of a text, rounded up."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Draft:
    """A part before it is fitted."""

    name: str
    text: str
    weight: float = 1.0
    """How much of what is missing it may keep, against the others."""
    least: int = 200
    """Characters below which it is left out altogether."""


def fit(drafts: Sequence[Draft], budget_tokens: int) -> Prompt:
    """Cut parts until all of them together are within a budget.

    Parts that are shorter than their share are kept whole; what they leave goes to the longer ones, by weight. A part
    is cut in the middle, where it says how much is missing: what stands first and last matters most in compiler output
    and in sources.

    Args:
        drafts: parts in the order they should be read; empty ones are left out.
        budget_tokens: for the whole text.
    """
    kept = [draft for draft in drafts if draft.text.strip()]
    while True:
        frame = sum(len(draft.name) + 6 for draft in kept)
        room = max(0, int(budget_tokens * CHARACTERS_PER_TOKEN) - frame)
        shares = _shares(kept, room)
        squeezed = [
            draft for draft, share in zip(kept, shares, strict=True) if share < min(len(draft.text), draft.least)
        ]
        if not squeezed or len(kept) == 1:
            break
        kept.remove(min(squeezed, key=lambda draft: draft.weight))
    parts = [
        PromptPart(name=draft.name, text=shorten(draft.text, share)) for draft, share in zip(kept, shares, strict=True)
    ]
    return Prompt(parts=tuple(parts))


def _shares(drafts: Sequence[Draft], room: int) -> list[int]:
    shares = [0] * len(drafts)
    open_ones = set(range(len(drafts)))
    while open_ones:
        total = sum(drafts[index].weight for index in open_ones)
        fits = {index for index in open_ones if len(drafts[index].text) <= room * drafts[index].weight / total}
        if not fits:
            for index in open_ones:
                shares[index] = int(room * drafts[index].weight / total)
            return shares
        for index in fits:
            shares[index] = len(drafts[index].text)
            room -= shares[index]
        open_ones -= fits
    return shares


def as_material(text: str) -> str:
    """Text that a compiler or a candidate wrote, marked line by line, so that it can't pass for the server's own."""
    return "\n".join(f"| {line}" for line in text.rstrip().splitlines())


def fenced(source: str, language: str = "") -> str:
    """A source between fences that it cannot close."""
    fence = "```"
    while fence in source:
        fence += "`"
    return f"{fence}{language}\n{source.rstrip()}\n{fence}"


def shorten(text: str, limit: int) -> str:
    """Cut a text in its middle, saying how much is missing, to at most `limit` characters."""
    if len(text) <= limit:
        return text
    # The number itself takes room: with all of the text missing it is longest.
    half = max(0, limit - len(_CUT.format(count=len(text)))) // 2
    mark = _CUT.format(count=len(text) - 2 * half)
    return (text[:half] + mark + text[len(text) - half :])[: max(limit, 0)]
