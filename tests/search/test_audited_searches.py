"""The best of a search is audited: one that is slower than was said makes way."""

from __future__ import annotations

from kernelevolve.evaluation.audit import Audit, AuditOutcome
from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.search.driver import optimize
from kernelevolve.search.events import Event, NodeConfirmed, NodeRefuted
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
from tests.search.conftest import FakeJudge, by_its_own_word, rated


def audited(verdict: Verdict, audit: Audit) -> Verdict:
    entries = tuple(entry.model_copy(update={"audit": audit}) for entry in verdict.platforms)
    return verdict.model_copy(update={"platforms": entries})


def test_a_winner_whose_audit_says_no_makes_way(row_sums: Candidate, store: Store) -> None:
    cached, sound = rated(row_sums, 9.0, "cached"), rated(row_sums, 3.0, "sound")

    def opinion(request: JudgeRequest) -> Verdict:
        verdict = by_its_own_word(request)
        if not request.audit:
            return verdict
        bad = "cached" in request.candidate.source
        outcome = AuditOutcome.NOT_CONFIRMED if bad else AuditOutcome.CONFIRMED
        return audited(verdict, Audit(outcome=outcome, reason="large: 1.1x in the audit" if bad else ""))

    events: list[Event] = []
    judge = FakeJudge(opinion)
    options = OptimizeOptions(evaluations=2)
    summary = optimize("task.py", "cpu", [cached, sound], judge, store, options=options, on_event=events.append)

    assert summary.winner is not None
    assert summary.confirmed
    assert store.candidate(summary.winner).source == sound.source
    [refuted] = [event for event in events if isinstance(event, NodeRefuted)]
    assert "audit" in refuted.summary
    assert "1.1x in the audit" in refuted.summary
    [confirmed] = [event for event in events if isinstance(event, NodeConfirmed)]
    assert confirmed.audit is not None
    assert confirmed.audit.outcome is AuditOutcome.CONFIRMED
    kept = store.confirmation(summary.winner)
    assert kept is not None
    assert kept.platforms[0].audit == confirmed.audit
    assert [request.audit for request in judge.requests] == [False, False, True, True]


def test_an_audit_that_was_not_possible_refutes_nothing(row_sums: Candidate, store: Store) -> None:
    def opinion(request: JudgeRequest) -> Verdict:
        verdict = by_its_own_word(request)
        return (
            audited(verdict, Audit(outcome=AuditOutcome.NOT_POSSIBLE, reason="too short")) if request.audit else verdict
        )

    options = OptimizeOptions(evaluations=1)
    summary = optimize("task.py", "cpu", [rated(row_sums, 2.0)], FakeJudge(opinion), store, options=options)
    assert summary.winner is not None
    assert summary.confirmed
    assert isinstance(store.confirmation(summary.winner), Verdict)
