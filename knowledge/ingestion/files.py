"""Turn files and folders into documents, and say what was skipped and why."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kernelevolve.evaluation.contract import Contract
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.document import Document, Source
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.ingestion.head import with_head
from kernelevolve.knowledge.ingestion.html import read_html
from kernelevolve.knowledge.ingestion.markdown import read_markdown, read_text
from kernelevolve.knowledge.ingestion.pdf import read_pdf
from kernelevolve.knowledge.ingestion.reader import ReadFile, UnreadableFileError
from kernelevolve.knowledge.passages import passages_of
from kernelevolve.knowledge.platform_names import resolve_or_own, slug
from kernelevolve.knowledge.vocabulary import ANY, PLATFORM_PARENTS, Kind

LARGEST_FILE = 256 << 20
"""Bytes; a manual of several thousand pages is smaller."""
_USER = "user:"
_READERS: dict[str, Callable[[bytes], ReadFile]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".pdf": read_pdf,
    ".txt": read_text,
    ".rst": read_text,
}
_HIDDEN = {"__pycache__", "node_modules"}
_NO_FILE = "It is no file: a link that leads nowhere, a pipe or a device."


class Skipped(Contract):
    """A file that was not read."""

    path: str
    reason: str


class IngestionReport(Contract):
    """What became of the files."""

    added: tuple[str, ...] = ()
    """Ids of documents that are new or have changed."""
    unchanged: tuple[str, ...] = ()
    """Ids of documents that were there already."""
    removed: tuple[str, ...] = ()
    """Ids of documents whose file is gone, with `prune`."""
    gone: tuple[str, ...] = ()
    """The same without `prune`: they are still here."""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    """What was lost of files that were read."""
    platforms: tuple[str, ...] = ()
    """Platforms under which they are filed."""


def add_files(
    base: KnowledgeBase,
    paths: Sequence[Path],
    platforms: Sequence[str],
    *,
    source: str = "",
    kind: Kind = Kind.HARDWARE,
    prune: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> IngestionReport:
    """Read files and folders into the knowledge base. Doing it again changes only what changed.

    Args:
        base: where they go.
        paths: files and folders; folders with all below them.
        platforms: what the documents hold for: known names, or new ones for an accelerator of one's own; at least one.
        source: title of the manual, for citations; the file's name by default.
        kind: what the documents are for.
        prune: remove documents that came from these folders and whose file is gone.
        progress: called with (file, number of files done, number of files).

    Raises:
        KnowledgeError: a path does not exist, or no platform is named.
    """
    names = own_platforms(platforms)
    for path in paths:
        _look_at(path)
    files = [(root, file, reason) for root in paths for file, reason in _files(root)]
    base.open()
    known = base.store.content_hashes()
    claims = _Claims(_origins(base))
    added: list[str] = []
    unchanged: list[str] = []
    skipped: list[Skipped] = []
    notes: list[str] = []
    seen: set[str] = set()
    for number, (root, file, reason) in enumerate(files):
        if progress:
            progress(_written(file), number, len(files))
        try:
            if reason:
                raise UnreadableFileError(reason)
            document, lost = read_document(file, root, names, source, kind)
            document = claims.settle(document)
        except UnreadableFileError as error:
            skipped.append(Skipped(path=_written(file), reason=str(error)))
            continue
        if document.id in seen:  # the same file by two ways
            continue
        seen.add(document.id)
        notes += [f"{_written(file)}: {note}" for note in lost]
        if known.get(document.id) == document.content_hash:
            unchanged.append(document.id)
        else:
            # One by one: what was written stays, whatever happens to the next file.
            base.store.put([document])
            added.append(document.id)
    if progress:
        progress("", len(files), len(files))
    gone = _gone(base, [path for path in paths if path.is_dir()], seen)
    if prune and gone:
        base.store.remove(gone)
    return IngestionReport(
        added=tuple(added),
        unchanged=tuple(unchanged),
        removed=tuple(gone) if prune else (),
        gone=() if prune else tuple(gone),
        skipped=tuple(skipped),
        notes=tuple(notes),
        platforms=names,
    )


def read_document(
    file: Path, root: Path, platforms: Sequence[str], source: str, kind: Kind
) -> tuple[Document, tuple[str, ...]]:
    """One file as a document, and what was lost of it.

    Raises:
        UnreadableFileError: why it can't be one.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise UnreadableFileError(
            f"Files of type {file.suffix or 'without an ending'!r} are not read; {_known_types()} are."
        )
    if _written(file.absolute()) != str(file.absolute()):
        raise UnreadableFileError("Its name is not UTF-8; rename it.")
    try:
        size = file.stat().st_size
        if size > LARGEST_FILE:
            raise UnreadableFileError(f"It has {size >> 20} MiB; at most {LARGEST_FILE >> 20} are read. Split it.")
        if size == 0:
            raise UnreadableFileError("It is empty.")
        read = reader(file.read_bytes())
    except OSError as error:
        raise UnreadableFileError(f"It can't be opened: {error.strerror}.") from error
    if not read.body.strip():
        raise UnreadableFileError("It is empty.")
    title = " ".join((read.title or file.stem.replace("_", " ")).split())[:110]
    if len(title) < 8:
        title = f"{title} ({file.name})".ljust(8)[:110]
    document = Document(
        id=_identifier(file, root),
        title=title,
        kind=kind,
        platforms=tuple(platforms),
        severity="should" if kind is Kind.CONSTRAINT else "",
        sources=(Source(title=source or file.name, grade="primary"),),
        confidence="user",
        body=_without_title(read.body, read.title),
        origin=f"{_USER}{_place(file, root)}",
    )
    if not passages_of(document):
        raise UnreadableFileError("It has headings and no text.")
    document, left_out = with_head(document, read.head)
    return document, (*read.notes, *left_out)


