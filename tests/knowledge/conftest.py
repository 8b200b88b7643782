"""One knowledge base over the shipped documents for all tests that only read; small ones for those that write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.document import Document
from kernelevolve.knowledge.embedding import load_embedder
from kernelevolve.knowledge.store import KnowledgeStore


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    """The shipped documents, indexed."""
    made = KnowledgeBase(tmp_path_factory.mktemp("knowledge"))
    made.open()
    return made


@pytest.fixture
def store(tmp_path: Path) -> KnowledgeStore:
    """An empty index with the usual embedder."""
    return KnowledgeStore(tmp_path / "index", load_embedder())


@pytest.fixture(scope="session")
def write() -> Callable[..., Document]:
    """Make a small document."""

    def make(name: str, body: str, **more: object) -> Document:
        fields = {"title": f"Document {name}", "kind": "hardware", "platforms": ("hopper",), "origin": "user:test"}
        return Document.model_validate({"id": f"user/{name}", "body": body, **fields, **more})

    return make
