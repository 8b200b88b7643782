"""From a model's answer to a candidate's source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

CHANGE_LIMIT = 120
"""Characters of a description."""
SOURCE_LIMIT = 2_000_000
"""Characters of a source, as `Candidate` takes them."""

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})(.*)")
_INFO = re.compile(r"[\s{.]*([\w+#-]*)")
_CHANGE = re.compile(r"[\s>*_#`~-]*changes?[\s*_`]*:", re.IGNORECASE)
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)")
_LOOKED_AT = 2000
"""Characters of a line, or of what precedes the code, in which a description is looked for."""

_NAMED = {"triton": "triton", "cuda": "cuda", "cu": "cuda", "hip": "hip"}
_PYTHON_FENCES = frozenset({"python", "py", "python3"})
_CPP_FENCES = frozenset({"cpp", "c++", "cxx", "cc", "c"})
_CPP_LANGUAGES = frozenset({"cpp", "cuda", "hip"})


class Malformation(StrEnum):
    """Why no candidate can be taken from an answer, as its author is told."""

    NO_BLOCK = "it has no fenced code block in the language asked for"
    EMPTY = "its code block is empty"
    UNCLOSED = "its code block has no closing fence"
    CUT_OFF = "it was cut off by the limit of output tokens"
    TOO_LONG = f"its code block is longer than {SOURCE_LIMIT:,} characters"


@dataclass(frozen=True)
class Answer:
    """A candidate as its author sent it."""

    source: str
    """The whole source, without empty lines around it."""
    language: str
    """Name of its language."""
    change: str
    """What was changed, on one line."""


@dataclass(frozen=True)
class _Block:
    first: int
    """Line of the opening fence."""
    last: int
    """Line of the closing fence, or the last line."""
    info: str
    lines: tuple[str, ...]
    closed: bool

    @property
    def source(self) -> str:
        return "\n".join(self.lines).strip("\n") + "\n"


def parse_answer(text: str, language: str | None, fallback: str) -> Answer | Malformation:
    """Take the source and the description of the change from an answer.

    The source is in the last complete fenced block of the language; blocks that name it go before blocks that name
    none, and these before blocks of another language. Where the block to take is not closed the answer is truncated.

    Args:
        text: the answer, in Markdown.
        language: the parent's language; None where there is no parent, so that the fence must name one.
        fallback: the description where the answer has none.
    """
    lines = _without_thoughts(text).replace("\r\n", "\n").split("\n")
    blocks = _blocks(lines)
    best: tuple[int, _Block, str] | None = None
    empty = False
    for block in blocks:
        found = _language_of(block.info, language)
        if found is None:
            continue
        if not block.source.strip():
            empty = True
            continue
        rank = (2 if block.info else 1) if found == language else 0
        if best is None or rank >= best[0]:
            best = rank, block, found
    if best is None:
        return Malformation.EMPTY if empty else Malformation.NO_BLOCK
    _rank, block, found = best
    if not block.closed:
        return Malformation.UNCLOSED
    if len(block.source) > SOURCE_LIMIT:
        return Malformation.TOO_LONG
    return Answer(block.source, found, _change(lines, blocks, block) or one_line(fallback))


def one_line(text: str, limit: int = CHANGE_LIMIT) -> str:
    """A text on one line, without what cannot be printed, cut to `limit` characters."""
    words = "".join(character if character.isprintable() else " " for character in text).split()
    line = " ".join(words)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _without_thoughts(text: str) -> str:
    """Local servers leave a reasoning model's thoughts in the answer, drafts of code and open fences among them."""
    if not text.lstrip().startswith("<think>"):
        return text
    return text.partition("</think>")[2]


def _blocks(lines: Sequence[str]) -> list[_Block]:
    """Fenced blocks as CommonMark has them (section 4.5), except that an opening fence may be indented deeper."""
    blocks: list[_Block] = []
    opening: tuple[int, int, str, str] | None = None
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if match is None:
            continue
        indent, fence, info = len(match[1].expandtabs(4)), match[2], match[3].strip()
        if opening is None:
            # Backticks further on: code within a line of prose.
            if fence[0] == "~" or "`" not in info:
                opening = number, indent, fence, info
            continue
        first, depth, mark, opening_info = opening
        # A fence that is indented deeper is part of the source: a docstring's, say.
        if not info and fence.startswith(mark) and indent <= depth + 3:
            blocks.append(_block(lines, first, number, depth, opening_info, closed=True))
            opening = None
    if opening is not None:
        first, depth, _mark, opening_info = opening
        blocks.append(_block(lines, first, len(lines), depth, opening_info, closed=False))
    return blocks


def _block(lines: Sequence[str], first: int, last: int, depth: int, info: str, *, closed: bool) -> _Block:
    content = tuple(_dedented(line, depth) for line in lines[first + 1 : last])
    name = _INFO.match(info)
    return _Block(first, last, name[1].lower() if name else "", content, closed)


def _dedented(line: str, depth: int) -> str:
    indent = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, depth) :]


def _language_of(info: str, expected: str | None) -> str | None:
    """The language of a block; None where it is no candidate's: output, a diff, a shell command."""
    if info in ("", expected):
        return expected
    if info in _NAMED:
        return _NAMED[info]
    # `python` and `cpp` are how authors mark any language of these families, a plug-in's too.
    if info in _PYTHON_FENCES:
        return "triton" if expected is None or expected in _CPP_LANGUAGES else expected
    if info in _CPP_FENCES:
        return "cpp" if expected in (None, "triton") else expected
    return None


def _change(lines: Sequence[str], blocks: Sequence[_Block], chosen: _Block) -> str:
    inside = {number for block in blocks for number in range(block.first, block.last + 1)}
    before = [lines[number][:_LOOKED_AT] for number in range(chosen.first) if number not in inside]
    after = [lines[number][:_LOOKED_AT] for number in range(chosen.last + 1, len(lines)) if number not in inside]
    for line in [*reversed(before), *after]:
        match = _CHANGE.match(line)
        if match is not None and (words := _plain(line[match.end() :])):
            return one_line(words)
    prose = " ".join(filter(None, (_plain(line) for line in before)))[:_LOOKED_AT]
    sentence = _SENTENCE.match(prose)
    return one_line(sentence[0] if sentence else prose)


def _plain(line: str) -> str:
    words = line.strip().strip("*_`#").strip()
    return words[1:-1].strip() if words.startswith("<") and words.endswith(">") else words
