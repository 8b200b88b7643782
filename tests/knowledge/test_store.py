"""The index: what is written stays, readers and writers in several processes do not disturb each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kernelevolve.knowledge.document import Document
from kernelevolve.knowledge.embedding import Embedder, load_embedder
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.retrieval import Filters, Retriever
from kernelevolve.knowledge.store import KnowledgeStore, _Cut, reach, where_clause

Write = Callable[..., Document]
WRITER = """
import sys
from pathlib import Path
from kernelevolve.knowledge.document import Document
from kernelevolve.knowledge.embedding import load_embedder
from kernelevolve.knowledge.store import KnowledgeStore
store = KnowledgeStore(sys.argv[1], load_embedder())
name, count = sys.argv[2], int(sys.argv[3])
for number in range(count):
    # All writers also fight for one document.
    for identifier in (f"user/{name}_{number}", "user/shared"):
        document = Document(id=identifier, title=f"Document {name}", kind="hardware", platforms=("hopper",),
                            body=f"Register zebra_{name}_{number} holds value {number}.", origin="user:test")
        store.put([document])
    print(number, flush=True)
"""
READER = """
import sys
from kernelevolve.knowledge.embedding import load_embedder
from kernelevolve.knowledge.retrieval import Filters, Retriever
from kernelevolve.knowledge.store import KnowledgeStore
retriever = Retriever(KnowledgeStore(sys.argv[1], load_embedder()))
count = 0
while not sys.stdin.closed and count < 10_000:
    hits = retriever.search("which register holds a value", Filters(platforms=("hopper",)), 5)
    assert hits, "nothing found"
    count += 1
    print(count, flush=True)
