"""What each guard of the judge costs: the time of a verdict with one guard left out, against all of them.

`python benchmarks/guard_cost.py --json benchmarks/results/guard_cost.json`. A guard is left out by substituting its
function in a judge that this program starts; no option of the judge does that. Verdicts with and without it alternate,
so that what else the machine does hits both. A ratio below 1 is what leaving the guard out would save.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge import client, host
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.request import JudgeRequest

ROOT = Path(__file__).resolve().parents[1]
TASK, CANDIDATE = ROOT / "examples" / "rmsnorm_swiglu", ROOT / "examples" / "rmsnorm_swiglu" / "kernel.cpp"
NONE = "none"


def _unseen() -> None:
    from kernelevolve.evaluation.judge.executed import Execution

    Execution._unseen_calls = lambda *_arguments: None  # type: ignore[method-assign]


def _reuse() -> None:
    from kernelevolve.evaluation.judge.unseen import UnseenCalls

    UnseenCalls.reuse = lambda *_arguments: None  # type: ignore[method-assign]


def _outside_clock() -> None:
    from kernelevolve.evaluation.judge.unseen import UnseenCalls

    UnseenCalls.contradiction = lambda *_arguments: None  # type: ignore[method-assign]


def _own_work() -> None:
    from kernelevolve.evaluation.judge import executed

    executed.borrows = lambda *_arguments: None  # type: ignore[assignment]


def _poison() -> None:
    from kernelevolve.evaluation.judge import worker
    from kernelevolve.evaluation.judge.operators import OperatorRecorder

    worker._Poison = OperatorRecorder  # type: ignore[assignment,misc]


def _special() -> None:
    from kernelevolve.evaluation.judge import executed
    from kernelevolve.evaluation.task import Layout

    plan = executed.plan_checks
    executed.plan_checks = lambda *arguments: [  # type: ignore[assignment]
        check for check in plan(*arguments) if not check.special and check.layout is Layout.CONTIGUOUS
    ]


def _trials() -> None:
    from kernelevolve.evaluation.judge import executed

    plan = executed.plan_checks
    executed.plan_checks = lambda state, _trials, *more: plan(state, 1, *more)  # type: ignore[assignment]


def _inputs_unchanged() -> None:
    from kernelevolve.evaluation.judge import check

    check._same_bits = lambda *_arguments: True  # type: ignore[assignment]


def _stillness() -> None:
    from contextlib import nullcontext

    from kernelevolve.evaluation.judge.handle import WorkerHandle

    WorkerHandle.held_still = lambda _self: nullcontext()  # type: ignore[method-assign]


def _flush() -> None:
    from kernelevolve.evaluation.judge.timing import Stopwatch

    Stopwatch.flush = lambda _self: None  # type: ignore[method-assign]


def _self_test() -> None:
    from kernelevolve.evaluation.judge.self_test import TaskCheck
    from kernelevolve.evaluation.judge.session import Session

    empty = TaskCheck(task="", refused=(), accepted=(), skipped=())
    Session._self_test = lambda *_arguments: empty  # type: ignore[method-assign]


def _walls() -> None:
    from kernelevolve.evaluation.judge import handle, sandbox, session
    from kernelevolve.evaluation.judge.protection import Protection

    for module in (handle, sandbox, session):
        module.chosen = lambda: Protection.NONE  # type: ignore[attr-defined]


GUARDS: dict[str, Callable[[], None]] = {
    "inputs never seen before, and what goes with them": _unseen,
    "answers are not reused": _reuse,
    "the judge's own clock": _outside_clock,
    "own work (dispatcher, kernels left out)": _own_work,
    "poisoned memory": _poison,
    "special values and layouts": _special,
    "trials past the first": _trials,
    "inputs unchanged": _inputs_unchanged,
    "candidate held still": _stillness,
    "cache flush": _flush,
    "self-test of the task": _self_test,
    "walls around worker and compiler": _walls,
}


@contextmanager
def judge_without(guard: str, state: Path) -> Iterator[Judge]:
    """A judge whose host is this program, with one guard substituted; `NONE` for a whole one."""
    popen = subprocess.Popen

    def start(command: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        place = command.index("-m")
        return popen([command[0], __file__, "--host", guard, *command[place + 2 :]], **more)

    client.subprocess.Popen = start  # type: ignore[misc,assignment]
    try:
        judge = Judge(state)
    finally:
        client.subprocess.Popen = popen  # type: ignore[misc]
    with judge:
        yield judge


def verdict_s(judge: Judge, number: int) -> float:
    """Seconds of one verdict about a source that was not seen before."""
    source = f"{CANDIDATE.read_text()}\n// {os.getpid()} {number}\n"
    request = JudgeRequest(task=str(TASK), candidate=Candidate(language="cpp", source=source), timed_calls=100)
    began = time.perf_counter()
    verdict = judge.judge(request)
    took = time.perf_counter() - began
    if verdict.status is not Status.CORRECT:
        raise SystemExit(f"the honest candidate was refused: {verdict.platforms[0].diagnosis}")
    # Compiling is no guard, and takes longer than all of them.
    return took - verdict.platforms[0].phases_ms["build"] / 1e3


def measure(guard: str, pairs: int) -> dict[str, float]:
    """Alternate verdicts of a whole judge and of one without the guard."""
    with (
        tempfile.TemporaryDirectory() as state,
        judge_without(NONE, Path(state) / "on") as whole,
        judge_without(guard, Path(state) / "off") as without,
    ):
        verdict_s(whole, -1), verdict_s(without, -1)
        both = [(verdict_s(whole, number), verdict_s(without, number)) for number in range(pairs)]
    on, off = (statistics.median(side) for side in zip(*both, strict=True))
    ratio = statistics.median(after / before for before, after in both)
    return {"all_on_s": on, "without_s": off, "ratio": ratio}


def main() -> None:
    """Measure every guard, or serve as a host."""
    if sys.argv[1:2] == ["--host"]:
        if sys.argv[2] != NONE:
            GUARDS[sys.argv[2]]()
        host.main(sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7, help="verdicts on each side")
    parser.add_argument("--guards", nargs="*", default=list(GUARDS), choices=list(GUARDS), help="which")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    found = {}
    print(f"{'left out':52}  {'all on':>8}  {'without':>8}  {'ratio':>6}")
    for guard in options.guards:
        found[guard] = figures = measure(guard, options.pairs)
        print(
            f"{guard:52}  {figures['all_on_s']:7.2f}s  {figures['without_s']:7.2f}s  {figures['ratio']:6.2f}",
            flush=True,
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"pairs": options.pairs, "guards": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
