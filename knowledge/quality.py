"""How good retrieval is: questions with known answers, recall and nDCG for words, vectors and both.

A question names what answers it: passages (`<document>#<section>`), numbers (`chips/<chip>:<field>`). Half of the
questions are held out by the hash of their text: nobody looks at them while tuning.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from kernelevolve.evaluation.contract import Contract
from kernelevolve.knowledge.base import URI, KnowledgeBase
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.facts import spec_answers
from kernelevolve.knowledge.retrieval import Filters

QUESTIONS = Path(__file__).parent / "questions"
_SHOWN = 10
_RECALL_AT = 5


class Split(StrEnum):
    """Which half of the questions."""

    TUNING = "tuning"
    HELD_OUT = "held_out"


class Question(Contract):
    """A question with what answers it."""

    id: str
    kind: str
    """`prose`, `identifier` or `spec`."""
    question: str
    platforms: tuple[str, ...] = ()
    """Filter that its asker would set."""
    answer: str
    """The fact, for people."""
    source: str
    """Where the question was written from; never a document of this knowledge base."""
    relevant: tuple[str, ...] = ()
    """What answers it; empty if nothing here does, which counts as a miss."""

    @property
    def split(self) -> Split:
        """Decided by the question's text alone."""
        return Split.HELD_OUT if hashlib.sha256(self.question.encode()).digest()[0] % 2 else Split.TUNING


class Method(StrEnum):
    """A way to retrieve."""

    WORDS = "full text"
    VECTORS = "vectors"
    HYBRID = "hybrid"
    SERVED = "as served"
    """Hybrid, with exact numbers from spec sheets first: what the tool answers."""


@dataclass(frozen=True)
class Score:
    """How a method did on some questions."""

    method: Method
    kind: str
    """Kind of the questions; `all` for all."""
    questions: int
    recall: float
    """Share with a right answer among the first five."""
    ndcg: float
    """nDCG@10 with one grade (Järvelin and Kekäläinen 2002); the ideal has all right
    ones first, ten at most."""
    p50_ms: float
    """Median time of one question."""


def read_questions(files: Iterable[Path]) -> list[Question]:
    """Questions of JSONL files.

    Raises:
        KnowledgeError: a line is no question; the text says which.
    """
    found = []
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                try:
                    found.append(Question.model_validate_json(line))
                except ValidationError as error:
                    problem = error.errors()[0]
                    where = ".".join(map(str, problem["loc"]))
                    raise KnowledgeError(f"{file}, line {number}: {where}: {problem['msg']}.") from error
    return found


def shipped_questions() -> list[Question]:
    """The questions that come with the package."""
    return read_questions(sorted(QUESTIONS.glob("*.jsonl")))


def evaluate(
    base: KnowledgeBase,
    questions: Sequence[Question],
    methods: Sequence[Method] = tuple(Method),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Score], list[dict[str, object]]]:
    """Ask every question in every way.

    Returns:
        Scores by method and kind, and for each question and method what was found at which rank.
    """
    base.open()
    ranks: list[dict[str, object]] = []
    results: dict[tuple[Method, str], list[tuple[float, float, float]]] = {}
    asked = 0
    for question in questions:
        for method in methods:
            begin = time.perf_counter()
            found = answers(base, question, method)
            milliseconds = 1e3 * (time.perf_counter() - begin)
            hits = [name in question.relevant for name in found]
            recall, ndcg = float(any(hits[:_RECALL_AT])), ndcg_at(hits, len(question.relevant))
            for kind in (question.kind, "all"):
                results.setdefault((method, kind), []).append((recall, ndcg, milliseconds))
            first = hits.index(True) + 1 if True in hits else None
            ranks.append({"id": question.id, "method": method.value, "first_right": first, "found": found[:_RECALL_AT]})
            asked += 1
            if progress:
                progress(asked, len(questions) * len(methods))
    scores = []
    for (method, kind), values in results.items():
        times = sorted(value[2] for value in values)
        scores.append(
            Score(
                method=method,
                kind=kind,
                questions=len(values),
                recall=sum(value[0] for value in values) / len(values),
                ndcg=sum(value[1] for value in values) / len(values),
                p50_ms=times[len(times) // 2],
            )
        )
    return scores, ranks


def answers(base: KnowledgeBase, question: Question, method: Method) -> list[str]:
    """Names of what is found, best first, at most ten."""
    platforms = base.resolve(question.platforms)
    if method is Method.SERVED:
        numbers = [f"{answer.document}:{answer.field.name}" for answer in spec_answers(question.question, platforms)]
        served = base.ask(question.question, platforms=question.platforms, limit=_SHOWN)
        return [*numbers, *(passage.uri.removeprefix(URI) for passage in served.passages)][:_SHOWN]
    hits = base.retriever.search(
        question.question,
        Filters(platforms=platforms),
        _SHOWN,
        lexical=method is not Method.VECTORS,
        dense=method is not Method.WORDS,
    )
    return [hit.stored.passage.id for hit in hits]


def ndcg_at(hits: Sequence[bool], right: int, depth: int = _SHOWN) -> float:
    """nDCG at a depth, with grades 0 and 1.

    Args:
        hits: whether each answer is right, best first.
        right: how many right answers there are.
        depth: answers looked at.
    """
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(right, depth) + 1))
    gained = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(hits[:depth], 1) if hit)
    return gained / ideal if ideal else 0.0


def problems(questions: Sequence[Question], known: Iterable[str]) -> list[str]:
    """What is wrong with labels: names of passages that are not there, questions that ask the same."""
    names = set(known)
    found = [
        f"{question.id}: {name!r} is not there"
        for question in questions
        for name in question.relevant
        if ":" not in name and name not in names
    ]
    seen: dict[str, str] = {}
    for question in questions:
        key = " ".join(question.question.lower().split())
        if key in seen:
            found.append(f"{question.id} asks the same as {seen[key]}")
        seen[key] = question.id
    return found
