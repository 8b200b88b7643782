"""Cut a document into passages (what people read) and passages into chunks (what vectors are made of).

A passage is a section under its heading. A chunk is at most `CHUNK_TOKENS` word pieces of it, with the titles before:
retrieval was measured best at that length, and each chunk must say what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernelevolve.knowledge.document import Document

CHUNK_TOKENS = 128
_LONGEST_PASSAGE = 2_400
"""Characters of one passage; a longer section becomes several."""
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
_ASKED = re.compile(r"^<!-- asked: (?P<entries>.+?) -->$\n?", re.MULTILINE)
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+(?=[A-Z`(\[])")
_SLUG = re.compile(r"[^a-z0-9]+")

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Passage:
    """One section of a document, or a part of a long one."""

    id: str
    """`<document>#<section>`."""
    document_id: str
    position: int
    """Place in the document, from 0."""
    heading: str
    """Titles from the document's down to the section's, joined by ` › `."""
    text: str
    asked: tuple[str, ...] = ()
    """Questions that it answers, in the words of those who ask; searched, not shown."""


@dataclass(frozen=True)
class Chunk:
    """What one vector stands for."""

    id: str
    passage_id: str
    text: str
    """A piece with the heading before, or one question that the passage answers."""


def passages_of(document: Document) -> list[Passage]:
    """Sections of a document in order; text before the first heading is the first passage."""
    found: list[Passage] = []
    used: set[str] = set()
    for titles, marked in _sections(document.body):
        path = [document.title, *titles]
        text, asked = _without_asked(marked)
        for part in _parts(text) if text else ():
            slug = _SLUG.sub("-", titles[-1].lower()).strip("-")[:60] if titles else "top"
            unique, number = slug, 2
            while unique in used:
                unique, number = f"{slug}-{number}", number + 1
            used.add(unique)
            found.append(Passage(f"{document.id}#{unique}", document.id, len(found), " › ".join(path), part, asked))
    return found


def chunks_of(passage: Passage, count_tokens: CountTokens) -> list[Chunk]:
    """Pieces of a passage for the embedder: whole blocks as far as they fit, then sentences, then words."""
    budget = max(32, CHUNK_TOKENS - count_tokens(passage.heading))
    pieces = [piece for block in _blocks(passage.text) for piece in _split(block, budget, count_tokens)]
    merged: list[str] = []
    size = 0
    for piece in pieces:
        tokens = count_tokens(piece)
        if merged and size + tokens <= budget:
            merged[-1] = f"{merged[-1]}\n{piece}"
            size += tokens
        else:
            merged.append(piece)
            size = tokens
    chunks = [
        Chunk(f"{passage.id}~{number}", passage.id, f"{passage.heading}\n{text}") for number, text in enumerate(merged)
    ]
    return chunks + [Chunk(f"{passage.id}~q{number}", passage.id, text) for number, text in enumerate(passage.asked)]


def _without_asked(text: str) -> tuple[str, tuple[str, ...]]:
    """A section without its `<!-- asked: … | … -->` line, and what that line lists."""
    match = _ASKED.search(text)
    if match is None:
        return text, ()
    entries = tuple(entry.strip() for entry in match["entries"].split("|") if entry.strip())
    return (text[: match.start()] + text[match.end() :]).strip(), entries


def _sections(body: str) -> Iterator[tuple[list[str], str]]:
    """(titles above and of the section, text) for every section that has text."""
    titles: list[tuple[int, str]] = []
    lines: list[str] = []
    fence = ""
    for line in body.splitlines():
        mark = _FENCE.match(line)
        if mark:
            fence = "" if fence and line.strip().startswith(fence) else fence or mark[1]
        heading = None if fence or mark else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        if text := "\n".join(lines).strip():
            yield [title for _, title in titles], text
        lines = []
        level = len(heading[1])
        titles = [(other, title) for other, title in titles if other < level] + [(level, heading[2])]
    if text := "\n".join(lines).strip():
        yield [title for _, title in titles], text


def _blocks(text: str) -> list[str]:
    """Paragraphs, tables, lists and fenced blocks; a fence is never opened by a cut."""
    blocks: list[list[str]] = [[]]
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark:
            fence = "" if fence and line.strip().startswith(fence) else fence or mark[1]
        if not line.strip() and not fence:
            blocks.append([])
        else:
            blocks[-1].append(line)
    return ["\n".join(block) for block in blocks if block]


def _parts(text: str) -> list[str]:
    """A section in parts of at most `_LONGEST_PASSAGE` characters, cut between blocks where that is possible."""
    if len(text) <= _LONGEST_PASSAGE:
        return [text]
    parts = [""]
    for block in _blocks(text):
        for piece in [block] if len(block) <= 2 * _LONGEST_PASSAGE else _cut_lines(block, _LONGEST_PASSAGE):
            if parts[-1] and len(parts[-1]) + len(piece) > _LONGEST_PASSAGE:
                parts.append("")
            parts[-1] = f"{parts[-1]}\n\n{piece}" if parts[-1] else piece
    return parts


def _cut_lines(block: str, limit: int) -> list[str]:
    """A block as runs of whole lines; a line longer than the limit is cut."""
    pieces = [""]
    for line in block.splitlines():
        for begin in range(0, max(len(line), 1), limit):
            part = line[begin : begin + limit]
            if pieces[-1] and len(pieces[-1]) + len(part) > limit:
                pieces.append("")
            pieces[-1] = f"{pieces[-1]}\n{part}" if pieces[-1] else part
    return pieces


def _split(block: str, budget: int, count_tokens: CountTokens) -> Iterator[str]:
    """A block in pieces of at most `budget` tokens: by lines, then sentences, then words."""
    if count_tokens(block) <= budget:
        yield block
        return
    lines = block.splitlines()
    units = lines if len(lines) > 1 else _SENTENCE.split(block)
    if len(units) == 1:
        words = block.split()
        if len(words) == 1:  # one endless word: by characters, of which a token holds one at least
            units = [block[begin : begin + budget] for begin in range(0, len(block), budget)]
            yield from units
            return
        units = [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]
    size, current = 0, ""
    for unit in units:
        tokens = count_tokens(unit)
        if tokens > budget:
            if current:
                yield current
            size, current = 0, ""
            yield from _split(unit, budget, count_tokens)
        elif size + tokens > budget:
            yield current
            size, current = tokens, unit
        else:
            size, current = size + tokens, f"{current}\n{unit}" if current else unit
    if current:
        yield current
