"""HTML pages: the text of the main part, with headings, lists, tables and code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kernelevolve.knowledge.ingestion.markdown import decode
from kernelevolve.knowledge.ingestion.reader import ReadFile, UnreadableFileError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_NOISE = (
    "script, style, nav, header, footer, aside, noscript, template, svg, form, iframe, [hidden], [aria-hidden=true]"
)
_MAIN = ("main", "article", "[role=main]", "body")
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_CONTAINERS = {
    "div",
    "section",
    "article",
    "main",
    "body",
    "ul",
    "ol",
    "dl",
    "blockquote",
    "figure",
    "details",
    "center",
}


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
    main = next((found for selector in _MAIN if (found := page.css_first(selector)) is not None), None)
    body = "\n\n".join(_blocks(main)) if main is not None else ""
    if not body.strip():
        raise UnreadableFileError("The page has no text (it may be built by scripts: save it from a browser).")
    heading = main.css_first("h1") if main is not None else None
    return ReadFile(title or (_flat(heading) if heading else ""), body)


def _blocks(node: LexborNode) -> Iterator[str]:
    loose: list[str] = []
    for child in node.iter(include_text=True):
        tag = child.tag
        is_block = tag in _HEADINGS or tag in _CONTAINERS or tag in ("p", "pre", "table", "li", "dt", "dd", "hr")
        if not is_block:
            if text := _flat(child):
                loose.append(text)
            continue
        if loose:
            yield " ".join(loose)
            loose = []
        if tag in _HEADINGS:
            if text := _flat(child):
                yield f"{_HEADINGS[tag]} {text}"
        elif tag == "pre":
            yield f"```\n{child.text().strip(chr(10))}\n```"
        elif tag == "table":
            if rows := list(_rows(child)):
                yield "\n".join(rows)
        elif tag in ("ul", "ol"):
            items = [f"- {_flat(item)}" for item in child.iter() if item.tag == "li" and _flat(item)]
            yield "\n".join(items)
        elif tag in _CONTAINERS:
            yield from _blocks(child)
        elif text := _flat(child):
            yield text
    if loose:
        yield " ".join(loose)


def _rows(table: LexborNode) -> Iterator[str]:
    for number, row in enumerate(table.css("tr")):
        cells = [_flat(cell).replace("|", "\\|") for cell in row.css("th, td")]
        if not cells:
            continue
        yield "| " + " | ".join(cells) + " |"
        if number == 0:
            yield "|" + " --- |" * len(cells)


def _flat(node: LexborNode) -> str:
    return " ".join(node.text(separator="").split())
