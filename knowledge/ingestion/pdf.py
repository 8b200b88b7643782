"""PDF manuals: text line by line, headings by their larger type, repeated headers and footers left out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from kernelevolve.knowledge.ingestion.reader import ReadFile, UnreadableFileError

_REPEATED = 0.6
"""Share of pages on which a line must stand to count as header or footer."""
_HEADING_RATIO = 1.15
"""Type this much larger than the text's is a heading's."""
_LONGEST_HEADING = 120
_DIGITS = re.compile(r"\d+")
_ENDS_SENTENCE = re.compile(r"[.!?:;|]\s*$")


@dataclass(frozen=True)
class _Line:
    text: str
    size: float
    """Type size in points."""


def read_pdf(data: bytes) -> ReadFile:
    """A PDF as Markdown. Pages are marked, so that a passage can be found in the manual.

    Raises:
        UnreadableFileError: it is encrypted, damaged, or has no text.
    """
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableFileError("The PDF is encrypted; save a copy without a password.") from error
        raise UnreadableFileError(f"The PDF can't be read: {error}") from error
    try:
        pages = [_lines(page, pdfium) for page in document]
        metadata = document.get_metadata_dict()
    except pypdfium2.PdfiumError as error:
        raise UnreadableFileError(f"The PDF is damaged: {error}") from error
    finally:
        document.close()
    if not any(line.text for page in pages for line in page):
        raise UnreadableFileError("The PDF has no text, only pictures; run it through OCR first.")
    repeated = _repeated(pages)
    pages = [[line for line in page if _shape(line.text) not in repeated] for page in pages]
    sizes = Counter[float]()
    for page in pages:
        for line in page:
            sizes[line.size] += len(line.text)
    usual = sizes.most_common(1)[0][0]
    larger = sorted({line.size for page in pages for line in page if _is_heading(line, usual)}, reverse=True)
    title = metadata.get("Title", "").strip()
    blocks: list[str] = []
    for number, page in enumerate(pages, 1):
        if page:
            blocks.append(f"(page {number})")
        for line in page:
            if _is_heading(line, usual):
                title = title or line.text
                blocks.append(f"\n{'#' * min(2 + larger.index(line.size), 4)} {line.text}\n")
            else:
                blocks.append(line.text)
    empty = sum(1 for page in pages if not page)
    notes = (f"{empty} of {len(pages)} pages have no text",) if empty else ()
    return ReadFile(title, _joined(blocks), notes)


def _lines(page: Any, pdfium: Any) -> list[_Line]:
    """Lines of a page in reading order, each with the type size of its first visible character."""
    text_page = page.get_textpage()
    try:
        count = text_page.count_chars()
        text = text_page.get_text_range(0, count) if count else ""
        found = []
        position = 0
        for raw in text.split("\n"):
            stripped = raw.strip()
            if stripped:
                first = position + len(raw) - len(raw.lstrip())
                size = pdfium.FPDFText_GetFontSize(text_page.raw, min(first, count - 1))
                # Kept as it stands inside: columns of tables are apart by several spaces.
                found.append(_Line(stripped.replace("\ufffe", "-"), round(float(size), 1)))
            position += len(raw) + 1
        return found
    finally:
        text_page.close()
        page.close()


def _repeated(pages: list[list[_Line]]) -> set[str]:
    if len(pages) < 4:
        return set()
    counts = Counter(shape for page in pages for shape in {_shape(line.text) for line in page})
    return {shape for shape, count in counts.items() if count > _REPEATED * len(pages)}


def _shape(text: str) -> str:
    """A line with its numbers taken out: `Page 12` and `Page 13` are the same footer."""
    return _DIGITS.sub("#", text.strip().lower())


def _is_heading(line: _Line, usual: float) -> bool:
    return (
        line.size >= _HEADING_RATIO * usual
        and len(line.text) <= _LONGEST_HEADING
        and any(character.isalpha() for character in line.text)
    )


def _joined(blocks: list[str]) -> str:
    """Lines as paragraphs: one that ends a sentence, or is short as in a table or a list, ends its paragraph."""
    out: list[str] = []
    longest = max((len(block) for block in blocks), default=0)
    for block in blocks:
        out.append(block)
        if _ENDS_SENTENCE.search(block) and len(block) < 0.75 * longest:
            out.append("")
    return "\n".join(out)
