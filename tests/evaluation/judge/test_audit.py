"""The audit looks again, elsewhere, on other data, and says what it saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelevolve.evaluation.audit import Audit, AuditOutcome
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.receipt import canonical_hash
from kernelevolve.evaluation.verdict import PlatformVerdict, Verdict
from tests.conftest import SCALE_CPP, SCALE_TRITON, Give

TASK = '''"""Sixteen sines, one in the other."""
import torch
LAYOUTS = ["contiguous"]
SPECIAL_VALUES = []
CASES = {"small": {"rows": 4, "cols": 33}, "large": {"rows": 400, "cols": 1000}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    for _ in range(16):
        x = torch.sin(x)
    return x
'''
HONEST = """
#include <cmath>
void work(const float* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    float value = from[i];
    for (int k = 0; k < 16; ++k) value = std::sin(value);
    to[i] = value;
  }
}
void kernel(TensorView x, TensorView out) {
  work(static_cast<const float*>(x.data_ptr()), static_cast<float*>(out.data_ptr()), x.numel());
}
"""
ENTRY = HONEST[HONEST.index("void kernel") :]
BY_CONTENT = HONEST.replace(
    ENTRY,
    """
#include <cstring>
#include <map>
#include <vector>
void kernel(TensorView x, TensorView out) {
  static std::map<std::pair<float, float>, std::vector<float>> known;
  auto* from = static_cast<const float*>(x.data_ptr());
  auto* to = static_cast<float*>(out.data_ptr());
  auto& answer = known[{from[0], from[1]}];
  if (answer.size() != size_t(x.numel())) {
    work(from, to, x.numel());
    answer.assign(to, to + x.numel());
  }
  std::memcpy(to, answer.data(), x.numel() * sizeof(float));
}
""",
)
LEANS_ON_THE_SMALL_CASE = HONEST.replace(
    "  work(static", "  static bool ready = false;\n  ready |= x.numel() < 1000;\n  if (ready) work(static"
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audited") / "sines.py"
    path.write_text(TASK)
    return path


def audited(verdict: Verdict) -> Audit:
    entry = verdict.platforms[0]
    assert entry.status is Status.CORRECT, entry.diagnosis
    assert entry.audit is not None
    return entry.audit


def test_honest_candidate_is_confirmed_and_its_receipt_covers_it(give: Give, task: Path) -> None:
    verdict = give(HONEST, task=task, timed_calls=40, audit=True)
    audit = audited(verdict)
    assert audit.outcome is AuditOutcome.CONFIRMED, audit
    assert [case.case for case in audit.cases] == ["large"]
    assert audit.checks >= 10
    assert "1 of 2 cases" in audit.reason
    assert verdict.platforms[0].stands
    entries = [entry.model_dump(mode="json") for entry in verdict.platforms]
    assert verdict.receipt.verdict_hash == canonical_hash(entries)
    entries[0]["audit"]["outcome"] = "not_confirmed"
    assert verdict.receipt.verdict_hash != canonical_hash(entries)


def test_speed_that_only_known_data_shows(give: Give, task: Path) -> None:
    entry = give(BY_CONTENT, task=task, timed_calls=40, audit=True).platforms[0]
    if entry.status is Status.REWARD_HACK:
        return  # The verdict saw it already.
    assert entry.audit is not None
    assert entry.audit.outcome is AuditOutcome.NOT_CONFIRMED
    assert "in the audit" in entry.audit.reason
    assert not entry.stands


def test_answer_that_leans_on_earlier_calls(give: Give, task: Path) -> None:
    audit = audited(give(LEANS_ON_THE_SMALL_CASE, task=task, timed_calls=40, audit=True))
    assert audit.outcome is AuditOutcome.NOT_CONFIRMED
    assert "had not seen" in audit.reason


def test_calls_too_short_for_another_clock(give: Give, scale_task: Path) -> None:
    audit = audited(give(SCALE_CPP, task=scale_task, timed_calls=20, audit=True))
    assert audit.outcome is AuditOutcome.NOT_POSSIBLE
    assert "too short" in audit.reason


def test_nothing_that_was_not_executed_is_audited(give: Give) -> None:
    audit = audited(give(SCALE_TRITON, "triton", platform="hip:gfx950", timed_calls=20, audit=True))
    assert audit.outcome is AuditOutcome.NOT_POSSIBLE
    assert "interpreted" in audit.reason


def test_no_audit_unless_asked_for(give: Give, scale_task: Path) -> None:
    assert (
        give(timed_calls=0, source=HONEST.replace("std::sin(value)", "value"), task=scale_task).platforms[0].audit
        is None
    )


def test_what_stands() -> None:
    entry = PlatformVerdict(platform="cpu", status=Status.CORRECT, level=None)
    assert entry.stands
    assert entry.model_copy(update={"audit": Audit(outcome=AuditOutcome.NOT_POSSIBLE)}).stands
    assert not entry.model_copy(update={"audit": Audit(outcome=AuditOutcome.NOT_CONFIRMED)}).stands
    assert not entry.model_copy(update={"status": Status.WRONG}).stands
