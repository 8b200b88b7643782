"""How long `retrieve_hardware_docs` takes over stdio, against the sum of what it can't do without.

The sum is a bare echo tool's round trip over stdio, the embedding of the query, and a bare LanceDB hybrid query of a
table of the same size, all measured in turns in one run. The index is the shipped corpus, filled up with made-up
passages (words of the corpus by their frequency, vectors around the corpus's own) to the sizes asked for.

    python benchmarks/retrieval_latency.py --sizes 0 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pyarrow as pa
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from kernelevolve.knowledge import corpus
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.identifiers import enrich_text
from kernelevolve.knowledge.passages import passages_of
from kernelevolve.knowledge.quality import Split, shipped_questions
from kernelevolve.knowledge.store import _PASSAGES, _VECTOR_INDEX_FROM, KnowledgeStore, _passage_row, _passage_schema

HERE = Path(__file__).resolve().parent
_BATCH = 20_000
_SETTLE_S = 20.0
"""Time for a server to load what it loads in the background."""


class Filler:
    """Makes passages that look like the corpus to the index."""

    def __init__(self, base: KnowledgeBase) -> None:
        documents = corpus.shipped_documents()
        self.document = documents[0].model_copy(update={"origin": "user:made", "body": "made up"})
        counts = Counter(
            word for document in documents for passage in passages_of(document) for word in passage.text.split()
        )
        self.words = np.array(list(counts))
        shares = np.array(list(counts.values()), float)
        self.shares = shares / shares.sum()
        assert base.embedder is not None
        self.vectors = np.array(list(corpus.shipped_vectors(base.embedder).values()), np.float32)
        self.random = np.random.default_rng(0)

    def texts(self, count: int) -> list[str]:
        """Passages of 60 words."""
        drawn = self.random.choice(self.words, size=(count, 60), p=self.shares)
        return [" ".join(row) for row in drawn]

    def unit_vectors(self, count: int) -> Any:
        """Vectors around those of the corpus."""
        centres = self.vectors[self.random.integers(0, len(self.vectors), count)]
        noisy = centres + self.random.normal(0, 0.03, centres.shape).astype(np.float32)
        return noisy / np.linalg.norm(noisy, axis=1, keepdims=True)


def fill(store: KnowledgeStore, filler: Filler, rows: int) -> None:
    """Add so many made-up passages with one chunk each."""
    assert store.embedder is not None
    passages, chunks = store._table(_PASSAGES), store._table(store._chunk_table)
    assert passages is not None
    assert chunks is not None
    template = _passage_row(filler.document, passages_of(filler.document)[0])
    template["content_hash"] = "0"
    record = {**json.loads(template["record"]), "content_hash": "0"}
    reaches = [["hopper", "nvidia"], ["amd", "cdna3"], ["*"], ["cpu"]]
    done = chunks.count_rows()
    for begin in range(0, rows, _BATCH):
        count = min(_BATCH, rows - begin)
        texts, vectors = filler.texts(count), filler.unit_vectors(count)
        names = [f"user/made/d{done + begin + number}" for number in range(count)]
        made = []
        for number, (name, text) in enumerate(zip(names, texts, strict=True)):
            record["passage"] = [f"{name}#top", name, 0, "Made up", text]
            own = {"id": f"{name}#top", "lookup": f"{name}#top", "document_id": name, "search_text": enrich_text(text)}
            made.append({**template, **own, "record": json.dumps(record), "reach": reaches[number % 4]})
        passages.add(pa.Table.from_pylist(made, schema=_passage_schema()))
        chunks.add(
            pa.table(
                {
                    "id": [f"{name}#top~0" for name in names],
                    "passage_id": [f"{name}#top" for name in names],
                    "document_id": names,
                    "kind": ["hardware"] * count,
                    "reach": [reaches[number % 4] for number in range(count)],
                    "content_hash": ["0"] * count,
                    "embedder": [store.embedder.identity] * count,
                    "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
                },
                schema=store._chunk_schema,
            )
        )


def bare_table(folder: Path, filler: Filler, rows: int) -> Any:
    """What one would write without this project: one table with a text, a vector and both indexes."""
    import lancedb
    from lancedb.index import FTS, IvfRq

    table = None
    for begin in range(0, rows, _BATCH):
        count = min(_BATCH, rows - begin)
        vectors = filler.unit_vectors(count)
        data = pa.table(
            {
                "id": [str(begin + number) for number in range(count)],
                "text": filler.texts(count),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
            }
        )
        table = lancedb.connect(folder).create_table("bare", data) if table is None else table
        if begin:
            table.add(data)
    assert table is not None
    table.create_index("text", config=FTS(stem=True, remove_stop_words=True, with_position=False, max_token_length=120))
    if rows >= _VECTOR_INDEX_FROM:
        table.create_index("vector", config=IvfRq(distance_type="cosine"))
    return table


def memory_mib(word: str) -> float:
    """Resident memory of a child process by a word of its command line, MiB."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            if word.encode() in words and b"serve" in words:
                status = (path.parent / "status").read_text()
                return int(status.partition("VmRSS:")[2].split()[0]) / 1024
        except OSError:
            continue
    return float("nan")


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    """Milliseconds of one call."""
    begin = time.perf_counter()
    await work()
    return 1e3 * (time.perf_counter() - begin)


