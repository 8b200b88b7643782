"""What a script learns from an audit."""

from __future__ import annotations

import pytest

from kernelevolve.evaluation.audit import Audit, AuditOutcome
from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.server.exit_codes import ExitCode, exit_code_of_verdict
from tests.search.conftest import verdict_of

CANDIDATE = Candidate(language="cpp", source="void kernel() {}")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (None, ExitCode.OK),
        (AuditOutcome.CONFIRMED, ExitCode.OK),
        (AuditOutcome.NOT_CONFIRMED, ExitCode.REFUSED),
        (AuditOutcome.NOT_POSSIBLE, ExitCode.UNSUPPORTED),
    ],
)
def test_audit_decides_where_the_candidate_is_correct(outcome: AuditOutcome | None, code: ExitCode) -> None:
    audit = Audit(outcome=outcome) if outcome is not None else None
    right, wrong = verdict_of(CANDIDATE), verdict_of(CANDIDATE, finding=Finding.WRONG_VALUES)
    for verdict, expected in ((right, code), (wrong, ExitCode.REFUSED)):
        entry = verdict.platforms[0].model_copy(update={"audit": audit})
        assert exit_code_of_verdict(verdict.model_copy(update={"platforms": (entry,)})) is expected
