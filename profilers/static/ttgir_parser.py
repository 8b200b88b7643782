"""MLIR's text form as Triton prints it: operations, their operands and their regions.

MLIR prints one operation a line, opens a region with `{` at the end of a line and closes it with `}` at the start of
one; attributes never break over lines, and strings hold no raw line breaks (mlir.llvm.org/docs/LangRef). So lines give
the nesting, whatever an operation's own syntax is, and only what is asked for is looked at more closely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from kernelevolve.profilers.static.ttgir_attributes import (
    Encoding,
    Shaped,
    enclosed,
    first_at_top,
    parse_attribute,
    parse_type,
    split_signature,
    split_top,
)

_VALUE = r"%[\w$.\-]+"
_USE = re.compile(_VALUE + r"(?:#\d+)?")
_OPERATION = re.compile(rf"(?:((?:{_VALUE}(?::\d+)?(?:, )?)+) = )?\"?([A-Za-z_][\w$]*\.[\w$.]+|module)\"?")
_BINDING = re.compile(rf"({_VALUE}) = ({_VALUE}(?:#\d+)?)")
_ALIAS = re.compile(r"(#[\w$.]+) = (.*)")
_LOCATION_AT_END = re.compile(r"\s*\bloc\((#loc\d*|[^#\"].*|\".*)\)$")
_PARTITION = re.compile(r"(default|partition\d+)\b")
_SYMBOL = re.compile(r'@("(?:[^"\\]|\\.)*"|[\w$.]+)')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(eq=False)
class Value:
    """An SSA value: a result of an operation, or an argument of one of its regions."""

    owner: Operation
    """The operation that makes it, or whose region it is an argument of."""
    index: int
    """Which result, or which argument of the region."""
    region: int | None = None
    """Which region it is an argument of; None for a result."""
    type: str = ""
    """Type as written; only arguments of functions and of blocks with written types have it."""
    name: str = ""
    """Name without `%`; an argument of a function goes by its name in the source."""
    attributes: dict[str, object] = field(default_factory=dict)
    """Attributes of a function's argument, e.g. `tt.divisibility`."""


@dataclass(eq=False)
class Region:
    """The operations between one pair of braces, blocks in a row."""

    arguments: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)


