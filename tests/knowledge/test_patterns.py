"""Patterns: kept with proof only, merged by what they are, stale when the tools change."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.receipt import Receipt, canonical_hash
from kernelevolve.evaluation.verdict import Diagnosis, PlatformVerdict, Speed, SpeedSummary, Verdict
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.pattern import Outcome, PatternStatus, PatternText, Proof
from kernelevolve.knowledge.patterns import PatternShelf, document_id, pattern_key, stale_because

TEXT = PatternText(
    name="Split the reduction over blocks",
    mechanism="Too few rows leave most multiprocessors idle; partial sums use all of them.",
    method="Give each row to several programs, write partial sums, add them in a second kernel.",
    structure="partial[pid] = tl.sum(x)",
    conditions="Fewer rows than multiprocessors, rows of more than 16,384 elements.",
    operator="reduction",
    platform="cuda:sm_90",
    language="triton",
    bottlenecks=("low_parallelism",),
)


def verdict(speedup: float | None, *, task: str = "t" * 64, source: str = "s" * 64) -> Verdict:
    """A verdict with a receipt that holds; `None` is a wrong candidate."""
    if speedup is None:
        diagnosis = Diagnosis(finding=Finding.WRONG_VALUES, summary="wrong")
        entry = PlatformVerdict(
            platform="cuda:sm_90", status=Status.WRONG, level=Level.EXECUTED, diagnosis=diagnosis
        )  # fmt: skip
    else:
        speed = SpeedSummary(
            baseline="eager", speedup=speedup, low=speedup - 0.02, high=speedup + 0.02, speed=Speed.FASTER
        )  # fmt: skip
        entry = PlatformVerdict(platform="cuda:sm_90", status=Status.CORRECT, level=Level.EXECUTED, speeds=(speed,))
    receipt = Receipt(
        made="2026-11-28T10:00:00+00:00",
        harness_version="0",
        harness_hash="h",
        task_hash=task,
        source_hash=source,
        verdict_hash=canonical_hash([entry.model_dump(mode="json")]),
        machine={"processor": "p"},
        devices={"cuda:sm_90": {"device": "NVIDIA H200", "driver": "580.1"}},
        libraries={"triton": "3.9.0", "torch": "2.13.0"},
        protection=(),
        seed_commitment="c",
        previous="0" * 64,
    ).sealed()
    return Verdict(
        task="softmax", candidate="k", language="triton", source_hash=source, status=entry.status, platforms=(entry,),
        receipt=receipt,
    )  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    base = KnowledgeBase(tmp_path_factory.mktemp("patterns"))
    base.open()
    return base


@pytest.fixture
def shelf(opened: KnowledgeBase) -> PatternShelf:
    shelf = PatternShelf(opened)
    for pattern in shelf.all():
        shelf.remove(pattern.pattern_id)
    return shelf


def test_a_pattern_is_kept_with_its_evidence_and_found_by_searches(shelf: PatternShelf, opened: KnowledgeBase) -> None:
    stored = shelf.store(TEXT, [Proof(node_id="s.4", verdict=verdict(2.0), parent=verdict(1.0, source="p" * 64))])

    assert stored.new
    assert (stored.evidence[0].outcome, stored.evidence[0].against) == (Outcome.SUCCESS, "parent")
    assert stored.pattern.status is PatternStatus.CANDIDATE
    found = opened.ask("idle multiprocessors because there are few rows", kinds=["pattern"], limit=3)
    assert found.passages[0].uri.startswith(f"knowledge://{document_id(stored.pattern)}")
    assert found.passages[0].origin == "learned"


@pytest.mark.parametrize(
    ("now", "before", "outcome"),
    [
        (2.0, 1.0, Outcome.SUCCESS),
        (1.01, 1.0, Outcome.NO_GAIN),
        (0.8, 1.0, Outcome.SLOWER),
        (None, 1.0, Outcome.INCORRECT),
    ],
)
def test_failures_are_kept_too(shelf: PatternShelf, now: float | None, before: float, outcome: Outcome) -> None:
    proof = Proof(node_id="s.4", verdict=verdict(now), parent=verdict(before, source="p" * 64))

    stored = shelf.store(TEXT, [proof])

    assert stored.evidence[0].outcome is outcome
    assert (stored.pattern.successes, stored.pattern.failures) == ((1, 0) if outcome is Outcome.SUCCESS else (0, 1))


def test_several_tasks_confirm_and_failures_refute(shelf: PatternShelf) -> None:
    shelf.store(TEXT, [Proof(node_id="a.1", verdict=verdict(2.0, task="a" * 64))])
    confirmed = shelf.store(TEXT, [Proof(node_id="b.1", verdict=verdict(1.5, task="b" * 64))]).pattern
    losses = [Proof(node_id=f"c.{n}", verdict=verdict(0.7, task="c" * 64, source=f"{n}" * 64)) for n in range(3)]
    refuted = shelf.store(TEXT, losses).pattern

    assert (confirmed.status, refuted.status) == (PatternStatus.CONFIRMED, PatternStatus.REFUTED)
    assert (refuted.successes, refuted.failures) == (2, 3)


def test_one_lucky_run_is_drawn_towards_no_gain(shelf: PatternShelf) -> None:
    pattern = shelf.store(TEXT, [Proof(node_id="a.1", verdict=verdict(8.0))]).pattern

    assert pattern.gain == pytest.approx(8.0 ** (1 / 3))


def test_the_same_pattern_in_other_letters_is_merged_and_other_parameters_are_not(shelf: PatternShelf) -> None:
    proof = Proof(node_id="a.1", verdict=verdict(2.0))
    first = shelf.store(TEXT, [proof])
    same = shelf.store(TEXT.model_copy(update={"name": "split the reduction, over BLOCKS"}), [proof])
    other = shelf.store(TEXT.model_copy(update={"parameters": {"num_stages": "2"}}), [proof])

    assert (same.new, same.evidence) == (False, ())
    assert same.pattern.pattern_id == first.pattern.pattern_id != other.pattern.pattern_id
    assert first.pattern.pattern_id in other.neighbours
    assert len(shelf.all()) == 2


def test_an_author_may_say_that_two_are_one(shelf: PatternShelf) -> None:
    first = shelf.store(TEXT, [Proof(node_id="a.1", verdict=verdict(2.0))])
    again = TEXT.model_copy(update={"name": "use several programs for each row"})

    merged = shelf.store(again, [Proof(node_id="a.2", verdict=verdict(1.8, source="2" * 64))], first.pattern.pattern_id)

    assert merged.pattern.pattern_id == first.pattern.pattern_id
    assert merged.pattern.text.name == TEXT.name
    assert merged.pattern.successes == 2


def forged(change: dict[str, object]) -> Verdict:
    honest = verdict(2.0)
    return honest.model_copy(update={"receipt": honest.receipt.model_copy(update=change)})


@pytest.mark.parametrize(
    ("proofs", "says"),
    [
        ([], "needs proof"),
        ([Proof(node_id="a.1", verdict=forged({"made": "2020-01-01T00:00:00"}))], "does not hold"),
        ([Proof(node_id="a.1", verdict=forged({"verdict_hash": "0" * 64}))], "another verdict"),
        ([Proof(node_id="a.1", verdict=forged({"source_hash": "0" * 64}))], "another source"),
        ([Proof(node_id="a.1", verdict=verdict(2.0), parent=verdict(1.0, task="u" * 64))], "different tasks"),
    ],
)
def test_without_a_receipt_that_holds_it_is_refused(shelf: PatternShelf, proofs: list[Proof], says: str) -> None:
    with pytest.raises(KnowledgeError, match=says):
        shelf.store(TEXT, proofs)
    assert shelf.all() == []


def test_a_verdict_without_times_proves_no_speed(shelf: PatternShelf) -> None:
    timed = verdict(2.0)
    entry = timed.platforms[0].model_copy(update={"speeds": ()})
    receipt = timed.receipt.model_copy(
        update={"verdict_hash": canonical_hash([entry.model_dump(mode="json")])}
    ).sealed()
    untimed = timed.model_copy(update={"platforms": (entry,), "receipt": receipt})

    with pytest.raises(KnowledgeError, match="not timed"):
        shelf.store(TEXT, [Proof(node_id="a.1", verdict=untimed)])


@pytest.mark.parametrize(
    ("change", "says"),
    [({"operator": "gem"}, "'gemm'"), ({"language": "tritn"}, "'triton'"), ({"bottlenecks": ("slow",)}, "bottleneck"),
     ({"platform": "cpu"}, "judged for cuda:sm_90")],
)  # fmt: skip
def test_unknown_words_are_explained(shelf: PatternShelf, change: dict[str, object], says: str) -> None:
    with pytest.raises(KnowledgeError, match=says):
        shelf.store(TEXT.model_copy(update=change), [Proof(node_id="a.1", verdict=verdict(2.0))])


def test_a_pattern_is_stale_when_the_compiler_changed(shelf: PatternShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.store(TEXT, [Proof(node_id="a.1", verdict=verdict(2.0))])
    monkeypatch.setattr("kernelevolve.knowledge.patterns.environment_now", lambda: {"triton": "3.10.0"})

    (pattern,) = shelf.all()

    assert "triton 3.9.0 → 3.10.0" in pattern.stale


@pytest.mark.parametrize(
    ("then", "now", "stale"),
    [({"triton": "3.9.0"}, {"triton": "3.9.1"}, False), ({"triton": "3.8.0"}, {"triton": "3.9.0"}, True),
     ({"driver": "580.1"}, {}, False), ({"driver": "570.1"}, {"driver": "580.1"}, True), ({}, {"triton": "3"}, False)],
)  # fmt: skip
def test_what_makes_evidence_stale(then: dict[str, str], now: dict[str, str], stale: bool) -> None:
    assert bool(stale_because(then, now)) is stale


def test_an_id_may_be_shortened_and_a_wrong_one_is_explained(shelf: PatternShelf) -> None:
    stored = shelf.store(TEXT, [Proof(node_id="a.1", verdict=verdict(2.0))])

    assert shelf.get(pattern_key(TEXT)[:6]) == stored.pattern
    with pytest.raises(KnowledgeError, match="no pattern"):
        shelf.get("zzz")
    assert Path(shelf._base.store.location).is_dir()
