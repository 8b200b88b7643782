"""A judge that only pretends, but answers with real verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import STATUS_OF, Finding, Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.receipt import Receipt
from kernelevolve.evaluation.verdict import (
    CaseTiming,
    Diagnosis,
    Interval,
    PlatformVerdict,
    SpeedSummary,
    Verdict,
)
from kernelevolve.search.store import Store

ROW_SUMS = """\
void kernel(TensorView x, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* xp = static_cast<const float*>(x.data_ptr());
  float* op = static_cast<float*>(out.data_ptr());
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0.0f;
    for (int64_t c = 0; c < cols; ++c) {
      sum += xp[r * cols + c];
    }
    op[r] = sum;
  }
}
"""


def verdict_of(
    candidate: Candidate,
    speedup: float = 1.0,
    finding: Finding | None = None,
    spread: float = 0.01,
    platform: str = "cpu",
    baselines: tuple[str, ...] = ("eager",),
    timed: bool = True,
    task_hash: str = "a" * 64,
    log: str = "",
) -> Verdict:
    """A verdict: correct and so much faster than eager (half of that than compile), or refused for a finding."""
    status = Status.CORRECT if finding is None else STATUS_OF[finding]
    timings: list[CaseTiming] = []
    if finding is None and timed:
        for case, weight in (("small", 1.0), ("large", 2.0)):
            for baseline in baselines:
                ratio = speedup if baseline == "eager" else speedup / 2
                interval = Interval(
                    speedup=ratio,
                    low=ratio * (1 - spread),
                    high=ratio * (1 + spread),
                    confidence=0.95,
                    rounds=20,
                )
                timings.append(
                    CaseTiming(
                        case=case, baseline=baseline, weight=weight, candidate_ms=8.0 / ratio, baseline_ms=8.0,
                        interval=interval, speed=interval.verdict(0.01), calls=50, floor_ms=0.25,
                    )
                )  # fmt: skip
    speeds = tuple(
        SpeedSummary.of([timing for timing in timings if timing.baseline == baseline], 0.01)
        for baseline in baselines
        if timings
    )
    diagnosis = None
    if finding is not None:
        diagnosis = Diagnosis(
            finding=finding, summary=f"Refused: {finding.value}.", advice="Do it right.",
            where={"case": "small", "trial": 2}, first_index=(0, 3), expected=1.5, got=float("nan"), mismatched=7,
            elements=64, max_error=0.25, max_error_ulps=4.0e6, error_ratio=900.0, log=log,
        )  # fmt: skip
    receipt = Receipt(
        made="2026-01-05T10:00:00+00:00", harness_version="0.1.0", harness_hash="b" * 64, task_hash=task_hash,
        source_hash=candidate.source_hash, verdict_hash="c" * 64,
        machine={"processor": "An Imagined Processor", "cores": 2}, devices={},
        libraries={"python": "3.11.7", "torch": "2.9.0"}, protection=("landlock",), seed_commitment="d" * 64,
        samples={platform: {"small": {"candidate": [1.5, 1.25, 1.75], "eager": [8.0, 8.25]}}}, previous="0" * 64,
    ).sealed()  # fmt: skip
    entry = PlatformVerdict(
        platform=platform, status=status, level=Level.EXECUTED, diagnosis=diagnosis, timings=tuple(timings),
        speeds=speeds, checks=24,
    )  # fmt: skip
    return Verdict(
        task="row_sums", candidate=candidate.name, language=candidate.language,
        source_hash=candidate.source_hash, status=status, platforms=(entry,), receipt=receipt,
    )  # fmt: skip


Opinion = Callable[[JudgeRequest], Verdict]


@dataclass
class FakeJudge:
    """Answers by a function, and remembers what it was asked."""

    opinion: Opinion
    requests: list[JudgeRequest] = field(default_factory=list)

    def judge(self, request: JudgeRequest, progress: Callable[[str, float], None] | None = None) -> Verdict:
        self.requests.append(request)
        if progress is not None:
            progress("check", 0.5)
        return self.opinion(request)


@pytest.fixture
def make_verdict() -> Callable[..., Verdict]:
    return verdict_of


@pytest.fixture
def make_judge() -> type[FakeJudge]:
    return FakeJudge


@pytest.fixture
def row_sums() -> Candidate:
    return Candidate(language="cpp", source=ROW_SUMS, name="kernel.cpp")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "state" / "searches.sqlite") as opened:
        yield opened
