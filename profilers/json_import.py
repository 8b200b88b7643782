"""What other profilers measured: a JSON format to hand it in, the names of metrics, and the profiler that reads it.

The format is `kernelevolve-profile`, version 1; `ImportedProfile` is its layout, and `docs/profiling.md` describes it
with an example. Nothing is run. Numbers are converted to base units; what makes no sense is refused with its path.
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, PositiveInt, StringConstraints, ValidationError

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.intervals import covered
from kernelevolve.evaluation.platform import Platform
from kernelevolve.profilers.counters import STALLS
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import DeviceEvent, KernelMeasurement, Metric, PartState, Scope, Timeline
from kernelevolve.profilers.subject import Subject

FORMAT = "kernelevolve-profile"
VERSION = 1
VARIABLE = "KERNELEVOLVE_PROFILE_IMPORT"
"""Environment variable that names the file to import."""
MOST_BYTES = 100 << 20
"""A larger file is not read."""
MOST_KERNELS = 10_000
"""Of more kernels, those that take the most time are kept."""
MOST_EVENTS = 10_000
"""Of more events, the first are kept."""
_MOST_PROBLEMS = 5
_MOST_NAMES = 10

UNITS: dict[str, tuple[str, float]] = {
    "": ("", 1.0), "%": ("", 0.01), "cycles": ("", 1.0),
    "s": ("s", 1.0), "ms": ("s", 1e-3), "us": ("s", 1e-6), "µs": ("s", 1e-6), "ns": ("s", 1e-9),
    "B": ("B", 1.0), "kB": ("B", 1e3), "MB": ("B", 1e6), "GB": ("B", 1e9),
    "KiB": ("B", 2.0**10), "MiB": ("B", 2.0**20), "GiB": ("B", 2.0**30),
    "B/s": ("B/s", 1.0), "MB/s": ("B/s", 1e6), "GB/s": ("B/s", 1e9), "TB/s": ("B/s", 1e12),
    "FLOP/s": ("FLOP/s", 1.0), "GFLOP/s": ("FLOP/s", 1e9), "TFLOP/s": ("FLOP/s", 1e12),
    "1/s": ("1/s", 1.0), "Hz": ("1/s", 1.0), "MHz": ("1/s", 1e6), "GHz": ("1/s", 1e9),
}  # fmt: skip
"""Unit in a file → base unit and the factor to it. Base units are those of `Metric.unit`."""


# -- names of metrics -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MetricKind:
    """What a metric of a known name means."""

    meaning: str
    """One line."""
    unit: str = ""
    """Base unit; empty for counts and shares."""
    most: float | None = None
    """Largest value that makes sense: 1 for shares, None where there is none. The least is 0."""

    @property
    def range(self) -> str:
        """The values that make sense, for people."""
        return "≥ 0" if self.most is None else f"0 to {self.most:g}"


def _share(meaning: str) -> MetricKind:
    return MetricKind(meaning, most=1.0)


KNOWN_METRICS: dict[str, MetricKind] = {
    # How busy the parts are.
    "time": MetricKind("device time of one launch", "s"),
    "time.<profiler>": MetricKind("the same, as that profiler measured it", "s"),
    "compute_share": _share("busiest arithmetic part, share of its peak"),
    "memory_share": _share("busiest part of the memory system, share of its peak"),
    "dram_share": _share("device memory's bandwidth in use"),
    "l2_share": _share("L2's bandwidth in use"),
    "l1_share": _share("L1's bandwidth in use; on AMD, time that the vector memory unit is busy"),
    "l1_stall_share": _share("time that the vector memory unit is stalled"),
    "dram_read_bytes": MetricKind("read from device memory", "B"),
    "dram_write_bytes": MetricKind("written to device memory", "B"),
    **{f"cache_hit_rate.{level}": _share(f"accesses that hit {where}") for level, where in (
        ("l1", "the L1"), ("l2", "the L2"), ("icache", "the instruction cache"), ("dcache", "the data cache"),
        ("llc", "the last-level cache"),
    )},
    "cache_miss_rate.<level>": _share("accesses that miss that level: l1, l2, llc"),
    "tlb_miss_rate": _share("loads that miss the data TLB"),
    # Occupancy and balance.
    "occupancy": _share("warps that are resident over those that a multiprocessor holds"),
    "occupancy_limit": _share("what the kernel's resources allow of it"),
    "waves": MetricKind("blocks over blocks that run at once"),
    "sm_cycles.avg": MetricKind("cycles with work, mean over the multiprocessors"),
    "sm_cycles.max": MetricKind("the same, largest"),
    "sm_cycles.elapsed": MetricKind("cycles from the kernel's start to its end"),
    # Instructions.
    "issue_share": _share("cycles in which an instruction is issued"),
    "instructions": MetricKind("instructions of warps; on a CPU, of threads"),
    "thread_instructions": MetricKind("instructions times the threads that were active in each"),
    "lane_use": _share("lanes that are active in vector instructions"),
    "matrix_unit_share": _share("cycles in which matrix units work"),
    "pipe_share.fma": _share("cycles in which floating-point units work"),
    "pipe_share.alu": _share("cycles in which integer units work; on AMD, vector units of any kind"),
    "pipe_share.scalar": _share("cycles in which scalar units work (AMD)"),
    "pipe_share.special": _share("use of the special-function unit's issue slots"),
    "pipe_share.load_store": _share("use of the load-store unit's issue slots"),
    "integer_instructions": MetricKind("integer instructions of threads"),
    "float_instructions": MetricKind("fp32 instructions of threads"),
    "half_instructions": MetricKind("fp16 instructions of threads"),
    "double_instructions": MetricKind("fp64 instructions of threads"),
    "conversion_instructions": MetricKind("conversions of threads"),
    "control_instructions": MetricKind("branches and the like, of threads"),
    "memory_instructions": MetricKind("memory instructions of threads"),
    "fma_operations": MetricKind("fp32 multiply-adds of threads"),
    "add_operations": MetricKind("fp32 additions of threads"),
    "mul_operations": MetricKind("fp32 multiplications of threads"),
    "branch_efficiency": _share("branches that all threads of a warp take alike"),
    # Memory access patterns.
    "global_loads": MetricKind("load requests to device memory, one for each warp"),
    "global_load_sectors": MetricKind("32-byte sectors that they touch"),
    "global_stores": MetricKind("store requests to device memory, one for each warp"),
    "global_store_sectors": MetricKind("32-byte sectors that they touch"),
    "load_sector_use": _share("bytes used of the sectors that loads touch"),
    "store_sector_use": _share("bytes used of the sectors that stores touch"),
    "global_atomics": MetricKind("atomics on device memory that return nothing"),
    "global_atomic_returns": MetricKind("atomics on device memory that return the old value"),
    "l2_atomics": MetricKind("atomics that reach the L2"),
    "l2_reductions": MetricKind("atomics without an answer that reach the L2"),
    "shared_wavefronts": MetricKind("passes through shared memory (LDS), conflicts included"),
    "bank_conflicts": MetricKind("passes that exist only because of bank conflicts"),
    "shared_load_conflicts": MetricKind("those of loads"),
    "shared_store_conflicts": MetricKind("those of stores"),
    "local_loads": MetricKind("loads from local memory: spills"),
    "local_stores": MetricKind("stores to local memory: spills"),
    # Why warps wait, as a share of their time between two instructions.
    **{f"stall.{reason}": _share(meaning) for reason, meaning in STALLS.items()},
    "stall.<reason>": _share("another reason"),
    # Accelerators made of processing elements with engines of their own, such as MTIA.
    "pe_utilisation": _share("processing elements that are busy, mean over the time"),
    "pe_cpu_time": MetricKind("time of the processing elements' own processors", "s"),
    "pe_bandwidth.read": MetricKind("bytes that one processing element reads in a second", "B/s"),
    "pe_bandwidth.write": MetricKind("bytes that one processing element writes in a second", "B/s"),
    "engine_utilisation.<engine>": _share("time that an engine works: dpe, sfu, mlu, re, …"),
    "engine_stall_share.<engine>": _share("time that an engine waits with work to do"),
    "engine_stall_cycles.<engine>": MetricKind("the same in cycles"),
    # CPUs, of one call.
    "cycles": MetricKind("cycles of all threads"),
    "ipc": MetricKind("instructions in a cycle"),
    "branch_miss_rate": _share("branches that were predicted wrongly"),
    "task_clock": MetricKind("processor time of all threads", "s"),
    "cpu_utilisation": _share("cores that are busy"),
    "context_switches": MetricKind("times that a thread lost its core"),
    "cpu_migrations": MetricKind("times that a thread changed its core"),
    "page_faults": MetricKind("page faults"),
    "samples": MetricKind("samples that were taken"),
    "sample_share.<part>": _share("samples in a part: candidate, openmp, math, system, other"),
}  # fmt: skip
"""Name → what it means. A part in angle brackets stands for any word. Other names are kept; no rule looks at them."""


def kind_of(name: str) -> MetricKind | None:
    """What a metric's name means; None for a name that is not known."""
    if name in KNOWN_METRICS:
        return KNOWN_METRICS[name]
    family, _dot, member = name.rpartition(".")
    if not family or not member:
        return None
    return next((kind for known, kind in KNOWN_METRICS.items() if known.startswith(f"{family}.<")), None)


