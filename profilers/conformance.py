"""What every profiler must keep to, for the tests of plug-ins.

In a plug-in's own tests:

    def test_it_conforms() -> None:
        assert check_profiler(MyProfiler()) == []

Hardware is not needed: where the profiler can't be used, what is checked is that it says so.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.platform import Availability, Platform, SpecSheet, get_platform, known_platforms
from kernelevolve.profilers.json_import import MOST_EVENTS, kind_of
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import KernelMeasurement, Metric, PartState, Timeline
from kernelevolve.profilers.subject import Subject, TargetRun

QUICK_S = 1.0
"""Seconds that `missing` may take; every profile asks every profiler first."""
SLACK = 0.02
"""Shares may exceed 1 by this: counters of one share may come from several runs."""
BASE_UNITS = ("", "s", "B", "B/s", "FLOP/s", "1/s")
"""Units of `Metric.unit`."""
_MOST_WHY = 1_000
_PROFILER_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
_METRIC_NAME = re.compile(r"[A-Za-z]\w*(\.[\w-]+)*")
_KINDS = ("kernel", "memcpy", "memset", "launch", "sync", "operator")


def check_profiler(profiler: Profiler, subject: Subject | None = None) -> list[str]:
    """Try a profiler out.

    It is asked about every known platform and about one it can't know. Where it can be used, it looks at candidates
    whose process dies, takes too long, or answers with nonsense: a profiler must say so and raise nothing but a
    `KernelEvolveError`.

    Args:
        profiler: the plug-in, made as it will be used.
        subject: a candidate of the author's for which the profiler should see something; without one, what it sees
            of a candidate that works is not checked.

    Returns:
        What is wrong, a sentence each; empty when it conforms.
    """
    problems = _declarations(profiler)
    if problems:
        return problems
    usable = []
    for platform in [*map(get_platform, known_platforms()), _UnknownPlatform("")]:
        said, found = _missing(profiler, platform)
        problems += found
        if not found and not said and _fits(profiler, platform):
            usable.append(platform)
    if usable:
        problems += _failing_subjects(profiler, usable[0])
    if subject is not None:
        problems += _working_subject(profiler, subject)
    return list(dict.fromkeys(problems))


def check_observation(observation: Observation, profiler: str) -> list[str]:
    """Check what a profiler saw: states, names, units and ranges.

    Args:
        observation: what `observe` returned.
        profiler: the profiler's name, which every metric must have as its source.
    """
    try:
        Observation.model_validate_json(observation.model_dump_json())
    except ValidationError as error:
        return [f"The observation does not survive being written and read: {error.errors()[0]['msg']}."]
    problems = []
    if (observation.state is PartState.DONE) != (observation.why == ""):
        problems.append(
            f"The state is {observation.state.value} and `why` is {observation.why!r:.60}: it says what is missing, "
            "and is empty when all is done."
        )
    if len(observation.why) > _MOST_WHY:
        problems.append(f"`why` has {len(observation.why):,} characters; at most {_MOST_WHY:,} are shown.")
    names = [kernel.kernel for kernel in observation.kernels]
    problems += [
        f"Kernel {name!r:.60} is there twice; `calls` counts launches." for name in names if names.count(name) > 1
    ]
    for kernel in observation.kernels:
        problems += _kernel(kernel, profiler)
    if observation.timeline is not None:
        problems += _timeline(observation.timeline)
    return list(dict.fromkeys(problems))


# -- what it says of itself -------------------------------------------------------------------------------------------


def _declarations(profiler: Any) -> list[str]:
    if not isinstance(profiler, Profiler):
        return [f"{type(profiler).__name__} is no subclass of kernelevolve.profilers.profiler.Profiler."]
    problems = []
    name: Any = getattr(profiler, "name", None)
    if not isinstance(name, str) or not _PROFILER_NAME.fullmatch(name):
        problems.append(f"`name` is {name!r}: use lower case, digits and underscores, at most 30 characters.")
    families: Any = getattr(profiler, "families", None)
    if not isinstance(families, tuple) or not families or not all(isinstance(entry, str) for entry in families):
        problems.append(f'`families` is {families!r}: give a tuple such as ("cuda", "hip"), or ("*",) for every one.')
    runs: Any = profiler.runs_candidate
    if not isinstance(runs, bool):
        problems.append(f"`runs_candidate` is {runs!r}: it is True or False.")
    try:
        type(profiler)()
    except TypeError as error:
        problems.append(f"The class can't be made without arguments, as it will be: {error}.")
    return problems


def _fits(profiler: Profiler, platform: Platform) -> bool:
    return "*" in profiler.families or platform.family in profiler.families


class _UnknownPlatform(Platform):
    """A platform that no profiler was written for."""

    family = "unheard_of"
    device_kind = "cpu"

    @classmethod
    def known_architectures(cls) -> tuple[str, ...]:
        """Only one."""
        return ("",)

    def availability(self) -> Availability:
        """Nothing can be done for it."""
        return Availability(platform=self.name, levels={}, missing=("It does not exist.",))

    def spec_sheet(self) -> SpecSheet:
        """Nothing is known of it."""
        return SpecSheet(chip="unheard-of")


def _missing(profiler: Profiler, platform: Platform) -> tuple[str, list[str]]:
    """What `missing` says for a platform, and what is wrong with that."""
    on_device = _device_is_up()
    try:
        profiler.missing(platform)  # The first call may import what later ones have.
        began = time.monotonic()
        said: Any = profiler.missing(platform)
        took = time.monotonic() - began
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything, and this is what is looked for
        return "", [f"missing({platform.name}) raises {type(error).__name__}: {error}."]
    if not isinstance(said, str):
        return "", [f"missing({platform.name}) returns {said!r:.60}: it is a text, empty where nothing is missing."]
    problems = []
    if took > QUICK_S:
        problems.append(f"missing({platform.name}) takes {took:.1f} s; at most {QUICK_S:.0f} s, it is asked each time.")
    if not on_device and _device_is_up():
        problems.append(f"missing({platform.name}) initialises the device.")
    # What only reads code may be asked about any platform; what runs it needs a device that it understands.
    if not said and profiler.runs_candidate and not _fits(profiler, platform):
        families = ", ".join(profiler.families)
        problems.append(f"missing({platform.name}) is empty, though the profiler is for {families} only.")
    if len(said) > _MOST_WHY:
        problems.append(f"missing({platform.name}) has {len(said):,} characters; at most {_MOST_WHY:,} are shown.")
    return said, problems


def _device_is_up() -> bool:
    torch: Any = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


# -- what it does -----------------------------------------------------------------------------------------------------


@dataclass
class _WatchedSubject(Subject):
    """A subject that counts its runs.

    Args:
        answer: runs it, or pretends to.
    """

    answer: Callable[..., TargetRun] | None = None
    runs: int = 0

    def run(self, *arguments: Any, **options: Any) -> TargetRun:
        """Count, and pass on."""
        assert self.answer is not None
        self.runs += 1
        return self.answer(*arguments, **options)


_ENDINGS: dict[str, dict[str, Any]] = {
    "dies": {"result": {}, "output": "Killed", "code": -9, "timed_out": False},
    "takes too long": {"result": {}, "output": "", "code": -9, "timed_out": True},
    "answers with nonsense": {
        "result": {"runs": "nonsense", "calls": "many", "seconds": None, "output": 7},
        "output": "",
        "code": 0,
        "timed_out": False,
    },
}
"""How the process of a candidate may end."""


def _failing_subjects(profiler: Profiler, platform: Platform) -> list[str]:
    problems = []
    for ending, values in _ENDINGS.items():
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
            ended = TargetRun(folder=Path(folder), took_s=1.0, **values)
            subject = _WatchedSubject(
                task="task.py",
                candidate=Candidate(language="cpp", source="// nothing"),
                platform=platform,
                case="case",
                dtype="float32",
                folder=Path(folder),
                compile_code=list,
                answer=lambda *_arguments, ended=ended, **_options: ended,
            )
            observation, found = _observed(profiler, subject, f"a candidate that {ending}")
        problems += found
        failed = ending != "answers with nonsense" and subject.runs > 0
        if failed and observation is not None and observation.state is PartState.DONE:
            problems.append(f"Of a candidate that {ending} the state is done; say what went wrong in `why`.")
    return problems


def _working_subject(profiler: Profiler, given: Subject) -> list[str]:
    said, problems = _missing(profiler, given.platform)
    if said:
        return [*problems, f"The subject can't be tried: {said}"]
    copied: dict[str, Any] = {entry.name: getattr(given, entry.name) for entry in fields(Subject)}
    subject = _WatchedSubject(**copied, answer=given.run)
    observation, found = _observed(profiler, subject, "the subject")
    if observation is not None and observation.state in (PartState.FAILED, PartState.MISSING):
        found.append(f"It sees nothing of the subject: {observation.why}")
    return [*problems, *found]


def _observed(profiler: Profiler, subject: _WatchedSubject, what: str) -> tuple[Observation | None, list[str]]:
    """What it sees of a subject, and what is wrong with that."""
    try:
        observation: Any = profiler.observe(subject)
    except KernelEvolveError:
        return None, []
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything, and this is what is looked for
        return None, [f"Of {what}, observe raises {type(error).__name__}: {error}."]
    if not isinstance(observation, Observation):
        return None, [f"observe returns {type(observation).__name__}, not an Observation."]
    problems = check_observation(observation, profiler.name)
    if subject.runs and not profiler.runs_candidate:
        problems.append("It runs the candidate and says that it does not: `runs_candidate` must be True.")
    if not subject.runs and profiler.runs_candidate and observation.state is PartState.DONE:
        problems.append(
            "It sees something without Subject.run: set `runs_candidate` to False, or run the candidate in the "
            "confined process that Subject.run makes."
        )
    return observation, problems


# -- what it saw ------------------------------------------------------------------------------------------------------


def _kernel(kernel: KernelMeasurement, profiler: str) -> list[str]:
    here = f"kernel {kernel.kernel!r:.60}"
    problems = []
    if not kernel.kernel.strip():
        problems.append("A kernel has no name.")
    if kernel.calls < 1:
        problems.append(f"{here}: {kernel.calls} calls.")
    if kernel.time_s is not None:
        problems += _metric(f"{here}, time_s", "time", kernel.time_s, profiler)
    for name, metric in kernel.metrics.items():
        if not _METRIC_NAME.fullmatch(name):
            problems.append(f"{here}: the metric {name!r} is no name; use words, underscores and dots.")
        problems += _metric(f"{here}, {name}", name, metric, profiler)
    lines = kernel.lines
    if any(line < 1 for line in lines) or any(share < 0 for share in lines.values()) or sum(lines.values()) > 1 + SLACK:
        problems.append(f"{here}: `lines` are shares of all samples, by line from 1; together they are at most 1.")
    for scope in kernel.scopes:
        if not 0.0 <= scope.share <= 1.0 + SLACK or scope.cycles < 0:
            problems.append(f"{here}, scope {scope.name!r}: the share is from 0 to 1, and cycles are not negative.")
    if any(size < 1 for size in kernel.grid) or (kernel.threads_per_block or 1) < 1:
        problems.append(f"{here}: sizes of grid and block are positive.")
    return problems


def _metric(here: str, name: str, metric: Metric, profiler: str) -> list[str]:
    problems = []
    if metric.source != profiler:
        problems.append(f"{here}: the source is {metric.source!r}; it is the profiler's name, {profiler!r}.")
    kind = kind_of(name)
    if kind is None:
        if metric.unit not in BASE_UNITS:
            problems.append(f"{here}: the unit {metric.unit!r} is no base unit; those are {', '.join(BASE_UNITS[1:])}.")
        return problems if math.isfinite(metric.value) else [*problems, f"{here}: the value is {metric.value}."]
    if metric.unit != kind.unit:
        problems.append(f"{here}: the unit is {metric.unit!r}; by docs/profiling.md it is {kind.unit!r}.")
    most = math.inf if kind.most is None else kind.most * (1.0 + SLACK)
    if not math.isfinite(metric.value) or not 0.0 <= metric.value <= most:
        problems.append(f"{here}: the value is {metric.value:g}; it is {kind.range}.")
    return problems


def _timeline(timeline: Timeline) -> list[str]:
    problems = []
    times = ("wall_us", "busy_us", "gaps_us", "copy_us", "launches", "synchronizations", "host_copies", "device_copies")
    for name in times:
        value = getattr(timeline, name)
        if not math.isfinite(value) or value < 0:
            problems.append(f"timeline, {name}: {value}.")
    if len(timeline.events) > MOST_EVENTS:
        problems.append(f"The timeline has {len(timeline.events):,} events; at most {MOST_EVENTS:,}.")
    kinds = {event.kind for event in timeline.events} - set(_KINDS)
    if kinds:
        problems.append(f"The timeline has events of the kind {', '.join(sorted(kinds))}; known: {', '.join(_KINDS)}.")
    return problems
