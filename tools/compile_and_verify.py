"""`compile_and_verify`: task + candidate + platforms → verdict."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge.client import Progress
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Diagnosis, PlatformVerdict
from kernelevolve.search.prompt import as_material, shorten
from kernelevolve.tools.judges import Cancellation, JudgePool

TEXT_LIMIT = 8000
"""Characters of a tool's text, at most (DESIGN section 6)."""


class VerifyResult(Contract):
    """The verdict without the timed samples, which stay with the receipt in the state folder."""

    status: Status
    """The most severe status of all platforms."""
    task: str
    """Task name."""
    source_hash: str
    """SHA-256 of the candidate."""
    platforms: tuple[PlatformVerdict, ...]
    """One verdict for each platform."""
    receipt_hash: str
    """Names the receipt in `receipts.jsonl` of the state folder."""


def compile_and_verify(
    pool: JudgePool,
    task: str,
    source: str,
    language: str,
    platforms: list[str],
    baselines: list[str],
    timed_calls: int,
    limit_s: float,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> VerifyResult:
    """Judge one candidate.

    Args:
        pool: where judges come from.
        task: path of a task file or folder on the server's machine, `aten::<operator>`, or a task file's text.
        source: the candidate's text.
        language: `triton`, `cpp`, `cuda` or `hip`.
        platforms: platform names.
        baselines: `eager`, `compile`, or both.
        timed_calls: timed calls on each side; 0 leaves timing out.
        limit_s: seconds one answer of the candidate may take.
        progress: told what is being done.
        cancellation: lets another thread end the call.

    Raises:
        KernelEvolveError: the task or a platform is at fault.
    """
    request = JudgeRequest(
        task=resolve_task(task, pool),
        candidate=Candidate(language=language, source=source),
        platforms=tuple(platforms),
        baselines=tuple(baselines),
        timed_calls=timed_calls,
        limit_s=limit_s,
    )
    with pool.lend(cancellation) as judge:
        verdict = judge.judge(request, progress)
    return VerifyResult(
        status=verdict.status,
        task=verdict.task,
        source_hash=verdict.source_hash,
        platforms=verdict.platforms,
        receipt_hash=verdict.receipt.receipt_hash,
    )


def resolve_task(task: str, pool: JudgePool) -> str:
    """What the judge can load: a path or operator name as it is, a text as a file in the state folder.

    Raises:
        TaskError: there is no such task, or the callers of this server may not use it.
    """
    if task.startswith("aten::"):
        return task
    if "\n" not in task:
        try:
            path = Path(task).expanduser()
            if pool.workspace is not None:
                # What lies outside is not even said to exist.
                path = (pool.workspace / path).resolve()
                if not path.is_relative_to(pool.workspace):
                    raise _outside(pool)
            found = path.exists()
        except (OSError, ValueError, RuntimeError):
            found = False  # Too long, a null byte, a home of nobody: no path that could be there.
        if not found:
            raise TaskError(
                Finding.TASK_UNREADABLE,
                f"There is no task at {task[:200]!r}.",
                "Give a path on the server's machine, aten::<operator>, or the whole text of a task file.",
            )
        return str(path.resolve())
    if pool.workspace is not None:
        raise _outside(pool)
    state = pool.state
    folder = state / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(task.encode()).hexdigest()[:16]}.py"
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(task, encoding="utf-8")
        draft.replace(path)
    return str(path)


def _outside(pool: JudgePool) -> TaskError:
    return TaskError(
        Finding.TASK_UNREADABLE,
        "This server takes tasks only as files of its workspace, or as aten::<operator>.",
        "Name a file of the workspace, relative to it; whoever runs the server can put the task there.",
    )


def verdict_text(result: VerifyResult) -> str:
    """The verdict as text for a model: what matters first, at most `TEXT_LIMIT` characters."""
    lines = [f"{result.status.value}: task {result.task}, candidate {result.source_hash[:12]}"]
    for entry in result.platforms:
        lines.append(
            f"\n{entry.platform}: {entry.status.value} (level: {entry.level.value if entry.level else 'none'})"
        )
        if entry.diagnosis is not None:
            lines.extend(_diagnosis_lines(entry.diagnosis))
        for timing in entry.timings:
            interval = timing.interval
            lines.append(
                f"  {timing.case} against {timing.baseline}: {timing.candidate_ms:.4g} ms, baseline "
                f"{timing.baseline_ms:.4g} ms, {interval.speedup:.3f}x [{interval.low:.3f}, {interval.high:.3f}] "
                f"{timing.speed.value}"
            )
        for mean in entry.speeds:
            lines.append(f"  all cases against {mean.baseline}: {mean.speedup:.3f}x {mean.speed.value}")
        for kernel in entry.resources:
            occupancy = "" if kernel.occupancy is None else f", occupancy {kernel.occupancy:.0%}"
            limiter = f" (limited by {kernel.occupancy_limiter})" if kernel.occupancy_limiter else ""
            lines.append(
                f"  {kernel.kernel}: {kernel.registers} registers, {kernel.spills} spills, "
                f"{kernel.shared_bytes} B shared, {kernel.code_bytes} B code{occupancy}{limiter}"
            )
        lines.extend(f"  note: {note}" for note in entry.notes)
    lines.append(f"\nreceipt {result.receipt_hash[:16]}")
    return shorten("\n".join(lines), TEXT_LIMIT)


def _diagnosis_lines(diagnosis: Diagnosis) -> list[str]:
    lines = [f"  {diagnosis.finding.value}: {diagnosis.summary}"]
    if diagnosis.where:
        lines.append(f"  at {_words(diagnosis.where)}")
    if diagnosis.error_ratio is not None:
        lines.append(f"  largest error is {diagnosis.error_ratio:.3g} times the reference's own")
    if diagnosis.advice:
        lines.append(f"  do: {diagnosis.advice}")
    if diagnosis.log:
        lines.append(as_material("\n".join(diagnosis.log.rstrip().splitlines()[-40:])))
    return lines


def _words(where: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in where.items())