# -- the format -------------------------------------------------------------------------------------------------------


def _unit(unit: str) -> str:
    if unit not in UNITS:
        raise ValueError(f"the unit {unit!r} is not known; known: {', '.join(filter(None, UNITS))}; none for counts")
    return unit


_Name = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
_MetricName = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z]\w*(\.[\w-]+)*$")]
_Share = Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
_Microseconds = Annotated[FiniteFloat, Field(ge=0.0)]


class ImportedMetric(Contract):
    """A number."""

    value: FiniteFloat
    """In the unit."""
    unit: Annotated[str, AfterValidator(_unit)] = ""
    """One of `UNITS`; empty for counts and for shares from 0 to 1."""
    raw: _Text = ""
    """What the tool itself calls it."""

    def converted(self) -> Metric:
        """The same in base units."""
        unit, factor = UNITS[self.unit]
        return Metric(value=self.value * factor, unit=unit, source=ImportedProfiler.name, raw=self.raw)


class ImportedScope(Contract):
    """A named stretch inside a kernel."""

    name: _Name
    """Name of the stretch."""
    cycles: Annotated[FiniteFloat, Field(ge=0.0)]
    """Cycles that one warp or core spends in it, all passes together."""
    share: _Share
    """Its cycles over those of the longest stretch of the kernel."""


