"""Attributes and types of MLIR as they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

_BRACKET = re.compile(r"->|[<>(){}\[\]]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|->|[<>(){}\[\],=:]|[^\s<>(){}\[\],=:"]+')
_OPENING, _CLOSING = "<({[", ">)}]"


@dataclass(frozen=True)
class Encoding:
    """An attribute of a dialect, e.g. a layout."""

    name: str
    """Name without dialect, e.g. `blocked`."""
    fields: dict[str, object] = field(default_factory=dict)
    """Its parameters; a parameter that is an attribute itself is an `Encoding`, or its alias `#name` as text."""


@dataclass(frozen=True)
class Shaped:
    """A tensor, a piece of shared memory, a descriptor, or (with no dimension) a scalar."""

    shape: tuple[int, ...]
    element: str
    """Type of an element as written, e.g. `f16`, `!tt.ptr<f32>`."""
    encoding: str = ""
    """Layout as written, often an alias; empty if there is none."""

    @property
    def element_bytes(self) -> int:
        """Bytes of an element; for pointers, of what they point to. Types under a byte count as one; 0 if unknown."""
        element = self.element
        if "ptr<" in element:
            element = element.partition("ptr<")[2]
        digits = re.search(r"\d+", element)
        if digits:
            return (int(digits.group()) + 7) // 8
        return 8 if element == "index" else 0


def enclosed(text: str, start: int) -> str:
    """From `start` to where the first bracket after it closes, or to the end."""
    depth = 0
    for match in _BRACKET.finditer(text, start):
        token = match.group()
        if token != "->":
            depth += 1 if token in _OPENING else -1
            if depth <= 0:
                return text[start : match.end()]
    return text[start:]


def first_at_top(text: str, bracket: str) -> int:
    """Where an opening bracket first stands inside no other; -1 if nowhere."""
    depth = 0
    for match in _BRACKET.finditer(text):
        token = match.group()
        if token == bracket and depth == 0:
            return match.start()
        if token != "->":
            depth += 1 if token in _OPENING else -1
    return -1


def split_top(text: str, separators: str = ",") -> list[str]:
    """Split at separators that stand in no bracket and no string; pieces are stripped, empty ones left out."""
    pieces, depth, start = [], 0, 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in separators and depth == 0:
            pieces.append(text[start : match.start()].strip())
            start = match.end()
        elif token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
    pieces.append(text[start:].strip())
    return [piece for piece in pieces if piece]


@lru_cache(maxsize=4096)
def split_signature(tail: str) -> tuple[list[str], list[str]]:
    """The types before and after `->` or `to`; without either, both are the same."""
    depth, sides, start = 0, [], 0
    for match in _TOKEN.finditer(tail):
        token = match.group()
        if token in ("->", "to") and depth == 0:
            sides.append(tail[start : match.start()])
            start = match.end()
        elif token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
    sides.append(tail[start:])
    types = [split_top(side.strip().removeprefix("(").removesuffix(")"), ",*") for side in sides]
    return types[0], types[-1]


@lru_cache(maxsize=4096)
def parse_type(text: str) -> Shaped:
    """Read a type: `tensor<64x!tt.ptr<f32>, #blocked>`, `!ttg.memdesc<...>`, `!tt.tensordesc<...>`, `f32`, ..."""
    match = re.match(r"(tensor|!ttg\.memdesc|!tt\.tensordesc|!ttng\.[\w.]*)?<", text)
    if match is None:
        return Shaped((), text)
    pieces = split_top(text[match.end() : -1])
    if not pieces:
        return Shaped((), text)
    if pieces[0].startswith("tensor<"):
        return parse_type(pieces[0])
    dimensions = re.match(r"(?:\d+x)*", pieces[0])
    written = dimensions.group() if dimensions else ""
    shape = tuple(int(size) for size in written.split("x") if size)
    return Shaped(shape, pieces[0][len(written) :], pieces[1] if len(pieces) > 1 else "")


@lru_cache(maxsize=4096)
def parse_attribute(text: str) -> object:
    """Read an attribute: numbers, booleans, lists, dictionaries and `#dialect.name<...>`; anything else stays text.

    A number's type (`16 : i32`) is left out, `array<i32: 1, 0>` is a list, `dense<3> : tensor<...>` is its value.
    """
    return _AttributeReader(_TOKEN.findall(text)).value()


class _AttributeReader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self.at += 1
        return token

    def value(self) -> object:
        token = self._take()
        if token == "[":
            return self._list("]")
        if token == "{":
            return self._dictionary("}")
        if token in ("array", "dense") and self._peek() == "<":
            self.at += 1
            if token == "array":
                self._take()
                if self._peek() == ":":
                    self.at += 1
            values = self._list(">")
            return values if token == "array" or len(values) != 1 else values[0]
        if token.startswith("#") and self._peek() == "<":
            return self._encoding(token)
        if token.startswith("#") and "." in token:
            return Encoding(token.rpartition(".")[2])
        if token in ("true", "false"):
            return token == "true"
        if re.fullmatch(r"-?\d+", token):
            return int(token)
        while self._peek() in ("<", "(", ":") and self.at < len(self.tokens):
            opening = self._take()
            token += opening
            if opening != ":":
                token += self._skip()
        return token.strip('"')

    def _encoding(self, name: str) -> Encoding:
        self.at += 1
        fields: dict[str, object] = {}
        if self._peek() == "{":
            self.at += 1
            fields = self._dictionary("}")
            self._skip()
        else:
            fields = self._dictionary(">")
        return Encoding(name.rpartition(".")[2].lstrip("#"), fields)

    def _list(self, closing: str) -> list[object]:
        values: list[object] = []
        while self.at < len(self.tokens) and self._peek() != closing:
            if self._peek() == ",":
                self.at += 1
                continue
            values.append(self.value())
            self._skip_type()
        self.at += 1
        return values

    def _dictionary(self, closing: str) -> dict[str, object]:
        entries: dict[str, object] = {}
        while self.at < len(self.tokens) and self._peek() != closing:
            name = self._take().strip('"')
            if name in _OPENING:
                self._skip()
            elif self._peek() == "=":
                self.at += 1
                entries[name] = self.value()
                self._skip_type()
            elif name not in (",", ":"):
                entries[name] = True
        self.at += 1
        return entries

    def _skip_type(self) -> None:
        if self._peek() == ":":
            self.at += 2
            if self._peek() == "<":
                self.at += 1
                self._skip()

    def _skip(self) -> str:
        """Go behind the bracket that closes the one that is open."""
        start, depth = self.at, 1
        while self.at < len(self.tokens) and depth > 0:
            token = self._take()
            depth += (token in _OPENING) - (token in _CLOSING)
        return "".join(self.tokens[start : self.at])