def own_platforms(names: Sequence[str]) -> tuple[str, ...]:
    """Platforms to file documents under: known ones in our words, new ones as they are.

    Raises:
        KnowledgeError: none is given, or a name that can't be one.
    """
    found = []
    for name in names:
        if name.strip() == ANY:
            found.append(ANY)
            continue
        if not slug(name):
            raise KnowledgeError(f"{name!r} is no name for a platform: use letters, digits and _.")
        found.append(resolve_or_own(name))
    if not found:
        raise KnowledgeError(
            "Say what the documents hold for with --platform: "
            f"{', '.join(PLATFORM_PARENTS)}, a new name for an accelerator of your own, or '*' for all."
        )
    return tuple(dict.fromkeys(found))


class _Claims:
    """Which file has which id, so that none takes another's place in the index unseen.

    Args:
        origins: document → file, of what is indexed already.
    """

    def __init__(self, origins: dict[str, Path]) -> None:
        self._owners = dict(origins)
        self._ids = {file: identifier for identifier, file in origins.items()}

    def settle(self, document: Document) -> Document:
        """The document under the id that its file has already, or under its own.

        Raises:
            UnreadableFileError: another file, which is still there, has that id.
        """
        file = _file_of(document.origin)
        identifier = self._ids.get(file, document.id)
        owner = self._owners.get(identifier, file)
        if owner != file and owner.exists():
            raise UnreadableFileError(
                f"Another file, {owner}, has the same name in the index, {identifier!r}; rename one of them or its "
                "folder."
            )
        self._owners[identifier] = file
        self._ids[file] = identifier
        return document.model_copy(update={"id": identifier})


def _look_at(path: Path) -> None:
    try:
        is_there = path.exists()
    except OSError as error:
        raise KnowledgeError(f"{path} can't be opened: {error.strerror}.") from error
    if not is_there:
        raise KnowledgeError(f"{path} does not exist.")


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    """Files of a folder and below, each with the reason for which it is not read, or an empty one.

    Hidden ones are no manuals. Links to folders are not followed: they may lead in a circle, or out of the folder.
    """
    if not root.is_dir():
        yield root, "" if root.is_file() else _NO_FILE
        return
    unopened: list[OSError] = []
    for folder, names, files in os.walk(root, onerror=unopened.append):
        names[:] = sorted(name for name in names if not name.startswith(".") and name not in _HIDDEN)
        for name in names:
            below = Path(folder, name)
            if below.is_symlink():
                yield below, "It is a link to a folder, which is not followed; add that folder itself."
        for name in sorted(files):
            if not name.startswith("."):
                file = Path(folder, name)
                yield file, "" if file.is_file() else _NO_FILE
    for error in unopened:
        yield Path(str(error.filename)), f"It can't be opened: {error.strerror}."


def _identifier(file: Path, root: Path) -> str:
    """`user/<folder>/<path below it>`, so that the same file has the same id next time."""
    below = file.relative_to(root).with_suffix("") if root.is_dir() else Path(file.stem)
    top = root.resolve().name if root.is_dir() else root.resolve().parent.name
    parts = [part for part in (_part(piece) for piece in (top, *below.parts)) if part]
    return "/".join(["user", *parts, *([slug(file.suffix)] if file.suffix.lower() not in (".md", ".markdown") else [])])


def _part(name: str) -> str:
    """A name as a part of an id. An id has ASCII only: a hash stands for other letters, which would all vanish."""
    if any(character.isalnum() and not character.isascii() for character in name):
        return "_".join(filter(None, [slug(name), hashlib.sha256(name.encode()).hexdigest()[:8]]))
    return slug(name)


def _place(file: Path, root: Path) -> Path:
    """Where a file is, without the links on the way to what was named; its own link stays, as it has the name."""
    return root.resolve() / file.relative_to(root) if root.is_dir() else file.parent.resolve() / file.name


def _without_title(body: str, title: str) -> str:
    """A body without its first heading if that is the title, which stands before every section anyway."""
    first, _, rest = body.lstrip().partition("\n")
    return rest.lstrip("\n") if title and rest.strip() and re.sub(r"^#{1,6}\s+", "# ", first) == f"# {title}" else body


def _origins(base: KnowledgeBase) -> dict[str, Path]:
    """Document → file, of all that was added from files."""
    stored = base.store.select(f"position = 0 AND starts_with(origin, '{_USER}')")
    return {entry.passage.document_id: _file_of(entry.origin) for entry in stored}


def _file_of(origin: str) -> Path:
    return Path(origin.removeprefix(_USER))


def _gone(base: KnowledgeBase, folders: Sequence[Path], seen: set[str]) -> list[str]:
    if not folders:
        return []
    return sorted(
        identifier
        for identifier, file in _origins(base).items()
        if identifier not in seen
        and any(file.is_relative_to(folder.resolve()) for folder in folders)
        and not file.exists()
    )


def _written(path: Path) -> str:
    """A path as text; a name that is not UTF-8 can't be printed as it is."""
    return os.fsencode(path).decode("utf-8", "replace")


def _known_types() -> str:
    return ", ".join(sorted(_READERS))
