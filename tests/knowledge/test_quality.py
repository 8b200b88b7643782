"""The retrieval benchmark: the field's measures, questions with labels, retrieval as good as it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.corpus import shipped_documents
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.facts import known_sheets
from kernelevolve.knowledge.passages import passages_of
from kernelevolve.knowledge.quality import (
    Method,
    Question,
    Split,
    evaluate,
    ndcg_at,
    problems,
    read_questions,
    shipped_questions,
)

QUESTIONS = shipped_questions()


@pytest.mark.parametrize(
    ("hits", "right", "expected"),
    [
        ([True, False, False], 1, 1.0),
        ([False, True], 1, 1 / math.log2(3)),
        ([False] * 10 + [True], 1, 0.0),
        ([True, False, True], 2, (1 + 0.5) / (1 + 1 / math.log2(3))),
        ([], 2, 0.0),
        ([], 0, 0.0),
    ],
)
def test_ndcg_is_what_the_literature_says(hits: list[bool], right: int, expected: float) -> None:
    assert ndcg_at(hits, right) == pytest.approx(expected)


def test_there_are_enough_questions_of_every_kind_and_in_both_halves() -> None:
    assert len(QUESTIONS) >= 200
    for kind in ("prose", "identifier", "spec"):
        for split in Split:
            assert sum(question.kind == kind and question.split is split for question in QUESTIONS) >= 15


def test_labels_name_what_is_there() -> None:
    passages = [passage.id for document in shipped_documents() for passage in passages_of(document)]

    assert problems(QUESTIONS, passages) == []


def test_labels_of_numbers_name_fields_that_the_sheets_have() -> None:
    sheets = known_sheets()
    for question in QUESTIONS:
        for name in question.relevant:
            document, colon, field = name.partition(":")
            if colon:
                assert field in sheets[document.removeprefix("chips/")].facts, (question.id, name)


def test_retrieval_stays_as_good_as_it_was(base: KnowledgeBase) -> None:
    """A floor under the tuning half, well below what is measured: a change that breaks retrieval falls through it."""
    tuning = [question for question in QUESTIONS if question.split is Split.TUNING]

    scores, _ = evaluate(base, tuning, [Method.SERVED])

    by_kind = {score.kind: score for score in scores}
    assert by_kind["all"].recall >= 0.9
    assert by_kind["identifier"].recall >= 0.95
    assert by_kind["spec"].recall >= 0.95


def test_a_question_that_nothing_answers_counts_as_a_miss(base: KnowledgeBase) -> None:
    question = Question(id="x", kind="prose", question="how do I bake bread", answer="in an oven", source="a cook")

    scores, ranks = evaluate(base, [question], [Method.SERVED])

    assert [score.recall for score in scores] == [0.0, 0.0]
    assert ranks[0]["first_right"] is None


def test_a_line_that_is_no_question_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"id": "a", "kind": "prose", "question": "q", "answer": "a", "source": "s"}\n{"id": "b"}\n')

    with pytest.raises(KnowledgeError, match="line 2: kind"):
        read_questions([file])
