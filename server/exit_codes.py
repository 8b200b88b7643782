"""Exit codes of the command line, the same for every command."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from kernelevolve.evaluation.finding import Status

if TYPE_CHECKING:
    from kernelevolve.evaluation.verdict import Verdict


class ExitCode(IntEnum):
    """What a script can rely on."""

    OK = 0
    """Correct on every platform; or the command did what it was asked."""
    REFUSED = 1
    """The candidate was judged and refused: wrong, an error, a timeout, a rule, a hack."""
    USAGE = 2
    """The command line makes no sense: unknown option, missing argument."""
    UNSUPPORTED = 3
    """Nothing was found wrong, but a platform could not be judged here."""
    HARNESS = 4
    """The task, the platform's name or the judge is at fault, not the candidate."""
    WEAK = 5
    """`tasks check`: the task accepts a wrong answer."""
    INTERRUPTED = 130
    """Ctrl-C."""


def exit_code_of(status: Status) -> ExitCode:
    """Exit code of a verdict."""
    special = {
        Status.CORRECT: ExitCode.OK,
        Status.UNSUPPORTED: ExitCode.UNSUPPORTED,
        Status.HARNESS_ERROR: ExitCode.HARNESS,
    }
    return special.get(status, ExitCode.REFUSED)


def exit_code_of_verdict(verdict: Verdict) -> ExitCode:
    """Exit code of a verdict, with what its audits say where it is correct."""
    # Here, because `kernelevolve --help` needs no contracts.
    from kernelevolve.evaluation.audit import AuditOutcome

    audits = [entry.audit.outcome for entry in verdict.platforms if entry.audit is not None]
    if verdict.status is Status.CORRECT and AuditOutcome.NOT_CONFIRMED in audits:
        return ExitCode.REFUSED
    if verdict.status is Status.CORRECT and AuditOutcome.NOT_POSSIBLE in audits:
        return ExitCode.UNSUPPORTED
    return exit_code_of(verdict.status)
