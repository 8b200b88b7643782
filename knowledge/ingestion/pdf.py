"""PDF manuals: text line by line, headings and code by their type, running headers and footers left out.

PDF has no paragraphs, tables or headings, only characters with places; everything here is read off those.
"""

from __future__ import annotations

import ctypes
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kernelevolve.knowledge.ingestion.reader import ReadFile, UnreadableFileError

_HEADING_RATIO = 1.15
"""Type this much larger than the text's is a heading's."""
_LONGEST_HEADING = 120
_GAP = 1.3
"""A distance between lines, in usual ones, from which they are apart."""
_MARGIN_LINES = 3
"""Lines of a header or a footer at most."""
_MARGIN = 0.1
"""Share of a page's height, from its upper and its lower edge, in which headers and footers stand."""
_RUNNING = 3
"""Pages that must say the same at the same place for it to be a header or footer."""
_CODE_ADVANCE = 0.6
"""Width of a character of fixed-pitch type, in type sizes: Courier, Menlo, DejaVu Sans Mono …"""
_SAMPLES = 8
"""Characters of a line whose type is looked at."""
_FIXED_PITCH = 1
"""Bit of a font's flags (PDF 32000-1, table 123)."""
_FIXED_PITCH_NAME = re.compile(r"courier|mono|consol|typewriter|menlo|code|cmtt|fixed", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_ENDS_SENTENCE = re.compile(r"[.!?:;|]\s*$")
_HASHES = re.compile(r"#{1,6}\s")
_HYPHENATED = re.compile(r"(\w*)\ufffe(\w*)")
_WORD = re.compile(r"\w+")
_PRODUCER_TITLE = re.compile(r"\(?(untitled|anonymous|unspecified)\)?|microsoft word - .*|.*\.(docx?|fm|tex|indd|dvi)")
"""Titles that programs write where the author gave none."""


@dataclass(frozen=True)
class _Line:
    text: str
    size: float
    """Type size in points."""
    left: float = 0.0
    """Where its first character begins, points."""
    base: float = 0.0
    """Height of its base line above the page's lower edge, points."""
    from_edge: float = 0.5
    """Distance from the nearer of the page's upper and lower edge, as a share of its height."""
    is_code: bool = False


def read_pdf(data: bytes) -> ReadFile:
    """A PDF as Markdown. Each section says on which page it begins, so that it can be found in the manual.

    Raises:
        UnreadableFileError: it is encrypted, damaged, or has no text.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableFileError("The PDF is encrypted; save a copy without a password.") from error
        raise UnreadableFileError(f"The PDF is damaged or cut off; get it again ({error}).") from error
    try:
        pages = [_lines(page) for page in document]
        title = " ".join(document.get_metadata_dict().get("Title", "").split())
    except pypdfium2.PdfiumError as error:
        raise UnreadableFileError(f"The PDF is damaged: {error}.") from error
    finally:
        document.close()
    if not any(pages):
        raise UnreadableFileError("The PDF has no text, only pictures; run it through OCR first.")
    empty = sum(1 for page in pages if not page)
    notes = (f"{empty} of {len(pages)} pages have no text",) if empty else ()
    pitch = _usual_pitch(pages)
    pages = _with_code_apart(_whole_words(_without_running(pages, pitch)))
    usual = _usual_size(pages)
    pages = [_whole_headings(page, usual, pitch) for page in pages]
    headings = [line for page in pages for line in page if _is_heading(line, usual)]
    if _PRODUCER_TITLE.fullmatch(title.lower()):
        title = ""
    if not title and headings:
        title = headings[0].text
    return ReadFile(title, _markdown(pages, usual, pitch), notes)


def _lines(page: Any) -> list[_Line]:
    """Lines of a page in reading order."""
    import pypdfium2.raw as pdfium

    text_page = page.get_textpage()
    _, bottom, _, top = page.get_cropbox()
    try:
        count = text_page.count_chars()
        text = text_page.get_text_range(0, count) if count else ""
        found = []
        position = 0  # in UTF-16 units, as pdfium counts
        for raw in text.split("\n"):
            stripped = raw.strip()
            if stripped:
                first = position + len(raw) - len(raw.lstrip())
                index = _character(text_page, first)
                left, base = ctypes.c_double(), ctypes.c_double()
                pdfium.FPDFText_GetCharOrigin(text_page.raw, index, left, base)
                size = round(float(pdfium.FPDFText_GetFontSize(text_page.raw, index)), 1)
                from_edge = min(base.value - bottom, top - base.value) / max(top - bottom, 1.0)
                is_code = _is_code(text_page, stripped, first)
                found.append(_Line(stripped, size, left.value, base.value, from_edge, is_code))
            position += len(raw.encode("utf-16-le")) // 2 + 1
        return found
    finally:
        text_page.close()
        page.close()


def _character(text_page: Any, position: int) -> int:
    """Index of the character at a place of the text: pdfium leaves some out of it and puts others in."""
    import pypdfium2.raw as pdfium

    index = int(pdfium.FPDFText_GetCharIndexFromTextIndex(text_page.raw, position))
    return index if index >= 0 else position


def _is_code(text_page: Any, text: str, first: int) -> bool:
    """Whether a line is in fixed-pitch type from its begin to its end, and not only where it names an identifier."""
    import pypdfium2.raw as pdfium

    places = [place for place, character in enumerate(text) if not character.isspace()]
    name = ctypes.create_string_buffer(256)
    for place in places[:: max(1, len(places) // _SAMPLES)] + places[-1:]:
        flags = ctypes.c_int()
        index = _character(text_page, first + place)
        name.value = b""
        pdfium.FPDFText_GetFontInfo(text_page.raw, index, name, len(name), flags)
        is_fixed = flags.value & _FIXED_PITCH or _FIXED_PITCH_NAME.search(name.value.decode("utf-8", "replace"))
        if not is_fixed:
            return False
    return True


def _usual_pitch(pages: list[list[_Line]]) -> float:
    """The most frequent distance between two lines, points. What is far apart is no two lines of a paragraph."""
    distances = Counter(
        round(line.base - after.base, 1)
        for page in pages
        for line, after in itertools.pairwise(page)
        if 1 < line.base - after.base < 3 * line.size
    )
    return distances.most_common(1)[0][0] if distances else 12.0


def _usual_size(pages: list[list[_Line]]) -> float:
    """The type size of the text."""
    sizes = Counter[float]()
    for page in pages:
        for line in page:
            sizes[line.size] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 1.0


def _without_running(pages: list[list[_Line]], pitch: float) -> list[list[_Line]]:
    """Pages without headers and footers: what stands apart at an edge, at the same height on several pages, and is the
    same there but for the page's number.

    Lines in the text that differ by a number only (`Latency: 4 cycles`) are facts, so the place counts as well.
    """
    at_edge = [_at_edges(page, pitch) for page in pages]
    seen = Counter(key for number, lines in enumerate(at_edge) for line in lines for key in _keys(line, number))
    kept = []
    for number, (page, edges) in enumerate(zip(pages, at_edge, strict=True)):
        running = {line for line in edges if any(seen[key] >= _RUNNING for key in _keys(line, number))}
        kept.append([line for line in page if line not in running])
    return kept


def _at_edges(page: list[_Line], pitch: float) -> set[_Line]:
    """Lines in a page's upper and lower margin that a gap parts from the text, if they are few."""
    heights = sorted({round(line.base) for line in page}, reverse=True)
    found: set[int] = set()
    for order in (heights, heights[::-1]):
        for number, (height, after) in enumerate(itertools.pairwise(order), 1):
            if abs(height - after) > _GAP * pitch:
                found.update(order[:number])
                break
            if number >= _MARGIN_LINES:
                break
    return {line for line in page if round(line.base) in found and line.from_edge <= _MARGIN}


def _keys(line: _Line, page: int) -> set[tuple[int, str]]:
    """Height and text of a line, and the same with each of its numbers once taken as the page's: `Page 12 of 40`."""
    numbers = list(_DIGITS.finditer(line.text))
    texts = {line.text}
    for match in numbers:
        relative = f"#{int(match[0]) - page}#"
        texts.add(line.text[: match.start()] + relative + line.text[match.end() :])
    return {(round(line.base), text) for text in texts}


def _whole_words(pages: list[list[_Line]]) -> list[list[_Line]]:
    """Mend words that were hyphenated at the end of a line, where the manual has them whole somewhere."""
    known = {word.lower() for page in pages for line in page for word in _WORD.findall(line.text)}

    def mended(match: re.Match[str]) -> str:
        left, right = match.groups()
        return left + right if (left + right).lower() in known else f"{left}-{right}"

    return [[replace(line, text=_HYPHENATED.sub(mended, line.text)) for line in page] for page in pages]


def _with_code_apart(pages: list[list[_Line]]) -> list[list[_Line]]:
    """Fixed-pitch type means code only where the text is in another."""
    lines = [line for page in pages for line in page]
    if 2 * sum(len(line.text) for line in lines if line.is_code) <= sum(len(line.text) for line in lines):
        return pages
    return [[replace(line, is_code=False) for line in page] for page in pages]


def _whole_headings(page: list[_Line], usual: float, pitch: float) -> list[_Line]:
    """A page with headings of several lines put together."""
    found: list[_Line] = []
    for line in page:
        above = found[-1] if found else None
        if (
            above is not None
            and _is_heading(line, usual)
            and _is_heading(above, usual)
            and line.size == above.size
            and 0 < above.base - line.base < max(1.6 * line.size, _GAP * pitch)
            and len(above.text) + len(line.text) < _LONGEST_HEADING
        ):
            found[-1] = replace(line, text=f"{above.text} {line.text}")
        else:
            found.append(line)
    return found


def _is_heading(line: _Line, usual: float) -> bool:
    return (
        line.size >= _HEADING_RATIO * usual
        and len(line.text) <= _LONGEST_HEADING
        and any(character.isalpha() for character in line.text)
    )


def _markdown(pages: list[list[_Line]], usual: float, pitch: float) -> str:
    larger = sorted({line.size for page in pages for line in page if _is_heading(line, usual)}, reverse=True)
    longest = max((len(line.text) for page in pages for line in page), default=0)
    out: list[str] = []
    for number, page in enumerate(pages, 1):
        is_marked = False
        for run in _runs(page, usual):
            if _is_heading(run[0], usual):
                out.append(f"\n{'#' * min(2 + larger.index(run[0].size), 4)} {run[0].text}\n")
                is_marked = False
                continue
            if not is_marked:
                # After a heading: before it, the mark would be in the section above.
                out.append(f"(page {number})")
                is_marked = True
            out += _fenced(run) if run[0].is_code else _paragraphs(run, pitch, longest)
    return "\n".join(out)


def _runs(page: list[_Line], usual: float) -> Iterator[list[_Line]]:
    """Headings one by one, lines of code together, lines of text together."""
    run: list[_Line] = []
    for line in page:
        if run and (_is_heading(line, usual) or _is_heading(run[0], usual) or line.is_code != run[0].is_code):
            yield run
            run = []
        run.append(line)
    if run:
        yield run


def _fenced(run: list[_Line]) -> list[str]:
    """Code between fences, indented as it stands: a `#` in it is no heading."""
    edge = min(line.left for line in run)
    lines = [" " * round((line.left - edge) / (_CODE_ADVANCE * (line.size or 1.0))) + line.text for line in run]
    fence = "`" * max(3, 1 + max((len(ticks) for line in run for ticks in re.findall("`+", line.text)), default=0))
    return ["", fence, *lines, fence, ""]


def _paragraphs(run: list[_Line], pitch: float, longest: int) -> list[str]:
    """Lines as paragraphs: one that ends a sentence, and is short or followed by a gap, ends its paragraph."""
    out: list[str] = []
    for line, after in zip(run, [*run[1:], None], strict=True):
        out.append(f"\\{line.text}" if _HASHES.match(line.text) else line.text)
        is_gap = after is not None and line.base - after.base > _GAP * pitch
        if _ENDS_SENTENCE.search(line.text) and (is_gap or len(line.text) < 0.75 * longest):
            out.append("")
    return out
