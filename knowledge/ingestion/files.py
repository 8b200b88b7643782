"""Turn files and folders into documents, and say what was skipped and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kernelevolve.evaluation.contract import Contract
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.document import Document, Source
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.ingestion.html import read_html
from kernelevolve.knowledge.ingestion.markdown import read_markdown, read_text
from kernelevolve.knowledge.ingestion.pdf import read_pdf
from kernelevolve.knowledge.ingestion.reader import ReadFile, UnreadableFileError
from kernelevolve.knowledge.platform_names import resolve_platform, slug
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
        if not path.exists():
            raise KnowledgeError(f"{path} does not exist.")
    files = [(root, file) for root in paths for file in _files(root)]
    base.open()
    known = base.store.content_hashes()
    added: list[str] = []
    unchanged: list[str] = []
    skipped: list[Skipped] = []
    notes: list[str] = []
    seen: set[str] = set()
    for number, (root, file) in enumerate(files):
        if progress:
            progress(str(file), number, len(files))
        try:
            document, lost = read_document(file, root, names, source, kind)
        except UnreadableFileError as error:
            skipped.append(Skipped(path=str(file), reason=str(error)))
            continue
        if document.id in seen:
            skipped.append(
                Skipped(path=str(file), reason=f"Another file has the same name in the index, {document.id!r}.")
            )
            continue
        seen.add(document.id)
        notes += [f"{file}: {note}" for note in lost]
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
    try:
        size = file.stat().st_size
        if size > LARGEST_FILE:
            raise UnreadableFileError(f"It has {size >> 20} MiB; at most {LARGEST_FILE >> 20} are read. Split it.")
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
        body=read.body,
        origin=f"{_USER}{file.resolve()}",
    )
    return document, read.notes


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
        try:
            found.append(resolve_platform(name))
        except KnowledgeError:
            found.append(slug(name))
    if not found:
        raise KnowledgeError(
            "Say what the documents hold for with --platform: "
            f"{', '.join(PLATFORM_PARENTS)}, a new name for an accelerator of your own, or '*' for all."
        )
    return tuple(dict.fromkeys(found))


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        below = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith(".") or part in _HIDDEN for part in below):
            yield path


def _identifier(file: Path, root: Path) -> str:
    """`user/<folder>/<path below it>`, so that the same file has the same id next time."""
    below = file.relative_to(root).with_suffix("") if root.is_dir() else Path(file.stem)
    top = root.resolve().name if root.is_dir() else root.resolve().parent.name
    parts = [part for part in (slug(piece) for piece in (top, *below.parts)) if part]
    return "/".join(["user", *parts, *([slug(file.suffix)] if file.suffix.lower() not in (".md", ".markdown") else [])])


def _gone(base: KnowledgeBase, folders: Sequence[Path], seen: set[str]) -> list[str]:
    if not folders:
        return []
    stored = base.store.select(f"position = 0 AND starts_with(origin, '{_USER}')")
    return sorted(
        entry.passage.document_id
        for entry in stored
        if entry.passage.document_id not in seen
        and any(Path(entry.origin.removeprefix(_USER)).is_relative_to(folder.resolve()) for folder in folders)
        and not Path(entry.origin.removeprefix(_USER)).exists()
    )


def _known_types() -> str:
    return ", ".join(sorted(_READERS))
