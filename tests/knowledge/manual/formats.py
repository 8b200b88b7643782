"""The made-up manual as its maker would hand it out: Markdown files, one HTML page, a PDF of some twenty pages."""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from reportlab.lib import colors
from reportlab.lib.pagesizes import A5
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Preformatted,
    Spacer,
    Table,
)

MANUAL = Path(__file__).parent
TITLE = "Tarn TX-1 Programming Manual"
RUNNING_HEADER = "Tarn TX-1 Programming Manual, revision 1.4"
RUNNING_FOOTER = "Tarn Semiconductor (made up for tests)"
_TWO_COLUMNS = "11_errata.md"
_WIDTH, _HEIGHT = A5
_EDGE = 40
_TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=9.5, leading=12, spaceAfter=6)
_CELL = ParagraphStyle("cell", parent=_TEXT, fontSize=8, leading=10, spaceAfter=0)
_CODE = ParagraphStyle("code", fontName="Courier", fontSize=8, leading=10, spaceAfter=7)
_HEADINGS = {
    "h1": ParagraphStyle("h1", parent=_TEXT, fontName="Helvetica-Bold", fontSize=18, leading=22, spaceAfter=10),
    "h2": ParagraphStyle("h2", parent=_TEXT, fontName="Helvetica-Bold", fontSize=13, leading=16, spaceBefore=8),
}


def chapters() -> list[Path]:
    """The chapters in order."""
    return sorted(MANUAL.glob("*.md"))


def write_markdown(folder: Path) -> None:
    """Every chapter a file."""
    for chapter in chapters():
        shutil.copy(chapter, folder)


def write_html(folder: Path) -> None:
    """All chapters on one page, with what surrounds the text on a web site."""
    parts = [MarkdownIt().enable("table").render(_without_head(chapter)) for chapter in chapters()]
    (folder / "tx1_manual.html").write_text(
        f"<!doctype html><html><head><title>{TITLE}</title><style>p {{ color: black }}</style>"
        "<script>document.title = 'changed';</script></head><body>"
        "<header><a href='/'>Tarn developer site</a></header><nav><ul><li>Products</li><li>Sign in</li></ul></nav>"
        f"<main>{''.join(parts)}</main><footer>Cookies and imprint</footer></body></html>",
        encoding="utf-8",
    )


def write_pdf(folder: Path) -> None:
    """All chapters as a book: headings in larger type, running header and footer, the errata in two columns."""
    document = BaseDocTemplate(str(folder / "tx1_manual.pdf"), pagesize=A5, title=TITLE)
    inner = _WIDTH - 2 * _EDGE
    columns = [Frame(_EDGE + n * inner / 2, _EDGE, inner / 2, _HEIGHT - 2 * _EDGE, id=f"column{n}") for n in (0, 1)]
    document.addPageTemplates(
        [
            PageTemplate("one", [Frame(_EDGE, _EDGE, inner, _HEIGHT - 2 * _EDGE)], onPage=_running),
            PageTemplate("two", columns, onPage=_running),
        ]
    )
    story: list[Flowable] = []
    for chapter in chapters():
        template = "two" if chapter.name == _TWO_COLUMNS else "one"
        story += [NextPageTemplate(template), PageBreak()] if story else []
        story += _flowables(_without_head(chapter))
    document.build(story)


def _running(canvas: Canvas, document: BaseDocTemplate) -> None:
    canvas.setFont("Helvetica", 8)
    canvas.drawString(_EDGE, _HEIGHT - 28, RUNNING_HEADER)
    canvas.drawString(_EDGE, 24, RUNNING_FOOTER)
    canvas.drawRightString(_WIDTH - _EDGE, 24, f"Page {document.page}")


def _without_head(chapter: Path) -> str:
    text = chapter.read_text(encoding="utf-8")
    return text.split("---\n", 2)[2] if text.startswith("---\n") else text


def _flowables(text: str) -> Iterator[Flowable]:
    tokens = MarkdownIt().enable("table").parse(text)
    rows: list[list[str | Paragraph]] = []
    for token, inline in zip(tokens, [*tokens[1:], Token("", "", 0)], strict=True):
        if token.type == "heading_open":
            yield Paragraph(_markup(inline), _HEADINGS[token.tag])
        elif token.type == "paragraph_open":
            yield Paragraph(_markup(inline), _TEXT, bulletText="•" if token.hidden else None)
        elif token.type == "fence":
            yield Preformatted(token.content.rstrip(), _CODE)
        elif token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append("".join(child.content for child in inline.children or ()))
        elif token.type == "table_close":
            yield _table(rows)
            yield Spacer(0, 8)


def _table(rows: list[list[str | Paragraph]]) -> Table:
    """As wide as the text is; its last column takes what is left, on several lines where it must."""
    for row in rows:
        row[-1] = Paragraph(html.escape(str(row[-1])), _CELL)
    style = [("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("FONTSIZE", (0, 0), (-1, -1), 8)]
    return Table(rows, colWidths=[*[None] * (len(rows[0]) - 1), "*"], style=style, repeatRows=1)


def _markup(inline: Token) -> str:
    """Inline Markdown as reportlab's markup: the manual has code and nothing else."""
    parts = []
    for child in inline.children or ():
        text = " " if child.type == "softbreak" else html.escape(child.content)
        parts.append(f'<font face="Courier">{text}</font>' if child.type == "code_inline" else text)
    return "".join(parts)