@dataclass(eq=False)
class Operation:
    """One operation."""

    name: str
    """Dialect and name, e.g. `tt.load`; `module` for the outermost."""
    text: str
    """What follows the name, without regions and location."""
    parent: Operation | None
    """The operation in whose region it stands."""
    results: list[Value] = field(default_factory=list)
    operands: list[Value | None] = field(default_factory=list)
    """Values it uses, in the order they are written, without those it binds; None for a name that is not known."""
    uses: list[str] = field(default_factory=list)
    """The operands as written."""
    regions: list[Region] = field(default_factory=list)
    location: str = ""
    """Location as written between `loc(` and `)`."""

    @cached_property
    def attributes(self) -> dict[str, object]:
        """The attributes in the braces after the operands; those without value are True."""
        start = first_at_top(self.text, "{")
        value = parse_attribute(self.text[start:]) if start >= 0 else None
        return value if isinstance(value, dict) else {}

    @cached_property
    def types(self) -> tuple[list[str], list[str]]:
        """Types after the colon: before and after `->` or `to`. With no arrow both are the same list."""
        start = self.text.find(" : ")
        while start >= 0:
            tail = self.text[start + 3 :]
            if all(tail.count(opening) == tail.count(closing) for opening, closing in ("{}", "()", "[]")):
                return split_signature(tail)
            start = self.text.find(" : ", start + 3)
        return [], []

    @property
    def symbol(self) -> str:
        """The function it defines or calls, as written without `@`; empty if there is none."""
        match = _SYMBOL.search(self.text)
        return match.group(1) if match else ""

    @property
    def tensor(self) -> Shaped | None:
        """The first tensor among its types."""
        before, after = self.types
        for written in (*before, *after):
            start = written.find("tensor<")
            if start >= 0:
                return parse_type(enclosed(written, start))
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first tensor among its types; empty if there is none."""
        tensor = self.tensor
        return tensor.shape if tensor else ()

    def operand(self, index: int) -> Value | None:
        """An operand by its position; None if there is none."""
        return self.operands[index] if 0 <= index < len(self.operands) else None

    def operand_after(self, word: str) -> Value | None:
        """The operand that is written after a word, e.g. `mask`, with or without `=`."""
        match = re.search(rf"\b{word}\s*=?\s*({_VALUE}(?:#\d+)?)", self.text)
        return self.operands[self.uses.index(match.group(1))] if match and match.group(1) in self.uses else None

    def walk(self) -> Iterator[Operation]:
        """It and everything inside it, in the order of the text."""
        yield self
        for region in self.regions:
            for operation in region.operations:
                yield from operation.walk()


@dataclass(eq=False)
class Module:
    """A module of MLIR."""

    operations: list[Operation] = field(default_factory=list)
    """Everything outermost."""
    aliases: dict[str, str] = field(default_factory=dict)
    """`#name` → attribute as written; locations without their `loc(` and `)`."""
    unread: int = 0
    """Lines that are no operation, alias or end of a region."""

    def walk(self) -> Iterator[Operation]:
        """All operations in the order of the text."""
        for operation in self.operations:
            yield from operation.walk()

    def encoding(self, written: object) -> Encoding | None:
        """A layout from what stands in a type: an alias or the attribute itself; None if it cannot be read."""
        value = parse_attribute(self.aliases.get(written, written)) if isinstance(written, str) else written
        return value if isinstance(value, Encoding) else None


def parse_module(text: str) -> Module:
    """Read a module. What cannot be read is counted in `Module.unread`; nothing is raised."""
    return _Reader().read(text)


@dataclass
class _Open:
    """A region that is being read, with the names that it binds."""

    region: Region
    owner: Operation | None
    names: dict[str, Value] = field(default_factory=dict)


class _Reader:
    def __init__(self) -> None:
        self.module = Module()
        self.open = [_Open(Region(operations=self.module.operations), None)]

    def read(self, text: str) -> Module:
        for line in text.splitlines():
            stripped = line.strip()
            if not stripped or stripped.startswith("//"):
                continue
            if stripped.startswith("{-#"):
                break
            self._line(stripped)
        return self.module

    def _line(self, line: str) -> None:
        here = self.open[-1]
        last = here.region.operations[-1] if here.region.operations else None
        if line[0] == "#" and (alias := _ALIAS.match(line)):
            name, value = alias.groups()
            self.module.aliases[name] = value[4:-1] if value.startswith("loc(") else value
        elif line[0] == "}":
            self._close(line)
        elif line[0] == "^" and here.owner is not None:
            self._bind(line, here)
        elif line[0] in '%"' or (line[0].isalpha() and not _PARTITION.match(line)):
            self._operation(line)
        elif last is not None and line.endswith("{") and _PARTITION.match(line):
            # `ttg.warp_specialize` writes each of its regions on lines of their own.
            self._begin(last, line)
        else:
            self.module.unread += 1

    def _operation(self, line: str) -> None:
        match = _OPERATION.match(line)
        if match is None:
            self.module.unread += 1
            return
        here = self.open[-1]
        # Older names of AMD's dialect.
        operation = Operation(match.group(2).replace("amdgpu.", "amdg."), "", here.owner)
        opens = line.endswith("{")
        self._finish(operation, line[match.end() :].removesuffix("{").rstrip() if opens else line[match.end() :])
        here.region.operations.append(operation)
        bound: list[str] = []
        if operation.name in ("scf.for", "scf.while"):
            bound = [name for name, _ in _BINDING.findall(operation.text)]
        elif operation.name == "tt.func":
            bound = [piece[0] for piece in _arguments(operation.text)]
        plain = _STRING.sub("", operation.text) if '"' in operation.text else operation.text
        operation.uses = [use for use in _USE.findall(plain) if use not in bound]
        operation.operands = [self._find(use) for use in operation.uses]
        for written in (match.group(1) or "").split(", "):
            name, _, count = written.partition(":")
            for index in range(int(count or 1) if name else 0):
                value = Value(operation, len(operation.results), name=name[1:])
                operation.results.append(value)
                here.names[f"{name}#{index}" if count else name] = value
        if opens:
            self._begin(operation, operation.text, bound)

    def _begin(self, operation: Operation, header: str, bound: list[str] | None = None) -> None:
        opened = _Open(Region(), operation)
        operation.regions.append(opened.region)
        if operation.name in ("scf.for", "scf.while"):
            for name in bound or []:
                self._add_argument(opened, name, "")
        elif operation.name == "tt.func" or header.startswith("partition"):
            self._bind(header, opened)
        self.open.append(opened)

    def _bind(self, header: str, opened: _Open) -> None:
        for name, written in _arguments(header):
            value = self._add_argument(opened, name, written)
            location = re.search(r'loc\("([^"]*)"\(', written)
            if location:
                value.name = location.group(1)
            braces = written.find(" {")
            if braces >= 0:
                attributes = parse_attribute(written[braces + 1 :])
                value.attributes = attributes if isinstance(attributes, dict) else {}

    def _add_argument(self, opened: _Open, name: str, written: str) -> Value:
        assert opened.owner is not None
        region = len(opened.owner.regions) - 1
        value = Value(opened.owner, len(opened.region.arguments), region, written.split(" ")[0], name[1:])
        opened.region.arguments.append(value)
        opened.names[name] = value
        return value

    def _close(self, line: str) -> None:
        if len(self.open) == 1:
            self.module.unread += 1
            return
        operation = self.open.pop().owner
        assert operation is not None
        rest = line[1:].strip()
        if rest.endswith("{"):
            self._begin(operation, rest)
        else:
            self._finish(operation, rest)

    def _finish(self, operation: Operation, text: str) -> None:
        """Add a piece of an operation's text and take its location off the end."""
        match = _LOCATION_AT_END.search(text, max(text.rfind(" loc("), 0)) if text.endswith(")") else None
        # A header may end with the location of an argument: `(%x: i32 loc(...))`.
        if match and match.group(1).count("(") == match.group(1).count(")"):
            operation.location = match.group(1)
            text = text[: match.start()]
        operation.text = f"{operation.text} {text}".strip()

    def _find(self, use: str) -> Value | None:
        # `%x` may also be written for `%x#0`.
        for scope in reversed(self.open):
            value = scope.names.get(use) or scope.names.get(f"{use}#0")
            if value is not None:
                return value
        return None


def _arguments(header: str) -> list[tuple[str, str]]:
    """Name and what follows its colon for each argument in the first parentheses of a header."""
    # A function's name may be a string with parentheses in it.
    symbol = _SYMBOL.search(header)
    start = header.find("(", symbol.end() if symbol else 0)
    if start < 0:
        return []
    pieces = (piece.partition(": ") for piece in split_top(enclosed(header, start)[1:-1]))
    return [(name, written) for name, colon, written in pieces if colon and name.startswith("%")]