class ImportedKernel(Contract):
    """What was measured of one kernel."""

    name: _Name
    """As the device reports it; once in a file."""
    calls: PositiveInt = 1
    """Launches in one run of the candidate."""
    time: ImportedMetric | None = None
    """Device time of one launch, median."""
    grid: Annotated[tuple[PositiveInt, ...], Field(max_length=6)] = ()
    """Blocks, or processing elements, in each dimension."""
    threads_per_block: PositiveInt | None = None
    """Threads of a block."""
    metrics: Annotated[dict[_MetricName, ImportedMetric], Field(max_length=1_000)] = Field(default_factory=dict)
    """Name → number; see `KNOWN_METRICS`."""
    scopes: Annotated[tuple[ImportedScope, ...], Field(max_length=1_000)] = ()
    """Stretches inside it."""
    lines: Annotated[dict[PositiveInt, _Share], Field(max_length=10_000)] = Field(default_factory=dict)
    """Line of the source → share of the samples that fell on it; together at most 1."""


class ImportedEvent(Contract):
    """One thing that happened during the run."""

    name: _Name
    """Kernel, copy, or call."""
    kind: Literal["kernel", "memcpy", "memset", "launch", "sync", "operator"]
    """What it was. The first three happen on the device."""
    start_us: _Microseconds
    """Start, microseconds from the start of the run."""
    duration_us: _Microseconds
    """Length, microseconds."""
    track: _Name
    """Where it is drawn, e.g. `stream 7`, `host`."""
    bytes: Annotated[int, Field(ge=0)] | None = None
    """Bytes moved, for copies."""
    correlation: int | None = None
    """Ties a launch on the host to what it started on the device."""
    with_host: bool = False
    """Of a `memcpy`: whether it goes between host and device."""
    only_moves: bool = False
    """Of a `kernel`: whether it only moves or converts data."""


class ImportedTimeline(Contract):
    """One run of the candidate as host and device saw it."""

    wall_us: _Microseconds | None = None
    """Host time of the run, microseconds; the end of the last event where it is not given."""
    events: Annotated[tuple[ImportedEvent, ...], Field(min_length=1)]
    """All that happened."""


class ImportedProfile(Contract):
    """A whole file."""

    format: Literal["kernelevolve-profile"]
    """Tells the file from others."""
    version: Literal[1]
    """Version of this layout."""
    profiler: _Name
    """The tool that measured."""
    device: _Name
    """The device on which it measured."""
    kernels: tuple[ImportedKernel, ...] = ()
    """What was measured, kernel by kernel."""
    timeline: ImportedTimeline | None = None
    """Launches, gaps, copies."""
    notes: Annotated[tuple[_Text, ...], Field(max_length=20)] = ()
    """What a reader should know."""


# -- reading ----------------------------------------------------------------------------------------------------------