"""


def test_a_document_is_replaced_as_a_whole(store: KnowledgeStore, write: Write) -> None:
    store.put([write("a", "Intro.\n\n## Old\n\nOld text."), write("b", "Other.")])

    store.put([write("a", "## New\n\nNew text.")])

    assert [entry.passage.id for entry in store.document("user/a")] == ["user/a#new"]
    assert store.counts()["documents"] == 2
    assert store.counts()["chunks"] == 2


def test_a_removed_document_is_found_no_more(store: KnowledgeStore, write: Write) -> None:
    store.put([write("a", "Alpha text about zebras."), write("b", "Beta text about lions.")])

    store.remove(["user/a", "user/unknown"])

    found = {hit.stored.passage.document_id for hit in Retriever(store).search("zebras", Filters(), 5)}
    assert found == {"user/b"}


def test_new_text_is_found_before_the_index_is_brought_up_to_date(store: KnowledgeStore, write: Write) -> None:
    store.put([write(f"d{number}", f"Text number {number}.") for number in range(20)])

    store.put([write("late", "The instruction `wait.dma.queue` waits.")])

    (first, *_) = Retriever(store).search("wait.dma.queue", Filters(), 3)
    assert first.stored.passage.document_id == "user/late"


def test_quotes_in_names_are_no_sql(store: KnowledgeStore, write: Write) -> None:
    store.put([write("a", "Text.")])

    assert store.document("x' OR '1'='1") == []
    store.remove(["x') OR ('1'='1"])
    assert store.counts()["documents"] == 1


def test_vectors_of_two_embedders_never_meet(tmp_path: Path, write: Write) -> None:
    class Other(Embedder):
        name, dimension, fingerprint = "other", 8, "f" * 64

        def embed(self, texts):  # type: ignore[no-untyped-def]
            vectors = np.zeros((len(texts), 8), np.float32)
            vectors[:, 0] = 1
            return vectors

    first = KnowledgeStore(tmp_path / "index", load_embedder())
    first.put([write("a", "Text about zebras.")])

    second = KnowledgeStore(tmp_path / "index", Other())

    assert second.unembedded() == ["user/a"]
    assert second.dense(np.eye(8, dtype=np.float32)[0], "", 5) == []
    assert [hit.stored.passage.id for hit in Retriever(second).search("zebras", Filters(), 3)] == ["user/a#top"]

    assert second.embed(["user/a", "user/not_here"]) == 1
    assert second.unembedded() == []
    assert [found[0] for found in second.dense(np.eye(8, dtype=np.float32)[0], "", 5)] == ["user/a#top"]
    assert first.unembedded() == [], "the first embedder's vectors are gone"


def test_full_text_alone_works_without_an_embedder(tmp_path: Path, write: Write) -> None:
    store = KnowledgeStore(tmp_path / "index", None)
    store.put([write("a", "Use `tl.dot_scaled` here."), write("b", "Something else.")])

    (hit,) = Retriever(store).search("tl.dot_scaled", Filters(), 5)

    assert (hit.stored.passage.document_id, hit.dense_rank) == ("user/a", None)


def test_an_object_store_needs_a_folder_for_the_lock() -> None:
    with pytest.raises(KnowledgeError, match="local folder"):
        KnowledgeStore("s3://bucket/knowledge", None)


@pytest.mark.parametrize(
    ("platforms", "asked", "found"),
    [(("hopper",), "hopper", True), (("nvidia",), "hopper", True), (("hopper",), "nvidia", True), (("*",), "amd", True),
     (("acme",), "acme", True), (("hopper",), "amd", False), (("hopper",), "ampere", False)],
)  # fmt: skip
def test_the_database_filters_as_the_vocabulary_says(
    store: KnowledgeStore, write: Write, platforms: tuple[str, ...], asked: str, found: bool
) -> None:
    store.put([write("a", "Text.", platforms=platforms)])

    assert bool(store.select(where_clause((asked,)))) is found
    assert reach(("*",)) == ["*"]


@pytest.mark.slow
def test_writers_and_readers_at_once_and_one_writer_killed(tmp_path: Path, write: Write) -> None:
    """Nothing that a writer reported is lost, nobody sees an error, no row is there twice."""
    index = tmp_path / "index"
    store = KnowledgeStore(index, load_embedder())
    store.put([write("seed", "Register zero holds value none.")])
    environment = {**os.environ, "LANCEDB_LOG": "error"}

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(index), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    victim = start(WRITER, "victim", "1000")
    writers = {name: start(WRITER, name, "8") for name in ("red", "blue")}
    readers = [start(READER) for _ in range(3)]
    assert victim.stdout is not None
    for line in victim.stdout:
        if int(line) >= 3:
            break
    victim.send_signal(signal.SIGKILL)
    acknowledged = {f"user/victim_{number}" for number in range(4)}
    for name, writer in writers.items():
        out, errors = writer.communicate(timeout=200)
        assert writer.returncode == 0, errors
        acknowledged |= {f"user/{name}_{number}" for number in range(8)}
        assert len(out.splitlines()) == 8
    for reader in readers:
        assert reader.poll() is None, reader.stderr.read() if reader.stderr else ""
        reader.kill()
        out, errors = reader.communicate(timeout=60)
        assert "Traceback" not in errors
        assert len(out.splitlines()) > 0
    victim.communicate(timeout=60)

    after = KnowledgeStore(index, load_embedder())
    assert acknowledged <= set(after.content_hashes())
    rows = [entry.passage.id for entry in after.select("position >= 0")]
    assert len(rows) == len(set(rows))
    assert after.document("user/shared")
    after.put([write("later", "The lock is free.")])
    assert "user/later" in after.content_hashes()


def test_a_killed_writers_half_document_is_mended_by_the_next_write(store: KnowledgeStore, write: Write) -> None:
    document = write("a", "Text about zebras.")
    store.put([write("b", "Other.")])
    # Killed between the two tables: the chunks are there, the passages are not.
    rows = store._chunk_rows([_Cut.of(document, _passages(document))], lambda text: None, None)
    store._replace(store._chunk_table, store._chunk_schema, rows, [document.id])

    assert {hit.stored.passage.document_id for hit in Retriever(store).search("zebras", Filters(), 5)} == {"user/b"}
    store.put([document])

    assert store.counts()["chunks"] == 2
    assert Retriever(store).search("zebras", Filters(), 1)[0].stored.passage.document_id == "user/a"


def test_named_json_texts_are_kept(store: KnowledgeStore) -> None:
    store.put_records("notes", {"a": json.dumps(1), "b": json.dumps(2)})
    store.put_records("notes", {"b": json.dumps(3)})
    store.remove_records("notes", ["a", "x"])

    assert store.records("notes") == {"b": "3"}
    assert store.records("nothing") == {}


def _passages(document: Document) -> list[object]:
    from kernelevolve.knowledge.passages import passages_of

    return list(passages_of(document))