async def measure(state: Path, table: Any, base: KnowledgeBase, queries: list[str], calls: int) -> dict[str, Any]:
    """All parts in turns."""
    from lancedb.rerankers import RRFReranker

    reranker = RRFReranker()
    embedder = base.embedder
    assert embedder is not None
    ours = StdioServerParameters(
        command=sys.executable,
        args=["-m", "kernelevolve.server", "serve", "--state", str(state)],
        env={**os.environ, "LANCEDB_LOG": "error"},
    )
    echo = StdioServerParameters(
        command=sys.executable, args=[str(HERE / "peers" / "echo_server.py")], env=dict(os.environ)
    )
    has_index = table.count_rows() >= _VECTOR_INDEX_FROM
    parts: dict[str, list[float]] = {"echo": [], "embedding": [], "hybrid": [], "ours": []}

    async def embed(query: str) -> None:
        embedder.embed([query])

    async def hybrid(query: str, vector: Any) -> None:
        search = table.search(query_type="hybrid").vector(vector).text(query).rerank(reranker).limit(10)
        (search.refine_factor(50) if has_index else search).to_list()

    with Path(os.devnull).open("w") as quiet:
        async with (
            Client(stdio_client(echo, errlog=quiet)) as echo_client,
            Client(stdio_client(ours, errlog=quiet)) as client,
        ):
            await client.call_tool("retrieve_hardware_docs", {"query": "warm up"})
            await anyio.sleep(_SETTLE_S)
            for number in range(calls + 10):
                query = queries[number % len(queries)]
                vector = embedder.embed([query])[0]
                times = {
                    "echo": await timed(lambda query=query: echo_client.call_tool("echo", {"query": query})),
                    "embedding": await timed(lambda query=query: embed(query)),
                    "hybrid": await timed(lambda query=query, vector=vector: hybrid(query, vector)),
                    "ours": await timed(
                        lambda query=query: client.call_tool("retrieve_hardware_docs", {"query": query})
                    ),
                }
                if number >= 10:
                    for name, value in times.items():
                        parts[name].append(value)
            memory = memory_mib(str(state))
    result: dict[str, Any] = {
        name: {"p50_ms": float(np.percentile(values, 50)), "p99_ms": float(np.percentile(values, 99))}
        for name, values in parts.items()
    }
    floor = sum(result[name]["p50_ms"] for name in ("echo", "embedding", "hybrid"))
    return {**result, "sum_p50_ms": floor, "ratio_p50": result["ours"]["p50_ms"] / floor, "server_mib": memory}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[0, 10_000, 100_000, 1_000_000], help="0: shipped only")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "retrieval_latency.json")
    given = parser.parse_args()
    queries = [question.question for question in shipped_questions() if question.split is Split.TUNING]
    results = {}
    folder = Path(tempfile.mkdtemp(prefix="kernelevolve-latency-"))
    try:
        base = KnowledgeBase(folder / "state")
        base.open()
        filler = Filler(base)
        shipped = base.store.counts()["chunks"]
        for size in given.sizes:
            begin = time.perf_counter()
            have = base.store.counts()["chunks"]
            if size > have:
                fill(base.store, filler, size - have)
                base.store.optimize()
            built = time.perf_counter() - begin
            counts = base.store.counts()
            table = bare_table(folder / f"bare{size}", filler, max(size, shipped))
            figures = anyio.run(measure, folder / "state", table, base, queries, given.calls)
            shutil.rmtree(folder / f"bare{size}")
            figures.update(chunks=counts["chunks"], disk_mib=counts["bytes"] / 2**20, build_s=built)
            results[str(size)] = figures
            print(
                f"{counts['chunks']:>9,} chunks: {figures['ours']['p50_ms']:.1f} ms p50, "
                f"{figures['ours']['p99_ms']:.1f} p99; "
                f"echo {figures['echo']['p50_ms']:.1f} + embedding {figures['embedding']['p50_ms']:.1f} + bare hybrid "
                f"{figures['hybrid']['p50_ms']:.1f} = {figures['sum_p50_ms']:.1f}; x{figures['ratio_p50']:.2f}; server "
                f"{figures['server_mib']:.0f} MiB, index {figures['disk_mib']:.0f} MiB on disk, built in {built:.0f} s",
                flush=True,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
