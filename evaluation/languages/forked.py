"""Run jobs in forked children of this process: several at once, and what they break stays theirs."""

from __future__ import annotations

import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError, PlatformError
from kernelevolve.evaluation.finding import Finding

_LOG_CHARACTERS = 2_000


@dataclass(frozen=True)
class Failure:
    """An error on its way from a child; exceptions with arguments of their own cannot be pickled."""

    kind: type[KernelEvolveError]
    finding: Finding
    summary: str
    advice: str = ""
    log: str = ""

    def error(self) -> KernelEvolveError:
        """The error again, to be raised here."""
        return self.kind(self.finding, self.summary, self.advice, self.log)


def in_children(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run each job in a forked child, as many at once as there are processors; what it returned, or a `Failure`."""
    outcomes: list[Any] = []
    width = len(os.sched_getaffinity(0))
    for start in range(0, len(jobs), width):
        children = [_fork(job) for job in jobs[start : start + width]]
        outcomes += [_join(child, answer) for child, answer in children]
    return outcomes


def _fork(job: Callable[[], Any]) -> tuple[int, IO[bytes]]:
    answer = tempfile.TemporaryFile()  # noqa: SIM115 - `_join` closes it
    child = os.fork()
    if child:
        return child, answer
    # The child shares the parent's handles to its GPU and must not clean them up, so it leaves by `_exit`.
    try:
        pickle.dump(_outcome(job), answer)
        answer.flush()
    except BaseException:  # noqa: BLE001 - it must never run on as a second parent; an empty answer tells the first
        traceback.print_exc()
    finally:
        os._exit(0)


def _outcome(job: Callable[[], Any]) -> Any:
    try:
        return job()
    except KernelEvolveError as error:
        return Failure(type(error), error.finding, error.summary, error.advice, error.log)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        log = "".join(traceback.format_exception(error))[-_LOG_CHARACTERS:]
        return Failure(PlatformError, Finding.INTERNAL, f"{type(error).__name__}: {error}", log=log)


def _join(child: int, answer: IO[bytes]) -> Any:
    with answer:
        os.waitpid(child, 0)
        answer.seek(0)
        try:
            return pickle.load(answer)
        except EOFError:
            # With Triton 3.6 and 3.7, an error in LLVM's AMD back end ends the process.
            summary = "The compiler ended its process without a message."
            return Failure(CandidateError, Finding.COMPILER_ERROR, summary, "Look for invalid inline assembly.")
