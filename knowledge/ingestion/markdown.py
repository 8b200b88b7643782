"""Markdown and plain text."""

from __future__ import annotations

import itertools
import re
from typing import Any

import yaml
from markdown_it import MarkdownIt

from kernelevolve.knowledge.ingestion.reader import ReadFile, UnreadableFileError

_HEAD = re.compile(r"\A---[ \t]*\n(?P<head>.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_UNDERLINE = re.compile(r"([=\-~^\"#*+])\1{2,}")
_DEEPEST = 6


def decode(data: bytes) -> str:
    """Text of a file: UTF-8, or UTF-16 with its mark.

    Raises:
        UnreadableFileError: it is neither; probably no text at all.
    """
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError("It is not text in UTF-8; convert it.") from error
    if "\x00" in text:
        raise UnreadableFileError("It is a binary file.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_markdown(data: bytes) -> ReadFile:
    """Markdown as it is, its head of metadata apart; underlined headings become `#` ones."""
    head, text, notes = _without_head(decode(data))
    lines = text.split("\n")
    title = str(head.get("title") or "").strip()
    for token, inline in itertools.pairwise(MarkdownIt().parse(text)):
        if token.type != "heading_open" or token.map is None:
            continue
        heading = " ".join(inline.content.split())
        title = title or heading
        if token.markup in ("=", "-"):
            begin, end = token.map
            lines[begin:end] = [f"{'#' * int(token.tag[1])} {heading}", *[""] * (end - begin - 1)]
    return ReadFile(title, "\n".join(lines), notes, head)


def read_text(data: bytes) -> ReadFile:
    """Plain text and reStructuredText: paragraphs, with underlined lines as headings.

    As in reStructuredText, the first kind of line stands for the highest level, the next new kind for the one below.
    """
    lines = decode(data).split("\n")
    title = ""
    styles: list[tuple[str, bool]] = []
    for number in range(1, len(lines)):
        underline, above = lines[number].rstrip(), lines[number - 1].strip()
        if not above or len(underline) < len(above) or not _UNDERLINE.fullmatch(underline):
            continue
        if _UNDERLINE.fullmatch(above):  # the bar over a heading
            continue
        is_boxed = number >= 2 and lines[number - 2].rstrip() == underline
        style = (underline[0], is_boxed)
        if style not in styles:
            styles.append(style)
        title = title or above
        lines[number - 1 : number + 1] = [f"{'#' * min(styles.index(style) + 1, _DEEPEST)} {above}", ""]
        if is_boxed:
            lines[number - 2] = ""
    return ReadFile(title, "\n".join(lines))


def _without_head(text: str) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """The YAML head, the rest, and a note if there seems to be a head that can't be read.

    A text that merely begins with a rule has no head, and loses nothing.
    """
    match = _HEAD.match(text)
    if match is None:
        return {}, text, ()
    try:
        head = yaml.safe_load(match["head"])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        return {}, text, (f"its head is no YAML ({problem}) and was kept as text",)
    if not isinstance(head, dict):
        return {}, text, ()
    return {str(name): value for name, value in head.items()}, text[match.end() :], ()
