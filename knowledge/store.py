"""The index in LanceDB: passages with their full text, chunks with their vectors, one writer at a time.

A passage is found by its words in `passages`, by its meaning in `chunks_<embedder>`: a table for each embedder, so that
vectors of two models never meet. Chunks are written before passages: a passage that is there is complete, and what a
killed writer left behind is replaced by the next write of the same document.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kernelevolve.knowledge.document import Document, Source
from kernelevolve.knowledge.embedding import Embedder, Vectors, word_pieces
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.identifiers import enrich_text
from kernelevolve.knowledge.passages import Chunk, Passage, chunks_of, passages_of
from kernelevolve.knowledge.vocabulary import ANY, PLATFORM_PARENTS, Kind, ancestry

SCHEMA_VERSION = 1
_PASSAGES = f"passages_{SCHEMA_VERSION}"
_VECTOR_INDEX_FROM = 50_000
"""Rows from which an approximate index is faster than comparing with every vector (knowledge base benchmark)."""
_REFINED = 500
"""Candidates of the quantised index that are compared exactly; the nearest ten of a million rows are among them."""
_UNINDEXED_SHARE = 0.02
"""Share of rows that full-text search may scan before the index is brought up to date; below 50 rows it never is."""
_CACHE_BYTES = 64 << 20
_REMEMBERED = 16_384
"""Passages kept in memory, some 3 KiB each."""
_LISTS = ("platforms", "topics", "bottlenecks", "languages", "applies_to", "related")


class Candidate(NamedTuple):
    """A passage as one side of the search found it."""

    passage_id: str
    content_hash: str
    """Of its document, when it was indexed."""
    score: float
    """Of the full text, or the cosine."""


@dataclass(frozen=True)
class StoredPassage:
    """A passage with what its document says about itself."""

    passage: Passage
    kind: Kind
    platforms: tuple[str, ...]
    topics: tuple[str, ...]
    bottlenecks: tuple[str, ...]
    languages: tuple[str, ...]
    applies_to: tuple[str, ...]
    severity: str
    related: tuple[str, ...]
    sources: tuple[Source, ...]
    confidence: str
    checked: str
    origin: str
    title: str
    content_hash: str


class _Cut(NamedTuple):
    """What chunks must know of a document, and its passages."""

    document_id: str
    kind: Kind
    platforms: tuple[str, ...]
    content_hash: str
    passages: tuple[Passage, ...]

    @classmethod
    def of(cls, document: Document, passages: Sequence[Passage]) -> _Cut:
        return cls(document.id, document.kind, document.platforms, document.content_hash, tuple(passages))


class KnowledgeStore:
    """Passages and vectors in a folder or an object store.

    Any number of processes may read; writers wait for each other at an OS lock in `lock_folder`.

    Args:
        location: folder, or an address such as `s3://bucket/knowledge`.
        embedder: makes the vectors; without one there is full text only.
        lock_folder: where the writers' lock file is; the folder itself by default.
    """

    def __init__(self, location: str | Path, embedder: Embedder | None, lock_folder: Path | None = None) -> None:
        self.location = str(location)
        self.embedder = embedder
        is_remote = "://" in self.location
        if is_remote and lock_folder is None:
            raise KnowledgeError("An index in an object store needs a local folder for the writers' lock.")
        self._lock_folder = Path(lock_folder or location)
        self._write = threading.RLock()
        self._depth = 0
        self._tables: dict[str, Any] = {}
        self._read: OrderedDict[tuple[str, str], StoredPassage] = OrderedDict()

    # -- reading ---------------------------------------------------------------------------------------------------

    def lexical(self, text: str, where: str, limit: int) -> list[Candidate]:
        """Passages by full text, best first; the text must be enriched as the passages are."""
        table = self._table(_PASSAGES)
        if table is None:
            return []
        # Only now: while another thread loads LanceDB, one of its modules alone can't be loaded beside it.
        from lancedb.query import MatchQuery

        query = table.search(MatchQuery(text, "search_text")).select(["id", "content_hash", "_score"]).limit(limit)
        rows = (query.where(where) if where else query).to_arrow()
        columns = (rows[name].to_pylist() for name in ("id", "content_hash", "_score"))
        return [Candidate(*values) for values in zip(*columns, strict=True)]

    def dense(self, vector: Vectors, where: str, limit: int) -> list[Candidate]:
        """Chunks by vector, best first, each as its passage with its cosine: a passage may come several times."""
        table = self._table(self._chunk_table)
        if table is None:
            return []
        columns = ["passage_id", "content_hash", "_distance"]
        query = table.search(vector.reshape(-1)).distance_type("cosine").select(columns).limit(limit)
        if self._has_vector_index:
            query = query.refine_factor(max(1, _REFINED // limit))
        rows = (query.where(where) if where else query).to_arrow()
        found = zip(*(rows[name].to_pylist() for name in columns), strict=True)
        return [Candidate(identifier, content, 1.0 - distance) for identifier, content, distance in found]

    def look_up(self, candidates: Sequence[Candidate]) -> dict[str, StoredPassage]:
        """The passages of candidates by id; those that are not there (any more) are absent.

        A passage is known by its id and its document's hash, so what was read once need not be read again.
        """
        missing = [found.passage_id for found in candidates if (found.passage_id, found.content_hash) not in self._read]
        if missing:
            for stored in self._select(f"lookup IN ({_quoted(missing)})"):
                self._read[(stored.passage.id, stored.content_hash)] = stored
            while len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
        return {
            found.passage_id: self._read[(found.passage_id, found.content_hash)]
            for found in candidates
            if (found.passage_id, found.content_hash) in self._read
        }

    def remember(self) -> None:
        """Read all passages into memory, if they are few: later answers need not look them up."""
        table = self._table(_PASSAGES)
        if table is not None and table.count_rows() <= _REMEMBERED:
            for stored in self._select("position >= 0"):
                self._read[(stored.passage.id, stored.content_hash)] = stored

    def document(self, identifier: str) -> list[StoredPassage]:
        """All passages of a document in order; empty if there is none."""
        found = self._select(f"document_id = {_quote(identifier)}")
        return sorted(found, key=lambda stored: stored.passage.position)

    def select(self, where: str, limit: int | None = None) -> list[StoredPassage]:
        """Passages for which a SQL condition holds, in no order."""
        return self._select(where, limit)

    def content_hashes(self, origin: str | None = None) -> dict[str, str]:
        """Document → hash of what is indexed of it."""
        table = self._table(_PASSAGES)
        if table is None:
            return {}
        where = "position = 0" + (f" AND origin = {_quote(origin)}" if origin else "")
        rows = table.search().where(where).select(["document_id", "content_hash"]).limit(None).to_arrow()
        return dict(zip(rows["document_id"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))

    def platforms(self) -> set[str]:
        """Every platform that some document names."""
        table = self._table(_PASSAGES)
        if table is None:
            return set()
        rows = table.search().where("position = 0").select(["platforms"]).limit(None).to_arrow()
        return {platform for row in rows["platforms"].to_pylist() for platform in row} - {ANY}

    def counts(self) -> dict[str, Any]:
        """Documents by kind and origin, passages, chunks, embedder, bytes on disk."""
        table = self._table(_PASSAGES)
        kinds: dict[str, int] = {}
        origins: dict[str, int] = {}
        if table is not None:
            rows = table.search().where("position = 0").select(["kind", "origin"]).limit(None).to_arrow()
            for kind, origin in zip(rows["kind"].to_pylist(), rows["origin"].to_pylist(), strict=True):
                kinds[kind] = kinds.get(kind, 0) + 1
                origins[origin.partition(":")[0]] = origins.get(origin.partition(":")[0], 0) + 1
        chunks = self._table(self._chunk_table)
        folder = Path(self.location)
        return {
            "documents": sum(kinds.values()),
            "by_kind": dict(sorted(kinds.items())),
            "by_origin": dict(sorted(origins.items())),
            "passages": 0 if table is None else table.count_rows(),
            "chunks": 0 if chunks is None else chunks.count_rows(),
            "embedder": self.embedder.identity if self.embedder else None,
            "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if folder.is_dir()
            else None,
            "location": self.location,
        }

    def unembedded(self) -> list[str]:
        """Documents whose passages are here without vectors of this embedder."""
        if self.embedder is None:
            return []
        chunks = self._table(self._chunk_table)
        have: set[tuple[str, str]] = set()
        if chunks is not None:
            rows = chunks.search().select(["document_id", "content_hash"]).limit(None).to_arrow()
            have = set(zip(rows["document_id"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))
        return [name for name, content in self.content_hashes().items() if (name, content) not in have]

    # -- writing ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writers' lock; others wait. May be nested."""
        with self._write:
            if self._depth:
                yield
                return
            self._lock_folder.mkdir(parents=True, exist_ok=True)
            with (self._lock_folder / "writer.lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._depth = 1
                try:
                    for table in self._tables.values():
                        table.checkout_latest()
                    yield
                finally:
                    self._depth = 0

    def put(
        self,
        documents: Sequence[Document],
        ready: Callable[[str], Vectors | None] = lambda text: None,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Insert documents, or replace those of the same id. Durable when it returns.

        Args:
            documents: what to write.
            ready: gives the vector of a chunk's text where it is known already.
            progress: called with (chunks embedded, chunks in all).

        Returns:
            Number of passages written.
        """
        if not documents:
            return 0
        cut = [(document, passages_of(document)) for document in documents]
        chunk_rows = self._chunk_rows([_Cut.of(document, passages) for document, passages in cut], ready, progress)
        with self.writing():
            if chunk_rows:
                self._replace(
                    self._chunk_table, self._chunk_schema, chunk_rows, [document.id for document in documents]
                )
            rows = [_passage_row(document, passage) for document, passages in cut for passage in passages]
            self._replace(_PASSAGES, _passage_schema(), rows, [document.id for document in documents])
            self._keep_indexes()
        return len(rows)

    def embed(self, document_ids: Sequence[str], progress: Callable[[int, int], None] | None = None) -> int:
        """Make vectors of this embedder for documents that are here without, such as a user's under another embedder.

        Returns:
            Number of documents that have them now.
        """
        found = [self.document(name) for name in document_ids]
        cut = [
            _Cut(stored[0].passage.document_id, stored[0].kind, stored[0].platforms, stored[0].content_hash,
                 tuple(entry.passage for entry in stored))
            for stored in found
            if stored
        ]  # fmt: skip
        rows = self._chunk_rows(cut, lambda text: None, progress)
        if rows:
            with self.writing():
                self._replace(self._chunk_table, self._chunk_schema, rows, [entry.document_id for entry in cut])
                self._keep_indexes()
        return len(cut) if rows else 0

    def remove(self, document_ids: Sequence[str]) -> None:
        """Delete documents; unknown ids are ignored."""
        if not document_ids:
            return
        with self.writing():
            for name in (_PASSAGES, self._chunk_table):
                table = self._table(name)
                if table is not None:
                    table.delete(f"document_id IN ({_quoted(document_ids)})")

    def records(self, table: str) -> dict[str, str]:
        """Everything in a table of named JSON texts."""
        handle = self._table(table)
        if handle is None:
            return {}
        rows = handle.search().select(["id", "json"]).limit(None).to_arrow()
        return dict(zip(rows["id"].to_pylist(), rows["json"].to_pylist(), strict=True))

    def put_records(self, table: str, records: Mapping[str, str]) -> None:
        """Insert or replace named JSON texts. Durable when it returns."""
        import pyarrow as pa

        if not records:
            return
        schema = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("id", "json")])
        data = pa.table({"id": list(records), "json": list(records.values())}, schema=schema)
        with self.writing():
            handle = self._table(table)
            if handle is None:
                handle = self._tables[table] = self._database.create_table(table, data)
                handle.set_unenforced_primary_key("id")
            else:
                handle.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(data)

    def remove_records(self, table: str, identifiers: Sequence[str]) -> None:
        """Delete named JSON texts; unknown names are ignored."""
        with self.writing():
            handle = self._table(table)
            if handle is not None and identifiers:
                handle.delete(f"id IN ({_quoted(identifiers)})")

    def optimize(self) -> None:
        """Bring all indexes up to date and drop versions that nobody reads any more."""
        with self.writing():
            self._keep_indexes(everything=True)

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _chunk_table(self) -> str:
        return f"chunks_{self.embedder.identity}".replace("-", "_") if self.embedder else ""

    @cached_property
    def _database(self) -> Any:
        # Its warnings about result columns would fill stderr.
        os.environ.setdefault("LANCEDB_LOG", "error")
        import lancedb

        session = lancedb.Session(index_cache_size_bytes=_CACHE_BYTES, metadata_cache_size_bytes=_CACHE_BYTES // 4)
        # What another process wrote is seen a second later; looking each time would cost a tenth of a search.
        return lancedb.connect(self.location, session=session, read_consistency_interval=timedelta(seconds=1))

    def _table(self, name: str) -> Any | None:
        if not name:
            return None
        if name not in self._tables:
            with self._write:
                if name not in self._tables:
                    try:
                        self._tables[name] = self._database.open_table(name)
                    except ValueError:  # LanceDB: "Table '…' was not found"
                        return None
        return self._tables[name]

    def _select(self, where: str, limit: int | None = None) -> list[StoredPassage]:
        table = self._table(_PASSAGES)
        if table is None:
            return []
        rows = table.search().where(where).select(["record"]).limit(limit).to_arrow()
        return [_stored(text) for text in rows["record"].to_pylist()]

    def _chunk_rows(
        self,
        cut: Sequence[_Cut],
        ready: Callable[[str], Vectors | None],
        progress: Callable[[int, int], None] | None,
    ) -> list[dict[str, Any]]:
        if self.embedder is None:
            return []
        pieces: list[tuple[_Cut, Chunk]] = [
            (document, chunk)
            for document in cut
            for passage in document.passages
            for chunk in chunks_of(passage, tokens)
        ]
        vectors = {chunk.text: ready(chunk.text) for _, chunk in pieces}
        missing = [text for text, vector in vectors.items() if vector is None]
        for begin in range(0, len(missing), 64):
            batch = missing[begin : begin + 64]
            vectors.update(zip(batch, self.embedder.embed(batch), strict=True))
            if progress:
                progress(min(begin + 64, len(missing)), len(missing))
        return [
            {
                "id": chunk.id,
                "passage_id": chunk.passage_id,
                "document_id": document.document_id,
                "kind": document.kind.value,
                "reach": reach(document.platforms),
                "content_hash": document.content_hash,
                "embedder": self.embedder.identity,
                "vector": np.asarray(vectors[chunk.text], np.float32),
            }
            for document, chunk in pieces
        ]

    @cached_property
    def _chunk_schema(self) -> Any:
        import pyarrow as pa

        assert self.embedder is not None
        text = [pa.field(name, pa.string(), nullable=False) for name in ("id", "passage_id", "document_id", "kind")]
        return pa.schema(
            [
                *text,
                pa.field("reach", pa.list_(pa.string()), nullable=False),
                pa.field("content_hash", pa.string(), nullable=False),
                pa.field("embedder", pa.string(), nullable=False),
                pa.field("vector", pa.list_(pa.float32(), self.embedder.dimension), nullable=False),
            ]
        )

    def _replace(self, name: str, schema: Any, rows: list[dict[str, Any]], document_ids: Sequence[str]) -> None:
        """One atomic change: rows of these documents become exactly `rows`."""
        import pyarrow as pa

        data = pa.Table.from_pylist(rows, schema=schema)
        table = self._table(name)
        if table is None:
            table = self._database.create_table(name, data, exist_ok=False)
            # Without a key, writers that the lock does not hold (other hosts) would duplicate rows silently.
            table.set_unenforced_primary_key("id")
            self._tables[name] = table
            return
        (
            table.merge_insert("id")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .when_not_matched_by_source_delete(f"document_id IN ({_quoted(document_ids)})")
            .execute(data)
        )

    def _keep_indexes(self, everything: bool = False) -> None:
        from lancedb.index import FTS, BTree, IvfRq, LabelList

        passages = self._table(_PASSAGES)
        if passages is not None:
            names = {index.name for index in passages.list_indices()}
            if "search_text_idx" not in names:
                # Made after the first rows: an index made on an empty table finds nothing until it is optimised.
                config = FTS(stem=True, remove_stop_words=True, with_position=False, max_token_length=120)
                passages.create_index("search_text", config=config)
                passages.create_index("reach", config=LabelList())
                passages.create_index("lookup", config=BTree())
            elif everything or passages.index_stats("search_text_idx").num_unindexed_rows > max(
                50, _UNINDEXED_SHARE * passages.count_rows()
            ):
                passages.optimize(cleanup_older_than=timedelta(days=1))
        chunks = self._table(self._chunk_table)
        if chunks is not None:
            rows = chunks.count_rows()
            if rows >= _VECTOR_INDEX_FROM and not self._has_vector_index:
                chunks.create_index("vector", config=IvfRq(distance_type="cosine"))
                chunks.create_index("reach", config=LabelList())
                self.__dict__.pop("_has_vector_index", None)
            elif everything:
                chunks.optimize(cleanup_older_than=timedelta(days=1))

    @cached_property
    def _has_vector_index(self) -> bool:
        chunks = self._table(self._chunk_table)
        return chunks is not None and any("vector" in index.columns for index in chunks.list_indices())


def tokens(text: str) -> int:
    """Word pieces of a text."""
    return len(word_pieces().encode(text, add_special_tokens=False).ids)


def reach(platforms: Iterable[str]) -> list[str]:
    """Every platform for whose question a document is of use: its own, the narrower ones, and the wider ones."""
    found: set[str] = set()
    for platform in platforms:
        if platform == ANY:
            return [ANY]
        found.add(platform)
        if platform in PLATFORM_PARENTS:
            found.update(ancestry(platform))
            found.update(other for other in PLATFORM_PARENTS if platform in ancestry(other))
    return sorted(found - {ANY})


def where_clause(platforms: Sequence[str] = (), kinds: Sequence[Kind] = ()) -> str:
    """The SQL condition for documents that hold for any of some platforms and are of some kinds."""
    parts = []
    if platforms:
        parts.append(f"array_has_any(reach, [{_quoted([*platforms, ANY])}])")
    if kinds:
        parts.append(f"kind IN ({_quoted(kind.value for kind in kinds)})")
    return " AND ".join(parts)


def _passage_schema() -> Any:
    """What the database filters and searches by is a column; everything else is one, since each column read costs."""
    import pyarrow as pa

    def text(name: str) -> Any:
        return pa.field(name, pa.string(), nullable=False)

    def texts(name: str) -> Any:
        return pa.field(name, pa.list_(pa.string()), nullable=False)

    return pa.schema(
        [
            *map(text, ("id", "document_id")),
            pa.field("position", pa.int32(), nullable=False),
            *map(text, ("kind", "severity", "origin", "content_hash", "search_text", "lookup", "record")),
            *map(texts, ("platforms", "reach")),
        ]
    )


def _passage_row(document: Document, passage: Passage) -> dict[str, Any]:
    record = {
        "passage": [passage.id, passage.document_id, passage.position, passage.heading, passage.text],
        **{name: getattr(document, name) for name in _LISTS},
        **{name: getattr(document, name) for name in ("severity", "confidence", "checked", "origin", "title")},
        "kind": document.kind.value,
        "sources": [source.model_dump() for source in document.sources],
        "content_hash": document.content_hash,
    }
    return {
        "id": passage.id,
        "document_id": document.id,
        "position": passage.position,
        "kind": document.kind.value,
        "severity": document.severity,
        "origin": document.origin,
        "content_hash": document.content_hash,
        "search_text": enrich_text("\n".join([passage.heading, passage.text, *passage.asked])),
        # The id once more: an index on the key itself would let writers on other hosts duplicate rows.
        "lookup": passage.id,
        "record": json.dumps(record, ensure_ascii=False),
        "platforms": list(document.platforms),
        "reach": reach(document.platforms),
    }


def _stored(text: str) -> StoredPassage:
    record: dict[str, Any] = json.loads(text)
    lists: dict[str, Any] = {name: tuple(record.pop(name)) for name in _LISTS}
    return StoredPassage(
        passage=Passage(*record.pop("passage")),
        kind=Kind(record.pop("kind")),
        sources=tuple(Source.model_construct(**source) for source in record.pop("sources")),
        **lists,
        **record,
    )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(_quote(text) for text in texts) or "''"
