"""Profile one candidate: collect what every usable profiler sees, place it under the roofline, say what is wrong."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import Field

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError, TaskError
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.client import Progress as Report
from kernelevolve.evaluation.judge.device_lock import device_lock
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platform import Level, Platform, get_platform
from kernelevolve.evaluation.task import Case, Task
from kernelevolve.evaluation.verdict import PlatformVerdict
from kernelevolve.profilers.ceilings import known_ceilings
from kernelevolve.profilers.diagnosis import diagnose
from kernelevolve.profilers.json_import import ImportedProfiler
from kernelevolve.profilers.profiler import Observation, Profiler, get_profiler, profilers
from kernelevolve.profilers.report import KernelMeasurement, Part, PartState, ProfileReport
from kernelevolve.profilers.roofline import roofline_point
from kernelevolve.profilers.subject import Subject, scratch_folder

_TIMED_CALLS = 60
_CANDIDATE_S_FAULT = (Status.COMPILE_ERROR, Status.RUNTIME_ERROR, Status.TIMEOUT, Status.RULE_VIOLATION)


class ProfileRequest(Contract):
    """One candidate to profile."""

    task: str
    """Path of a task file or folder, or `aten::<operator>`."""
    candidate: Candidate
    """What to profile."""
    platform: str = "cpu"
    """Platform name; where its device is not here, only the code is looked at."""
    parts: tuple[str, ...] = ()
    """Profilers to use; empty for all that fit the platform. A part that was asked for by name and can't be had is
    said in the report, as are those that were not."""
    imported: Path | None = None
    """A file with what a profiler outside the project measured of this candidate; see `docs/profiling.md`."""
    case: str | None = None
    """Case to run; the heaviest by default."""
    more: bool = False
    """Collect a second, larger set of counters."""
    limit_s: float = Field(default=120.0, gt=0)
    """Seconds that one run of the profiled process may take."""
    lock_limit_s: float = Field(default=600.0, gt=0)
    """Seconds to wait for the device."""


def profile(
    judge: Judge,
    request: ProfileRequest,
    state: Path,
    progress: Report | None = None,
    cancelled: threading.Event | None = None,
) -> ProfileReport:
    """Profile a candidate.

    What runs the candidate comes after a verdict: only a correct candidate is profiled, and the times in the report are
    the judge's, made without any instrumentation.

    Args:
        judge: compiles and judges.
        request: what to profile and how.
        state: folder for scratch and measured ceilings.
        progress: told what is being done.
        cancelled: set it from another thread to end the profile.

    Raises:
        CandidateError: the candidate does not compile, or is not correct.
        KernelEvolveError: the task, the platform or a profiler's name is at fault.
    """
    tell = progress or (lambda _text, _share: None)
    platform = get_platform(request.platform)
    chosen = [get_profiler(name) for name in request.parts] or _fitting(platform)
    if request.imported is not None:
        chosen = [*(entry for entry in chosen if entry.name != "import"), ImportedProfiler(request.imported)]
    missing = {profiler.name: profiler.missing(platform) for profiler in chosen}
    usable = [profiler for profiler in chosen if not missing[profiler.name]]
    runs = any(profiler.runs_candidate for profiler in usable)
    task = Task.model_validate(judge.describe_task(request.task))
    case, dtype = _case(task, request.case), task.dtypes[0]
    verdict = _verdict(judge, request, tell) if runs else None
    parts = [
        Part(name=profiler.name, state=PartState.MISSING, why=missing[profiler.name])
        for profiler in chosen
        if missing[profiler.name]
    ]
    seen: dict[str, Observation] = {}
    with scratch_folder(state) as folder:
        subject = Subject(
            task=request.task,
            candidate=request.candidate,
            platform=platform,
            case=case.name,
            dtype=dtype,
            folder=folder,
            compile_code=lambda: judge.code(request.task, request.candidate, platform.name),
            limit_s=request.limit_s,
            more=request.more,
            sandbox=judge.sandbox,
            cancelled=cancelled or threading.Event(),
        )
        still = [profiler for profiler in usable if not profiler.runs_candidate]
        running = [profiler for profiler in usable if profiler.runs_candidate]
        for number, profiler in enumerate([*still, *running]):
            tell(f"profiling: {profiler.name}", (number + 0.5) / len(usable))
            with _lock(platform, request.lock_limit_s, subject) if profiler.runs_candidate else nullcontext():
                part, observation = _observe(profiler, subject)
            parts.append(part)
            seen[profiler.name] = observation
    timings = [entry for entry in verdict.timings if entry.baseline == verdict.timings[0].baseline] if verdict else []
    sheet, ceilings = platform.spec_sheet(), known_ceilings(platform, state)
    placed = [roofline_point(timing, dtype, sheet, ceilings) for timing in timings]
    points = tuple(point for point in placed if point is not None)
    mine = next((timing.candidate_ms for timing in timings if timing.case == case.name), None)
    report = ProfileReport(
        task=task.name,
        candidate=request.candidate.name,
        language=request.candidate.language,
        source_hash=request.candidate.source_hash,
        platform=platform.name,
        device=platform.availability().device if verdict else None,
        level=Level.EXECUTED if verdict else Level.COMPILED,
        case=case.name,
        dtype=dtype,
        parts=tuple(parts),
        static=tuple(entry for observation in seen.values() for entry in observation.static),
        kernels=merged([(name, observation.kernels) for name, observation in seen.items()]),
        timeline=next((entry.timeline for entry in seen.values() if entry.timeline is not None), None),
        roofline=points,
        candidate_ms=mine,
        notes=_notes(seen, ceilings is None and bool(timings), bool(points)),
    )
    return report.model_copy(update={"bottlenecks": diagnose(report, sheet)})


def _fitting(platform: Platform) -> list[Profiler]:
    """All that make sense for a platform; the import only where a file is named."""
    found = [plug_in() for plug_in in profilers().values()]
    found = [entry for entry in found if not isinstance(entry, ImportedProfiler) or entry.path is not None]
    return [profiler for profiler in found if "*" in profiler.families or platform.family in profiler.families]


def _case(task: Task, name: str | None) -> Case:
    if name is None:
        return max(reversed(task.cases), key=lambda case: case.weight)
    found = next((case for case in task.cases if case.name == name), None)
    if found is None:
        raise TaskError(
            Finding.TASK_UNREADABLE,
            f"Task {task.name} has no case {name!r}.",
            f"Its cases: {', '.join(case.name for case in task.cases if not case.hidden)}.",
        )
    return found


def _verdict(judge: Judge, request: ProfileRequest, tell: Report) -> PlatformVerdict:
    """The judge's word on the candidate, which must be *correct* before anything else runs it."""
    asked = JudgeRequest(
        task=request.task,
        candidate=request.candidate,
        platforms=(request.platform,),
        timed_calls=_TIMED_CALLS,
        limit_s=request.limit_s,
        lock_limit_s=request.lock_limit_s,
    )
    verdict = judge.judge(asked, lambda text, share: tell(text, share * 0.5)).of(request.platform)
    if verdict.status is not Status.CORRECT:
        diagnosis = verdict.diagnosis
        assert diagnosis is not None
        raise CandidateError(
            diagnosis.finding,
            f"Only correct candidates are profiled, and this one is {verdict.status.value}: {diagnosis.summary}",
            diagnosis.advice or "Mend it first; the static part looks at code alone.",
            log=diagnosis.log,
        )
    return verdict


