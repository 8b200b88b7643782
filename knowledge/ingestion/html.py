"""HTML pages: the text of the main part, with headings, lists, tables and code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kernelevolve.knowledge.ingestion.markdown import decode
from kernelevolve.knowledge.ingestion.reader import ReadFile, UnreadableFileError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_NOISE = (
    "script, style, nav, noscript, template, svg, iframe, button, input, select, textarea, a.headerlink, "
    "[hidden], [aria-hidden=true]"
)
_FRAME = "header, footer, aside"
"""Of a page they are noise; in its main part they hold titles, notes and warnings."""
_MAIN = ("main", "[role=main]", "article", "body")
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_LISTS = ("ul", "ol")
_BLOCKS = (*_HEADINGS, *_LISTS, "p", "pre", "table", "div", "section", "li", "dt", "dd", "hr", "blockquote", "article")
_HOLDS_BLOCKS = ", ".join(_BLOCKS)
_HASHES = re.compile(r"#{1,6}\s")


def read_html(data: bytes) -> ReadFile:
    """A page as Markdown; what only guides readers (menus, headers, scripts) is left out.

    Raises:
        UnreadableFileError: it has no text.
    """
    from selectolax.lexbor import LexborHTMLParser

    page = LexborHTMLParser(decode(data))
    for node in page.css(_NOISE):
        node.decompose()
    title_node = page.css_first("title")
    title = " ".join(title_node.text().split()) if title_node else ""
    main = next((found[0] for selector in _MAIN if len(found := _with_text(page.css(selector))) == 1), None)
    if main is not None and main.tag == "body":
        for node in main.css(_FRAME):
            # A page of several articles has them inside the articles too.
            if not _is_below(node, ("article", "main")):
                node.decompose()
    for node in page.css("br"):
        node.insert_before("\n")
    try:
        body = "\n\n".join(_blocks(main)) if main is not None else ""
    except RecursionError as error:
        raise UnreadableFileError("Its elements are nested too deep.") from error
    if not body.strip():
        raise UnreadableFileError("The page has no text (it may be built by scripts: save it from a browser).")
    heading = main.css_first("h1") if main is not None else None
    return ReadFile(title or (_heading(heading) if heading else ""), body)


def _with_text(nodes: list[LexborNode]) -> list[LexborNode]:
    """Only one `main` or `article` can be the page's; several are parts of it."""
    return [node for node in nodes if node.text().strip()]


def _is_below(node: LexborNode, tags: tuple[str, ...]) -> bool:
    above = node.parent
    while above is not None:
        if above.tag in tags:
            return True
        above = above.parent
    return False


def _blocks(node: LexborNode) -> Iterator[str]:
    loose = ""
    for child in node.iter(include_text=True):
        if not _is_block(child):
            loose += _text(child)
            continue
        if text := _on_a_line(loose):
            yield _plain(text)
        loose = ""
        yield from _block(child)
    if text := _on_a_line(loose):
        yield _plain(text)


def _is_block(node: LexborNode) -> bool:
    """Whatever holds blocks is one, elements of one's own (`<md-note>`) as well."""
    tag = node.tag or ""
    return tag in _BLOCKS or (not tag.startswith("-") and node.css_first(_HOLDS_BLOCKS) is not None)


def _block(node: LexborNode) -> Iterator[str]:
    tag = node.tag or ""
    if tag in _HEADINGS:
        if text := _heading(node):
            yield f"{_HEADINGS[tag]} {text}"
    elif tag == "pre":
        yield _fenced(node.text())
    elif tag == "table":
        if rows := list(_rows(node)):
            yield "\n".join(rows)
    elif tag in _LISTS:
        if items := list(_items(node)):
            yield "\n".join(items)
    else:
        yield from _blocks(node)


def _fenced(text: str) -> str:
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.strip(chr(10))}\n{fence}"


def _items(node: LexborNode) -> Iterator[str]:
    """Items of a list, one a line; what they hold beyond a line is indented below."""
    number = 0
    for item in node.iter():
        number += 1
        # A list inside a list without an item of its own is wrong HTML, and frequent.
        blocks = list(_block(item) if item.tag in _LISTS else _blocks(item))
        if not blocks:
            continue
        mark = f"{number}." if node.tag == "ol" else "-"
        lines = [line for block in blocks for line in block.split("\n")]
        indent = " " * (len(mark) + 1)
        first = f"{indent}{lines[0]}" if item.tag in _LISTS else f"{mark} {lines[0]}"
        yield "\n".join([first, *(f"{indent}{line}" for line in lines[1:])])


def _rows(table: LexborNode) -> Iterator[str]:
    is_first = True
    for row in table.css("tr"):
        # Cells of a table inside a cell are text of that cell.
        if _nearest_table(row) != table:
            continue
        cells = [_flat(cell).replace("|", "\\|") for cell in row.iter() if cell.tag in ("td", "th")]
        if not cells:
            continue
        yield "| " + " | ".join(cells) + " |"
        if is_first:
            yield "|" + " --- |" * len(cells)
        is_first = False


def _nearest_table(node: LexborNode) -> LexborNode | None:
    above = node.parent
    while above is not None and above.tag != "table":
        above = above.parent
    return above


def _heading(node: LexborNode) -> str:
    return _flat(node).rstrip("¶#🔗 ")


def _flat(node: LexborNode) -> str:
    return _on_a_line(_text(node))


def _text(node: LexborNode) -> str:
    """All text of a node; words of two blocks (paragraphs of a table's cell) don't run together."""
    if node.tag == "-text":
        return node.text()
    text = "".join(_text(child) for child in node.iter(include_text=True))
    return f" {text} " if node.tag in (*_BLOCKS, "td", "th") else text


def _on_a_line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """A paragraph that begins with `#` is no heading."""
    return f"\\{text}" if _HASHES.match(text) else text
