"""Markdown and plain text."""

from __future__ import annotations

import itertools
import re

from markdown_it import MarkdownIt

from kernelevolve.knowledge.ingestion.reader import ReadFile, UnreadableFileError

_HEAD = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


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
    """Markdown as it is, without a head of metadata; underlined headings become `#` ones."""
    text = _HEAD.sub("", decode(data))
    lines = text.split("\n")
    title = ""
    tokens = MarkdownIt().parse(text)
    for token, inline in itertools.pairwise(tokens):
        if token.type != "heading_open" or token.map is None:
            continue
        title = title or inline.content.strip()
        if token.markup in ("=", "-"):
            begin, end = token.map
            lines[begin:end] = [f"{'#' * int(token.tag[1])} {inline.content}", *[""] * (end - begin - 1)]
    return ReadFile(title, "\n".join(lines))


def read_text(data: bytes) -> ReadFile:
    """Plain text and reStructuredText: paragraphs, with underlined lines as headings."""
    lines = decode(data).split("\n")
    title = ""
    for number in range(1, len(lines)):
        underline, above = lines[number].rstrip(), lines[number - 1].strip()
        if len(underline) >= max(3, len(above)) and above and re.fullmatch(r"([=\-~^\"#*+])\1+", underline):
            title = title or above
            lines[number - 1 : number + 1] = [f"{'#' if underline[0] in '=#' else '##'} {above}", ""]
    return ReadFile(title, "\n".join(lines))
