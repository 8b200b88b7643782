"""Make identifiers findable by full text: whole, in parts, and however they are written.

A word index splits `cp.async.bulk.tensor` at its dots, so a search for it finds every text with "async". Each dotted or
underscored name is therefore indexed once more as one word, for every run of its parts, and a query is treated alike.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Names begin where words begin: without the look-behind a long word would be scanned again from each of its letters.
_NAME = re.compile(
    r"(?<![A-Za-z0-9_])"
    r"(?:[A-Za-z_][A-Za-z0-9_]*(?:(?:::|\.|->)[A-Za-z_0-9][A-Za-z0-9_]*)+|[A-Za-z][A-Za-z0-9]*(?:_+[A-Za-z0-9]+)+)"
)
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_CAMEL_NAME = re.compile(r"\b[a-z]+(?:[A-Z][a-z0-9]*)+\b|\b(?:[A-Z][a-z0-9]+){2,}\b")
_PARTS = re.compile(r"[A-Za-z0-9]+")
_LONGEST_RUN = 6
_LONGEST_NAME_QUERY = 5
"""Words of a query up to which they may be a name in parts; more are a sentence."""
_WORDS_OF_A_NAME = 2
_MOST_NAMES = 400
"""Names of one text that are treated so; more are in generated tables, where it helps nobody."""


def names_in(text: str) -> list[str]:
    """Dotted and underscored names of a text, in order, each once."""
    return list(dict.fromkeys(_NAME.findall(text)))


def squashed(name: str, longest: int = _LONGEST_RUN) -> list[str]:
    """Every run of a name's parts as one word: `tl.dot_scaled` → xtldotscaled, xtldot, xdotscaled.

    The leading x keeps them apart from ordinary words.
    """
    parts = [part.lower() for part in _PARTS.findall(name)]
    return [
        "x" + "".join(parts[begin:end])
        for begin in range(len(parts))
        for end in range(len(parts), begin + 1, -1)
        if end - begin <= longest
    ]


def enrich_text(text: str) -> str:
    """A passage with what makes its identifiers findable appended."""
    return _enrich(text, for_query=False)


def enrich_query(text: str) -> str:
    """A query likewise; words in a row may be the parts of a name (`make block ptr`), so they are joined too."""
    return _enrich(text, for_query=True)


def resemblance(query: str, heading: str) -> float:
    """How much a short query looks like a name in a heading, 0 to 1, however either is written.

    Jaccard index of letter triples, so that parts in another order, missing parts and misspellings still count.
    """
    asked = _triples(query)
    return max((_jaccard(asked, _triples(name)) for name in _names_of(heading)), default=0.0)


@lru_cache(maxsize=8_192)
def _names_of(heading: str) -> tuple[str, ...]:
    """Names in a heading, and its last title if that is a word or two."""
    last = heading.rpartition(" › ")[2]
    names = [*names_in(heading), *_CAMEL_NAME.findall(heading)]
    return tuple(dict.fromkeys([*names, last] if len(last.split()) <= _WORDS_OF_A_NAME else names))


@lru_cache(maxsize=16_384)
def _triples(name: str) -> frozenset[str]:
    squeezed = "".join(_PARTS.findall(name.lower()))
    padded = f" {squeezed} "
    return frozenset(padded[begin : begin + 3] for begin in range(len(padded) - 2)) if squeezed else frozenset()


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


def _enrich(text: str, *, for_query: bool) -> str:
    extra: list[str] = []
    for name in names_in(text)[:_MOST_NAMES]:
        extra += squashed(name)
    for name in dict.fromkeys(_CAMEL_NAME.findall(text)):
        parts = [part.lower() for part in _CAMEL.findall(name)]
        extra += [*parts, "x" + "".join(parts)]
    if for_query:
        words = [word.lower() for word in _PARTS.findall(text)]
        if 2 <= len(words) <= _LONGEST_NAME_QUERY:
            extra += [
                "x" + "".join(words[begin : begin + run])
                for run in range(2, len(words) + 1)
                for begin in range(len(words) - run + 1)
            ]
    return text if not extra else f"{text}\n{' '.join(dict.fromkeys(extra))}"
