"""What the knowledge base says about an identifier, found by name: fast, without an index or vectors."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import kernelevolve.knowledge
from kernelevolve.evaluation.platforms.spec_sheets import architecture_sheets
from kernelevolve.knowledge.document import fill_in
from kernelevolve.knowledge.versions import Requirement, installed_versions
from kernelevolve.knowledge.vocabulary import ANY, holds_for

_CONTENT = Path(str(kernelevolve.knowledge.__file__)).parent / "content"
_FOLDERS = ("constraints", "guidance", "hardware")
_ASKED = re.compile(r"^<!--.*?-->$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"[A-Za-z_][\w.:]*[\w]")
_LISTED = re.compile(r"^(\w+): \[(.*)\]$", re.MULTILINE)
_TITLE = re.compile(r'^title: "?(.*?)"?$', re.MULTILINE)
_BULLET = re.compile(r"^[-*] ", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")
_LONGEST = 400
"""Characters of one note."""


@dataclass(frozen=True)
class Page:
    """A document's head, as far as notes need it."""

    id: str
    title: str
    platforms: tuple[str, ...]
    requirements: tuple[str, ...]

    @property
    def uri(self) -> str:
        """What links name."""
        return f"knowledge://{self.id}"


@dataclass(frozen=True)
class Note:
    """A sentence or two about an identifier."""

    page: Page
    text: str


def notes(name: str, targets: Sequence[str], most: int = 3) -> list[Note]:
    """What the documents say about an identifier such as `tl.dot` or `cp.async`, the rules first.

    Args:
        name: as it is written in code.
        targets: platforms such as `cuda:sm_90`; what holds for none of them is left out.
        most: notes at most, one of each document.
    """
    families = [family for family in map(family_of, targets) if family]
    found = [note for note in _index().get(name, ()) if _is_of_use(note.page, families)]
    return [Note(note.page, fill_in(note.text, note.page.id)) for note in found[:most]]


def page(identifier: str) -> Page | None:
    """A document's head; None where there is no such document."""
    return _pages().get(identifier)


def family_of(target: str) -> str:
    """The knowledge base's word for a target: `cuda:sm_90` → `hopper`; its vendor where the chip is unknown."""
    vendor, _, architecture = target.partition(":")
    sheet = architecture_sheets().get(architecture.rstrip("a"))
    return sheet.family if sheet is not None else {"cuda": "nvidia", "hip": "amd"}.get(vendor, vendor)


def _is_of_use(page: Page, families: list[str]) -> bool:
    versions = installed_versions()
    if not all(Requirement.parse(each).holds(versions) for each in page.requirements):
        return False
    return ANY in page.platforms or not families or any(holds_for(page.platforms, family) for family in families)


@cache
def _pages() -> Mapping[str, Page]:
    return {identifier: head for identifier, head, _ in _documents()}


@cache
def _index() -> Mapping[str, Sequence[Note]]:
    """Notes by identifier; a tenth of a second, once."""
    found: dict[str, dict[str, Note]] = defaultdict(dict)
    for _, head, body in _documents():
        for part in _parts(body):
            for name in dict.fromkeys(each for code in _CODE.findall(part) for each in _NAME.findall(code)):
                if head.id not in found[name]:
                    found[name][head.id] = Note(head, _about(part, name))
    return {
        name: tuple(sorted(by_page.values(), key=lambda note: _rank(name, note))) for name, by_page in found.items()
    }


def _rank(name: str, note: Note) -> tuple[bool, bool, int]:
    """Documents about the identifier first, then rules, then sentences that speak of few other things."""
    leaf = re.split(r"[.:]+", name)[-1]
    is_about = (
        re.search(rf"(?<![a-z0-9]){re.escape(leaf)}(?![a-z0-9])", f"{note.page.title} {note.page.id}") is not None
    )
    return not is_about, not note.page.id.startswith("constraints/triton"), len(_CODE.findall(note.text))


@cache
def _documents() -> Sequence[tuple[str, Page, str]]:
    found = []
    for folder in _FOLDERS:
        for path in sorted((_CONTENT / folder).rglob("*.md")):
            _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
            lists = {name: tuple(re.findall(r'[^\s,"]+', values)) for name, values in _LISTED.findall(head)}
            requirements = re.search(r"^applies_to: \[(.*)\]$", head, re.MULTILINE)
            identifier = path.relative_to(_CONTENT).with_suffix("").as_posix().removesuffix("/index")
            title = _TITLE.search(head)
            page = Page(
                identifier,
                title[1] if title else identifier,
                lists.get("platforms", (ANY,)),
                tuple(re.findall(r'"([^"]+)"', requirements[1])) if requirements else (),
            )
            found.append((identifier, page, _ASKED.sub("", body)))
    return found


def _parts(body: str) -> Iterator[str]:
    """Paragraphs and single bullets, tables and code left out."""
    is_code = False
    for block in re.split(r"\n\s*\n", body):
        fences = block.count("```")
        if is_code or fences:
            is_code ^= fences % 2 == 1
            continue
        lines = [line for line in block.splitlines() if not line.startswith(("#", "|"))]
        for bullet in _BULLET.split("\n".join(lines)):
            text = " ".join(bullet.split())
            if text:
                yield text


def _about(part: str, name: str) -> str:
    """The sentences of a part from the one that names the identifier, up to the length of a note."""
    sentences = _SENTENCE.split(part)
    first = next(place for place, each in enumerate(sentences) if name in each)
    text = sentences[first]
    for each in sentences[first + 1 :]:
        if len(text) + len(each) >= _LONGEST:
            break
        text += " " + each
    return text
