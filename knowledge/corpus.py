"""The shipped corpus: documents of `content/`, a document for each spec sheet, and vectors made beforehand.

`python -m kernelevolve.knowledge.corpus` checks it and makes missing vectors.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from kernelevolve.evaluation.platforms.spec_sheets import SHEETS
from kernelevolve.knowledge.document import Document, Source, parse_document
from kernelevolve.knowledge.embedding import Embedder, MiniLm, Vectors
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.facts import SHEET_DOCUMENTS, known_sheets, sheet_lines
from kernelevolve.knowledge.passages import CHUNK_TOKENS, chunks_of, passages_of
from kernelevolve.knowledge.store import SCHEMA_VERSION, tokens
from kernelevolve.knowledge.vocabulary import Kind

CONTENT = Path(__file__).parent / "content"
VECTORS = Path(__file__).parent / "models" / "content_vectors.npz"
_SOURCE_FENCES = {".py": "python", ".cpp": "cpp", ".cu": "cuda"}
_TASK_FILE = "task.py"


def identifier_of(path: Path, root: Path) -> str:
    """The id of the document in a file: its path below the root; `index.md` stands for its folder."""
    name = path.relative_to(root).with_suffix("").as_posix()
    return name.removesuffix("/index")


def read_content(root: Path = CONTENT) -> tuple[list[Document], list[str]]:
    """All documents below a folder, and what is wrong with those that can't be read."""
    documents: list[Document] = []
    problems: list[str] = []
    for path in sorted(root.rglob("*.md")):
        try:
            document = parse_document(path.read_text(encoding="utf-8"), identifier_of(path, root))
        except KnowledgeError as error:
            problems.append(str(error))
            continue
        documents.append(_with_source(document, path.parent) if document.kind is Kind.SAMPLE else document)
    return documents, problems


def shipped_documents() -> list[Document]:
    """Every document that comes with the package.

    Raises:
        KnowledgeError: one of them can't be read; tests keep that from being released.
    """
    documents, problems = read_content()
    if problems:
        raise KnowledgeError("The shipped documents are damaged; reinstall the package. " + " ".join(problems[:3]))
    return documents + list(_sheet_documents())


@cache
def fingerprint() -> str:
    """Changes whenever the shipped corpus, or the way it is indexed, does. Reads the files, parses nothing."""
    digest = hashlib.sha256(f"{SCHEMA_VERSION} {CHUNK_TOKENS}".encode())
    for folder in (CONTENT, SHEETS):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(folder).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def shipped_vectors(embedder: Embedder | None) -> Mapping[str, Vectors]:
    """Vectors that come with the package, by the chunk's text hash; none for another embedder."""
    if embedder is None or not VECTORS.is_file():
        return {}
    with np.load(VECTORS) as file:
        if str(file["embedder"]) != embedder.identity:
            return {}
        return dict(zip(file["keys"].tolist(), file["vectors"].astype(np.float32), strict=True))


def vector_key(text: str) -> str:
    """Name of a chunk's text in the shipped vectors."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def chunk_texts(documents: list[Document]) -> list[str]:
    """What is embedded of some documents."""
    return [
        chunk.text
        for document in documents
        for passage in passages_of(document)
        for chunk in chunks_of(passage, tokens)
    ]


def check(root: Path = CONTENT) -> list[str]:
    """Every problem of a folder of documents, one line each."""
    documents, problems = read_content(root)
    known = {document.id for document in documents}
    for document in documents:
        problems += [
            f"{document.id}: related {other!r} is no document" for other in document.related if other not in known
        ]
    return problems


def main() -> int:
    """Print the problems of the content; without any, bring the shipped vectors up to date."""
    problems = check()
    if problems:
        print("\n".join(problems))
        return 1
    embedder = MiniLm()
    texts = list(dict.fromkeys(chunk_texts(shipped_documents())))
    known = shipped_vectors(embedder)
    missing = [text for text in texts if vector_key(text) not in known]
    new: dict[str, Vectors] = (
        dict(zip(map(vector_key, missing), embedder.embed(missing), strict=True)) if missing else {}
    )
    vectors = [new[key] if key in new else known[key] for key in map(vector_key, texts)]
    np.savez_compressed(
        VECTORS,
        embedder=embedder.identity,
        keys=np.array([vector_key(text) for text in texts]),
        # Half precision: the ranking is the same, the file half as large.
        vectors=np.array(vectors, np.float16),
    )
    print(f"{len(texts)} chunks, {len(missing)} of them embedded now; {VECTORS.stat().st_size / 1024:.0f} KiB")
    return 0


def _with_source(document: Document, folder: Path) -> Document:
    """A sample's document with its candidate appended; the task is beside it."""
    parts = [document.body]
    for path in sorted(folder.iterdir()):
        if path.suffix in _SOURCE_FENCES and path.name != _TASK_FILE:
            source = path.read_text(encoding="utf-8").strip()
            parts.append(f"## Source: {path.name}\n\n```{_SOURCE_FENCES[path.suffix]}\n{source}\n```")
    return document.model_copy(update={"body": "\n\n".join(parts)})


def _sheet_documents() -> Iterator[Document]:
    for key, sheet in known_sheets().items():
        if not sheet.facts:
            continue
        sources = dict.fromkeys(source for fact in sheet.facts.values() for source in fact.sources)
        yield Document(
            id=f"{SHEET_DOCUMENTS}{key}",
            title=f"Spec sheet of {sheet.chip}",
            kind=Kind.HARDWARE,
            platforms=(sheet.family,),
            topics=("architecture",),
            sources=tuple(
                Source(title=source, url=source if source.startswith("http") else "", grade="secondary")
                for source in sources
            ),
            confidence="secondary",
            checked=max(fact.checked for fact in sheet.facts.values()),
            body=sheet_lines(sheet),
        )


if __name__ == "__main__":
    sys.exit(main())