def _lock(platform: Platform, limit_s: float, subject: Subject) -> Any:
    identity = "cpu"
    if platform.device_kind != "cpu":
        identity = platform.devices()[0].uuid  # type: ignore[attr-defined]

    def still_wanted() -> None:
        if subject.cancelled.is_set():
            raise CandidateError(Finding.TIME_LIMIT, "The profile was cancelled.")

    return device_lock(identity, limit_s, still_wanted)


def _observe(profiler: Profiler, subject: Subject) -> tuple[Part, Observation]:
    """Have one profiler look. A profiler that breaks costs its own part and no other."""
    began = time.perf_counter()
    try:
        observation = profiler.observe(subject)
    except KernelEvolveError as error:
        if subject.cancelled.is_set():
            raise
        if not profiler.runs_candidate and error.status in _CANDIDATE_S_FAULT:
            raise  # It does not compile: nothing else will work either.
        observation = Observation(state=PartState.FAILED, why=f"{error.summary} {error.advice}".strip()[:1000])
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; it must not take the rest with it
        observation = Observation(state=PartState.FAILED, why=f"{type(error).__name__}: {error}"[:1000])
    part = Part(
        name=profiler.name,
        state=observation.state,
        why=observation.why,
        took_s=round(time.perf_counter() - began, 3),
    )
    return part, observation


def merged(seen: list[tuple[str, tuple[KernelMeasurement, ...]]]) -> tuple[KernelMeasurement, ...]:
    """One measurement for each kernel out of what several profilers saw.

    Times come from the first that has one in the order timeline, proton, counters: the less a profiler changes, the
    better its time. Every profiler's time is kept as metric `time.<profiler>`.
    """
    order = {"timeline": 0, "proton": 1, "counters": 2}
    kernels: dict[str, KernelMeasurement] = {}
    for name, measurements in sorted(seen, key=lambda entry: order.get(entry[0], 3)):
        for fresh in measurements:
            key = next((known for known in kernels if _same(known, fresh.kernel)), fresh.kernel)
            old = kernels.get(key)
            metrics = {**(old.metrics if old else {}), **fresh.metrics}
            if fresh.time_s is not None:
                metrics[f"time.{name}"] = fresh.time_s
            kernels[key] = KernelMeasurement(
                kernel=key,
                calls=old.calls if old else fresh.calls,
                time_s=old.time_s if old and old.time_s else fresh.time_s,
                metrics=metrics,
                lines=fresh.lines or (old.lines if old else {}),
                scopes=fresh.scopes or (old.scopes if old else ()),
                grid=fresh.grid or (old.grid if old else ()),
                threads_per_block=fresh.threads_per_block or (old.threads_per_block if old else None),
            )
    ranked = sorted(kernels.values(), key=lambda entry: -(entry.time_s.value if entry.time_s else 0.0) * entry.calls)
    return tuple(ranked)


def _same(known: str, other: str) -> bool:
    """Whether two profilers mean the same kernel: one may give a signature, the other the bare name."""

    def bare(name: str) -> str:
        return name.removeprefix("void ").split("(")[0].split("<")[0].split("::")[-1].strip()

    return known == other or (bare(known) == bare(other) and ("<" not in known or "<" not in other))


def _notes(seen: dict[str, Observation], uncalibrated: bool, placed: bool) -> tuple[str, ...]:
    notes = [note for observation in seen.values() for note in observation.notes]
    if uncalibrated:
        why = "ceilings are the spec sheet's" if placed else "no spec sheet knows this device, so there is no roofline"
        notes.append(f"{why}; `kernelevolve platforms --calibrate` measures this device's own")
    return tuple(dict.fromkeys(notes))
