"""Make identifiers findable by full text: whole, in parts, and however they are written.

A word index splits `cp.async.bulk.tensor` at its dots, so a search for it finds every text with "async". Each dotted or
underscored name is therefore indexed once more as one word, for every run of its parts, and a query is treated alike.
"""

from __future__ import annotations

import re

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


def looks_like_identifier(query: str) -> bool:
    """Whether a query is little else than one or two names."""
    words = query.split()
    return 0 < len(words) <= 3 and bool(names_in(query) or _CAMEL_NAME.search(query))


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
