"""Find kernels, entry points and annotations in a text, however half-typed it is.

A scan by lines and brackets, not a parser: a parser gives nothing while one bracket is open, and an editor asks at
every keystroke.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_JIT = re.compile(r"^(?P<indent>[ \t]*)@\s*(?:triton\.|gluon\.)?jit\b(?!\.)")
_DEF = re.compile(r"^(?P<indent>[ \t]*)def[ \t]+(?P<name>[A-Za-z_]\w*)[ \t]*\(")
_ENTRY = re.compile(r"^(?:def[ \t]+(?P<function>kernel)[ \t]*\(|class[ \t]+(?P<module>ModelNew)\b)")
_TOP_DEF = re.compile(r"^def[ \t]+(?P<name>[A-Za-z_]\w*)[ \t]*\(")
_TASK = re.compile(r"^[ \t]*(?:#|//)[ \t]*kernelevolve:[ \t]*task[ \t]+(?P<path>\S.*?)[ \t]*$", re.MULTILINE)
_ANNOTATION = re.compile(r"^[ \t]*#[ \t]*kernelevolve:[ \t]*(?P<text>.*\S)[ \t]*$")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)[ \t]*=[ \t]*(?P<value>'[^']*'|\"[^\"]*\"|[^,\s]+)")
_CPP_ENTRY = re.compile(r"\bvoid\s+(?P<name>kernel)\s*\(")
_CPP_KERNEL = re.compile(
    r"\b__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(?:static\s+|inline\s+)*void\s+"
    r"(?:__launch_bounds__\s*\([^)]*\)\s*)?(?P<name>\w+)\s*\("
)
_CPP_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_DECORATORS_ABOVE = 200
"""Lines that the decorators of one kernel may take; autotuning tables are long."""

CPP_SUFFIXES = (".cpp", ".cc", ".cxx", ".cu", ".hip")


class Kind(StrEnum):
    """What was found."""

    KERNEL = "kernel"
    """Runs on the device and is launched from the host."""
    HELPER = "helper"
    """Runs on the device, called by kernels."""
    ENTRY = "entry"
    """The entry point of a candidate."""


@dataclass(frozen=True)
class Parameter:
    """A parameter as it is written."""

    name: str
    """Name, without stars."""
    annotation: str
    """Text of its annotation; empty without one."""
    default: str
    """Text of its default; empty without one."""


@dataclass(frozen=True)
class Kernel:
    """A kernel or entry point in a text. Lines and columns count from 0, columns in code points."""

    name: str
    """Its name."""
    kind: Kind
    """What it is."""
    top: int
    """Line of its first decorator, or of its definition."""
    line: int
    """Line of its definition."""
    column: int
    """Column of its name."""
    end: int
    """Last line of its body."""
    parameters: tuple[Parameter, ...]
    """Its parameters, as far as they are typed."""
    types: tuple[tuple[str, str], ...]
    """What an annotation comment above it says of its parameters and launch options."""
    text_hash: str
    """Hash of its text, decorators and annotation included."""


@dataclass(frozen=True)
class Scan:
    """All that was found in a text."""

    kernels: tuple[Kernel, ...]
    """Kernels and helpers, in order."""
    entry: Kernel | None
    """The entry point of a candidate."""
    task: str | None
    """What a comment `kernelevolve: task PATH` names."""
    is_task: bool
    """Whether the text is a task itself."""

    @property
    def lensed(self) -> list[Kernel]:
        """What gets lenses: kernels, and an entry point in a language whose kernels are not functions of their own."""
        shown = [kernel for kernel in self.kernels if kernel.kind is Kind.KERNEL]
        return [*shown, *([self.entry] if self.entry is not None and not shown else [])]

    def at(self, line: int) -> Kernel | None:
        """The kernel that a line belongs to."""
        return next((kernel for kernel in self.kernels if kernel.top <= line <= kernel.end), None)


def scan(text: str, suffix: str = ".py") -> Scan:
    """Look through a text; never raises, whatever the text.

    Args:
        text: the whole text.
        suffix: of its file; decides the language.
    """
    task = _TASK.search(text)
    path = task["path"] if task else None
    if suffix in CPP_SUFFIXES:
        kernels, entry = _scan_cpp(text)
        return Scan(kernels, entry, path, is_task=False)
    lines = split_lines(text)
    kernels = tuple(_kernels(lines)) if "triton" in text or "gluon" in text else ()
    return Scan(_with_helpers(kernels, lines), _entry(lines), path, _is_task(text))


def split_lines(text: str) -> list[str]:
    """Lines as editors count them: `str.splitlines` would also break at form feeds and some Unicode separators."""
    return re.split(r"\r\n|\r|\n", text)


def functions(text: str) -> list[tuple[str, int]]:
    """Name and line of each function at the top level of a Python text that is not a kernel."""
    lines = split_lines(text)
    kernels = {kernel.line for kernel in _kernels(lines)}
    found = ((match["name"], number) for number, line in enumerate(lines) if (match := _TOP_DEF.match(line)))
    return [(name, number) for name, number in found if number not in kernels]


def _is_task(text: str) -> bool:
    def defines(pattern: str) -> bool:
        return re.search(pattern, text, re.MULTILINE) is not None

    function_form = defines(r"^def\s+reference\b") and defines(r"^CASES\s*[:=]")
    return function_form or (defines(r"^class\s+Model\b") and defines(r"^def\s+get_inputs\b"))


def _kernels(lines: list[str]) -> Iterator[Kernel]:
    number = 0
    while number < len(lines):
        decorator = _JIT.match(lines[number])
        if decorator is None:
            number += 1
            continue
        found = _definition_below(lines, number, decorator["indent"])
        if found is None:
            number += 1
            continue
        line, match = found
        parameters = _parameters(lines, line, match.end())
        top = _top(lines, number, decorator["indent"])
        end = _end(lines, line, len(match["indent"]))
        types = _types_above(lines, top)
        whole = "\n".join([*(f"{name}={value}" for name, value in types), *lines[top : end + 1]])
        yield Kernel(
            name=match["name"],
            kind=Kind.KERNEL,
            top=top,
            line=line,
            column=match.start("name"),
            end=end,
            parameters=parameters,
            types=types,
            text_hash=hashlib.sha256(whole.encode(errors="replace")).hexdigest()[:16],
        )
        number = max(end, line) + 1


def _definition_below(lines: list[str], decorator: int, indent: str) -> tuple[int, re.Match[str]] | None:
    """The `def` that a decorator belongs to; other decorators and their brackets may come between."""
    for number in range(decorator + 1, min(decorator + _DECORATORS_ABOVE, len(lines))):
        line = lines[number]
        match = _DEF.match(line)
        if match is not None:
            return (number, match) if match["indent"] == indent else None
        stripped = line.strip()
        if stripped and not line.startswith(indent):
            return None
        if re.match(r"(class|import|from|if|for|while|return|async|with)\b", stripped):
            return None
    return None


def _top(lines: list[str], decorator: int, indent: str) -> int:
    """First line of the decorators above one: upwards while lines are decorators or the insides of their brackets."""
    top = decorator
    for number in range(decorator - 1, max(-1, decorator - _DECORATORS_ABOVE), -1):
        line = lines[number]
        stripped = line.strip()
        if line.startswith(f"{indent}@"):
            top = number
            continue
        inside = not stripped or line.startswith((f"{indent} ", f"{indent}\t")) or stripped[0] in ")]}#"
        if not inside or (line.startswith(indent) and _ANNOTATION.match(line)):
            break
    return top


def _types_above(lines: list[str], top: int) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    number = top - 1
    while number >= 0 and lines[number].lstrip().startswith("#"):
        match = _ANNOTATION.match(lines[number])
        if match is not None and not match["text"].startswith("task"):
            pairs = [(entry["name"], entry["value"].strip("'\"")) for entry in _ASSIGNMENT.finditer(match["text"])]
            found = [*pairs, *found]
        number -= 1
    return tuple(found)


def _end(lines: list[str], line: int, indent: int) -> int:
    """Last line of a body: before the first line that is not deeper, brackets of the parameters apart."""
    last, depth, in_head = line, 0, True
    for number in range(line, len(lines)):
        text = lines[number]
        stripped = text.strip()
        if in_head:
            plain = _without_strings(text)
            depth += sum(plain.count(mark) for mark in "([{") - sum(plain.count(mark) for mark in ")]}")
            if depth <= 0 and plain.rstrip().endswith(":"):
                in_head = False
            # Half-typed parameters: the next definition ends them.
            if number > line and re.match(r"(@|def\b|class\b)", stripped) and _indent(text) <= indent:
                break
            last = number if stripped else last
            continue
        if not stripped or stripped.startswith("#"):
            continue
        if _indent(text) <= indent and stripped[0] not in ")]}":
            break
        last = number
    return last


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _without_strings(line: str) -> str:
    return re.sub(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|#.*", "", line)


def _parameters(lines: list[str], line: int, column: int) -> tuple[Parameter, ...]:
    """Parameters from the opening bracket on, to the closing one or as far as they are typed."""
    text = "\n".join(
        [
            _without_comment(lines[line][column:]),
            *(_without_comment(other) for other in lines[line + 1 : line + _DECORATORS_ABOVE]),
        ]
    )
    depth = 1
    parts: list[str] = []
    current: list[str] = []
    for mark in text:
        if mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
            if depth == 0:
                break
        if mark == "," and depth == 1:
            parts.append("".join(current))
            current = []
        else:
            current.append(mark)
        if mark == "\n" and depth == 1 and re.match(r"\s*(@|def\b|class\b)", "".join(current)):
            break
    parts.append("".join(current))
    return tuple(parameter for part in parts if (parameter := _parameter(part)) is not None)


def _without_comment(line: str) -> str:
    """The line without its comment."""
    plain = re.sub(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", lambda match: "_" * len(match[0]), line)
    cut = plain.find("#")
    return line if cut < 0 else line[:cut]


def _parameter(text: str) -> Parameter | None:
    match = re.match(
        r"\s*\*{0,2}(?P<name>[A-Za-z_]\w*)\s*(?::(?P<annotation>[^=]*))?(?:=(?P<default>.*))?", text, re.DOTALL
    )
    if match is None:
        return None
    return Parameter(match["name"], (match["annotation"] or "").strip(), (match["default"] or "").strip())


def _with_helpers(kernels: tuple[Kernel, ...], lines: list[str]) -> tuple[Kernel, ...]:
    """The same, with those that others call, or that return something, marked as helpers."""
    if not kernels:
        return kernels
    bodies = {kernel.name: "\n".join(lines[kernel.line + 1 : kernel.end + 1]) for kernel in kernels}
    called = {name for body in bodies.values() for name in re.findall(r"\b([A-Za-z_]\w*)\s*\(", body)}
    marked = []
    for kernel in kernels:
        returns = re.search(r"^\s+return[ \t]+[^\s#]", bodies[kernel.name], re.MULTILINE)
        helper = returns is not None or kernel.name in called
        marked.append(Kernel(**{**kernel.__dict__, "kind": Kind.HELPER}) if helper else kernel)
    return tuple(marked)


def _entry(lines: list[str]) -> Kernel | None:
    for number, line in enumerate(lines):
        match = _ENTRY.match(line)
        if match is not None:
            name = match["function"] or match["module"]
            column = line.index(name)
            end = _end(lines, number, 0)
            digest = hashlib.sha256("\n".join(lines[number : end + 1]).encode(errors="replace")).hexdigest()[:16]
            return Kernel(name, Kind.ENTRY, number, number, column, end, (), (), digest)
    return None


def _scan_cpp(text: str) -> tuple[tuple[Kernel, ...], Kernel | None]:
    plain = _CPP_COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    kernels = tuple(_cpp_function(plain, match, Kind.KERNEL) for match in _CPP_KERNEL.finditer(plain))
    device = {(kernel.line, kernel.column) for kernel in kernels}
    entries = (_cpp_function(plain, match, Kind.ENTRY) for match in _CPP_ENTRY.finditer(plain))
    return kernels, next((entry for entry in entries if (entry.line, entry.column) not in device), None)


def _cpp_function(plain: str, match: re.Match[str], kind: Kind) -> Kernel:
    start = match.start("name")
    line = plain.count("\n", 0, start)
    column = start - (plain.rfind("\n", 0, start) + 1)
    depth, end = 0, len(plain)
    for position in range(match.end(), len(plain)):
        if plain[position] == "{":
            depth += 1
        elif plain[position] == "}":
            depth -= 1
            if depth == 0:
                end = position
                break
    top = plain.count("\n", 0, match.start())
    digest = hashlib.sha256(plain[match.start() : end].encode(errors="replace")).hexdigest()[:16]
    return Kernel(match["name"], kind, top, line, column, plain.count("\n", 0, end), (), (), digest)
