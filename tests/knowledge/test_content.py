"""The shipped documents: enough of them, every link leads somewhere, every sample is accepted by the judge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platform import Level
from kernelevolve.knowledge import corpus
from kernelevolve.knowledge.corpus import CONTENT, check, read_content
from kernelevolve.knowledge.embedding import load_embedder
from kernelevolve.knowledge.passages import passages_of
from kernelevolve.knowledge.vocabulary import PLATFORM_PARENTS, Kind, ancestry, holds_for

DOCUMENTS = read_content()[0]
SAMPLES = sorted(path.parent for path in CONTENT.glob("code_samples/*/index.md"))
CANDIDATES = {"triton.py": ("cuda:sm_90", "hip:gfx950"), "kernel.cpp": ("cpu",)}


def test_every_document_can_be_read_and_every_link_leads_somewhere() -> None:
    assert check() == []


def test_there_are_at_least_a_hundred_documents() -> None:
    assert len(DOCUMENTS) >= 100


@pytest.mark.parametrize("platform", ["ampere", "hopper", "blackwell", "cdna3", "cdna4", "mtia", "cpu"])
def test_each_platform_has_at_least_fifteen_of_its_own(platform: str) -> None:
    """Its own: about it or about its vendor, not what holds everywhere."""
    own = [
        document
        for document in DOCUMENTS
        if any(name != "*" and holds_for((name,), platform) for name in document.platforms)
    ]
    assert len(own) >= 15


@pytest.mark.parametrize(
    "topic",
    ["tiling", "fusion", "coalescing", "shared_memory", "pipelining", "persistent", "split_k", "reduction",
     "normalization", "attention", "jagged", "embedding", "numerics", "autotuning", "versions", "debugging"],
)  # fmt: skip
def test_each_topic_that_authors_ask_for_has_guidance(topic: str) -> None:
    kinds = Counter(document.kind for document in DOCUMENTS if topic in document.topics)
    assert kinds[Kind.GUIDANCE] >= 1


def test_what_is_said_of_mtia_is_marked_as_public_summary() -> None:
    mtia = [document for document in DOCUMENTS if document.id.startswith("hardware/mtia/")]
    assert {document.confidence for document in mtia} <= {"public_summary"}


def test_rules_that_are_always_shown_are_few_and_short() -> None:
    must = [document for document in DOCUMENTS if document.severity == "must"]
    assert 0 < len(must) <= 12
    # The lines with questions are indexed and never shown.
    assert all(sum(len(passage.text) for passage in passages_of(document)) < 1_000 for document in must)


def test_sections_can_be_shown_whole() -> None:
    long = [passage.id for document in DOCUMENTS for passage in passages_of(document) if len(passage.text) > 2_400]
    assert all("#source-" in name for name in long), long


def test_platforms_of_documents_match_their_folders() -> None:
    folders = {"ampere", "hopper", "blackwell", "cdna3", "cdna4", "mtia", "cpu"}
    for document in DOCUMENTS:
        for folder in folders & set(document.id.split("/")):
            assert any(folder in ancestry(name) or name in ancestry(folder) for name in document.platforms), document.id
    assert folders <= set(PLATFORM_PARENTS)


def test_the_shipped_vectors_are_up_to_date() -> None:
    """`python -m kernelevolve.knowledge.corpus` makes them: without them the first question waits for half a minute."""
    vectors = corpus.shipped_vectors(load_embedder())

    missing = [
        text for text in corpus.chunk_texts(corpus.shipped_documents()) if corpus.vector_key(text) not in vectors
    ]

    assert missing == []


@pytest.mark.parametrize("folder", SAMPLES, ids=[path.name for path in SAMPLES])
def test_the_judge_accepts_each_sample(folder: Path, judge: Judge) -> None:
    (path,) = [folder / name for name in CANDIDATES if (folder / name).exists()]
    platforms = CANDIDATES[path.name]
    request = JudgeRequest(
        task=str(folder / "task.py"), candidate=Candidate.from_file(path), platforms=platforms, trials=2, timed_calls=0
    )  # fmt: skip

    verdict = judge.judge(request)

    for entry in verdict.platforms:
        assert entry.status is Status.CORRECT, entry.diagnosis
        assert entry.level is (Level.EXECUTED if path.suffix == ".cpp" else Level.INTERPRETED)
        assert entry.checks > 0
