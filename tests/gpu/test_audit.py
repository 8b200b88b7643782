"""The audit on a GPU: the driver's records of calls in a fresh process, fresh data in each."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelevolve.evaluation.audit import AuditOutcome
from kernelevolve.evaluation.finding import Status
from tests.conftest import SCALE_TRITON, Give
from tests.gpu.test_gpu import MISSING, large_task, platform  # noqa: F401 - fixtures

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


def test_honest_candidate_is_confirmed(give: Give, platform: str, large_task: Path) -> None:  # noqa: F811
    source = SCALE_TRITON.replace("256", "1024")
    entry = give(
        source, "triton", task=large_task, platform=platform, timed_calls=100, limit_s=60.0, audit=True
    ).platforms[0]
    assert entry.status is Status.CORRECT, entry.diagnosis
    assert entry.audit is not None
    assert entry.audit.outcome is AuditOutcome.CONFIRMED, entry.audit
    assert "CUPTI" in entry.audit.method
    assert entry.audit.checks >= 10
