"""Parse a text that may be half-typed: what cannot be read is passed over, what can keeps its place."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

_STATEMENT = re.compile(r"[^\s)\]}#]")
_FOLLOWING = re.compile(r"(?:else|elif|except|finally)\b")
_DECORATED = re.compile(r"@|def\b|class\b|async\b")
_LINE_END = re.compile(r"\r\n|\n|\r")
_NAMED_LINE = re.compile(r"expected an indented block after .* on line (\d+)")
_MOST_REPAIRS = 8
"""Lines of one statement that are passed over before it is given up."""
_FILE = "<editor>"
_PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `ast.parse` raises: bad syntax, a NUL, and two ways of too deep."""
# A text that is being typed makes Python warn (`1if`), and on the standard error it would tell nobody anything.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=re.escape(_FILE))


def parse(text: str) -> tuple[ast.Module, frozenset[int]]:
    """The tree of a text and the lines (from 0) that were left out of it.

    Of a half-typed text it holds the top-level statements that parse, in their places; in one that does not, the lines
    that Python complains of are passed over.
    """
    try:
        return ast.parse(text, _FILE), frozenset()
    except _PARSE_ERRORS:
        pass
    body: list[ast.stmt] = []
    left_out: set[int] = set()
    lines = split_lines(text)
    starts = list(_starts(lines))
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        statements, skipped = _parse_part(lines[start:end], start)
        body += statements
        left_out |= skipped
    return ast.Module(body, []), frozenset(left_out)


def split_lines(text: str) -> list[str]:
    """Lines as Python and editors count them; `str.splitlines` also splits at form feeds and the like."""
    return _LINE_END.split(text)


def _starts(lines: list[str]) -> Iterator[int]:
    """First lines of the top-level statements, decorators included."""
    is_decorated = False
    for number, line in enumerate(lines):
        if _STATEMENT.match(line) is None or _FOLLOWING.match(line) is not None:
            continue
        if not (is_decorated and _DECORATED.match(line)):
            yield number
        is_decorated = line.startswith("@")


def _parse_part(lines: list[str], start: int) -> tuple[list[ast.stmt], set[int]]:
    """One top-level statement that may be half-typed."""
    lines = list(lines)
    skipped: set[int] = set()
    for _ in range(_MOST_REPAIRS):
        try:
            # Blank lines before it keep the line numbers.
            return ast.parse("\n" * start + "\n".join(lines), _FILE).body, skipped
        except SyntaxError as error:
            named = _NAMED_LINE.search(error.msg)
            # An `if` without a body is complained of at the statement below it.
            line = int(named[1]) - 1 if named is not None else (error.lineno or 0) - 1
            if not start <= line < start + len(lines) or line in skipped:
                break
            row = lines[line - start]
            lines[line - start] = row[: len(row) - len(row.lstrip())] + "pass"
            skipped.add(line)
        except _PARSE_ERRORS:
            break
    return [], set(range(start, start + len(lines)))