def read_profile(path: Path) -> Observation:
    """Read a file of the format.

    Of more than `MOST_KERNELS` kernels or `MOST_EVENTS` events the rest is left out, which makes the observation
    *partial* and is said in its `why`. Metrics of names that are not known are kept and named in a note.

    Raises:
        PlatformError: the file is not there, has more than `MOST_BYTES`, or breaks the format; the text has the path
            of each value that is refused.
    """
    profile = _parsed(path)
    problems = _problems(profile)
    if problems:
        raise _refused(path, problems)
    by_time = sorted(profile.kernels, key=lambda entry: -_microseconds(entry) * entry.calls)
    kernels = profile.kernels if len(by_time) <= MOST_KERNELS else tuple(by_time[:MOST_KERNELS])
    timeline = _timeline(profile.timeline) if profile.timeline else None
    why = []
    if len(by_time) > MOST_KERNELS:
        rest = by_time[MOST_KERNELS:]
        spent = sum(_microseconds(entry) * entry.calls for entry in rest)
        why.append(
            f"The file has {len(by_time):,} kernels; the {MOST_KERNELS:,} that take the most time are kept, and "
            f"{len(rest):,} with {spent:.4g} µs in all are left out."
        )
    if timeline is not None and timeline.dropped:
        whole = len(timeline.events) + timeline.dropped
        why.append(f"The timeline has {whole:,} events; the first {len(timeline.events):,} are kept for the trace.")
    if not kernels and timeline is None:
        why.append(f"{path.name} has neither kernels nor a timeline.")
    return Observation(
        state=PartState.PARTIAL if why else PartState.DONE,
        why=" ".join(why),
        kernels=tuple(map(_measurement, kernels)),
        timeline=timeline,
        notes=(f"imported: measured by {profile.profiler} on {profile.device}", *_unknown(kernels), *profile.notes),
    )


def _parsed(path: Path) -> ImportedProfile:
    try:
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise _refused(path, ["there is no such file"])
        if size > MOST_BYTES:
            raise _refused(path, [f"it has {size / 2**20:.0f} MiB; at most {MOST_BYTES >> 20} MiB are read"])
        text = path.read_text(encoding="utf-8")
        wrong = _wrong_head(json.loads(text))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(path, [f"it can't be read as JSON: {error}"]) from error
    if wrong:
        raise _refused(path, [wrong])
    try:
        return ImportedProfile.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _refused(path, [_told(entry) for entry in error.errors()]) from error


def _wrong_head(content: Any) -> str:
    """Why a file is none of this format and version; empty where it is."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return f'it is no JSON object with "format": "{FORMAT}"'
    if content.get("version") != VERSION:
        return f"it is of version {content.get('version')!r:.20}; version {VERSION} is read here"
    return ""


def _refused(path: Path, problems: list[str]) -> PlatformError:
    more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
    return PlatformError(
        Finding.INTERNAL,
        f"{path} can't be imported: {'; '.join(problems[:_MOST_PROBLEMS])}{more}.",
        "docs/profiling.md describes the format, with an example.",
    )


def _told(entry: Any) -> str:
    """One refusal of pydantic, with the path of the value."""
    said = entry["msg"].removeprefix("Value error, ")
    given = entry["input"]
    shown = f" (it is {given!r:.60})" if isinstance(given, str | int | float) else ""
    return f"{_path_of(entry['loc'])}: {said[:1].lower()}{said[1:]}{shown}"


def _path_of(location: tuple[int | str, ...]) -> str:
    """E.g. `kernels[0].metrics.pe_utilisation.value`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def _problems(profile: ImportedProfile) -> list[str]:
    """What the types alone can't refuse."""
    problems: list[str] = []
    first: dict[str, int] = {}
    for index, kernel in enumerate(profile.kernels):
        here = f"kernels[{index}]"
        if kernel.name in first:
            problems.append(
                f"{here}.name: {kernel.name!r:.80} is kernels[{first[kernel.name]}] already; `calls` counts launches"
            )
        first.setdefault(kernel.name, index)
        for name, metric in kernel.metrics.items():
            problems += _misfit(f"{here}.metrics.{name}", metric, kind_of(name))
        if kernel.time is not None:
            problems += _misfit(f"{here}.time", kernel.time, KNOWN_METRICS["time"])
        if sum(kernel.lines.values()) > 1.0 + 1e-6:
            problems.append(f"{here}.lines: together {sum(kernel.lines.values()):.4g}; shares of lines are at most 1")
    return problems


def _misfit(path: str, metric: ImportedMetric, kind: MetricKind | None) -> list[str]:
    """How a metric contradicts what its name means."""
    if kind is None:
        return []
    base, factor = UNITS[metric.unit]
    if base != kind.unit:
        wanted = f"{kind.unit!r}" if kind.unit else "none: it is a share" if kind.most == 1.0 else "none: it is a count"
        return [f"{path}.unit: {metric.unit!r}, but its unit is {wanted}"]
    value = metric.value * factor
    if value < 0.0 or (kind.most is not None and value > kind.most):
        what = "a share runs from 0 to 1" if kind.most == 1.0 else f"it is {kind.range}"
        shown = f"{metric.value:g}{metric.unit and ' ' + metric.unit}"
        return [f"{path}.value: {shown}, but {what}"]
    return []


def _unknown(kernels: tuple[ImportedKernel, ...]) -> list[str]:
    """A note of the metrics that have no meaning here."""
    names = dict.fromkeys(name for kernel in kernels for name in kernel.metrics if kind_of(name) is None)
    told = []
    for name in list(names)[:_MOST_NAMES]:
        close = difflib.get_close_matches(name, KNOWN_METRICS, 1, 0.8)
        told.append(f"{name} (did you mean {close[0]}?)" if close else name)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return [f"imported metrics that no rule knows are kept as they are: {', '.join(told)}{more}"] if told else []


def _microseconds(kernel: ImportedKernel) -> float:
    return kernel.time.converted().value * 1e6 if kernel.time else 0.0


def _measurement(kernel: ImportedKernel) -> KernelMeasurement:
    return KernelMeasurement(
        kernel=kernel.name,
        calls=kernel.calls,
        time_s=kernel.time.converted() if kernel.time else None,
        metrics={name: metric.converted() for name, metric in kernel.metrics.items()},
        lines=kernel.lines,
        scopes=tuple(Scope(name=entry.name, cycles=entry.cycles, share=entry.share) for entry in kernel.scopes),
        grid=kernel.grid,
        threads_per_block=kernel.threads_per_block,
    )


def _timeline(given: ImportedTimeline) -> Timeline:
    """Counts and times of all events, and the first of them."""
    events = sorted(given.events, key=lambda event: event.start_us)
    device = [event for event in events if event.kind in ("kernel", "memcpy", "memset")]
    spans = [(event.start_us, event.start_us + event.duration_us) for event in device]
    busy = covered(spans)
    span = max((end for _start, end in spans), default=0.0) - min((start for start, _end in spans), default=0.0)
    moving = [event for event in device if event.kind == "memcpy" or (event.kind == "kernel" and event.only_moves)]
    across = [event for event in moving if event.kind == "memcpy" and event.with_host]
    within = [event for event in moving if not (event.kind == "memcpy" and event.with_host)]
    kept = events[:MOST_EVENTS]
    return Timeline(
        runs=1,
        wall_us=max(event.start_us + event.duration_us for event in events) if given.wall_us is None else given.wall_us,
        busy_us=busy,
        launches=sum(event.kind == "kernel" for event in device),
        # Rounding can make the sum of back-to-back events longer than what they span.
        gaps_us=max(0.0, span - busy),
        synchronizations=sum(event.kind == "sync" for event in events),
        host_copies=len(across),
        device_copies=len(within),
        copy_us=sum(event.duration_us for event in moving),
        conversions=tuple(dict.fromkeys(event.name for event in within))[:20],
        events=tuple(
            DeviceEvent.model_validate(event.model_dump(exclude={"with_host", "only_moves"})) for event in kept
        ),
        dropped=len(events) - len(kept),
    )


class ImportedProfiler(Profiler):
    """Hands in what a profiler outside of the project measured.

    Args:
        path: the file; by default the one that `KERNELEVOLVE_PROFILE_IMPORT` names when it is asked for.
    """

    name = "import"
    families = ("*",)
    runs_candidate = False

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @property
    def path(self) -> Path | None:
        """The file, if one is named."""
        named = os.environ.get(VARIABLE)
        return self._path or (Path(named) if named else None)

    def missing(self, platform: Platform) -> str:
        """It needs a file."""
        if self.path is None:
            return f"No file to import is named: set {VARIABLE} to one."
        return "" if self.path.is_file() else f"The file to import, {self.path}, is not there."

    def observe(self, subject: Subject) -> Observation:
        """Read the file. Nothing in it says that it is about this candidate: that is for whoever hands it in."""
        if self.path is None:
            return Observation(state=PartState.MISSING, why=self.missing(subject.platform))
        return read_profile(self.path)
