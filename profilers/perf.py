"""Counters and samples of the CPU, through Linux perf."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.languages.cpp_code import read_disassembly
from kernelevolve.evaluation.platform import Platform
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import KernelMeasurement, Metric, PartState
from kernelevolve.profilers.subject import Subject, TargetRun
from kernelevolve.profilers.timeline import failure

CONTROL_VARIABLE = "KERNELEVOLVE_PERF_CONTROL"
"""Environment variable with the file descriptors of `PerfControl`: commands, acknowledgements, lengths of stretches."""

GROUPS = (
    ("cycles", "instructions"),
    ("branches", "branch-misses"),
    ("L1-dcache-loads", "L1-dcache-load-misses"),
    ("LLC-loads", "LLC-load-misses"),
    ("cache-references", "cache-misses"),
    ("dTLB-loads", "dTLB-load-misses"),
)
"""Hardware events whose ratio is wanted, so that they must be counted at the same time."""
_LAST_LEVEL = (("LLC-loads", "LLC-load-misses"), ("cache-references", "cache-misses"))
SOFTWARE = ("task-clock", "context-switches", "cpu-migrations", "page-faults")
"""Events that the kernel itself counts, which need no hardware."""

_SAMPLES_PER_SECOND = 1999  # Odd, so as not to fall in step with timers.
_ACKNOWLEDGEMENT_LIMIT_S = 10.0
_PROBE_LIMIT_S = 20.0
_SCRIPT_LIMIT_S = 60.0
_SYSCTL = Path("/proc/sys/kernel")
_LOG_CHARACTERS = 3_000
_MOST_LINES = 40


# -- inside the profiled process --------------------------------------------------------------------------------------


class PerfControl:
    """Switches counting on and off from inside the profiled process.

    Args:
        commands: descriptor that perf reads commands from.
        acknowledgements: descriptor that perf answers on.
        stretches: descriptor that hears how long each stretch took.
    """

    def __init__(self, commands: int, acknowledgements: int, stretches: int) -> None:
        self._commands, self._acknowledgements, self._stretches = commands, acknowledgements, stretches
        self._began = math.nan

    @classmethod
    def from_environment(cls) -> PerfControl:
        """The control that whoever started this process set up.

        Raises:
            RuntimeError: this process does not run under `perf_stat`, `perf_record` or `PerfProfiler`.
        """
        numbers = os.environ.get(CONTROL_VARIABLE, "").split(",")
        if len(numbers) != 3:
            raise RuntimeError(f"{CONTROL_VARIABLE} is not set: start this process with perf_stat or perf_record.")
        return cls(*map(int, numbers))

    def enable(self) -> None:
        """Begin to count; returns once perf counts.

        Raises:
            RuntimeError: perf does not answer.
        """
        self._say(b"enable\n")
        self._began = time.perf_counter()

    def disable(self) -> None:
        """Stop counting; returns once perf has stopped.

        Raises:
            RuntimeError: perf does not answer.
        """
        took = time.perf_counter() - self._began
        self._say(b"disable\n")
        os.write(self._stretches, f"{took!r}\n".encode())

    def _say(self, command: bytes) -> None:
        os.write(self._commands, command)
        ready, _, _ = select.select([self._acknowledgements], [], [], _ACKNOWLEDGEMENT_LIMIT_S)
        if not ready or not os.read(self._acknowledgements, 16).startswith(b"ack"):
            raise RuntimeError(f"perf did not acknowledge {command.decode().strip()!r}.")


# -- outside ----------------------------------------------------------------------------------------------------------


@dataclass
class ControlChannel:
    """The pipes of one `PerfControl`, as whoever starts perf sees them."""

    arguments: tuple[str, ...]
    """Options of `perf stat` and `perf record`: begin switched off, listen for commands."""
    environment: dict[str, str]
    """Variables for perf, which hands them on to the profiled process."""
    descriptors: tuple[int, ...]
    """File descriptors that perf and the profiled process inherit."""
    _stretches: int

    def seconds(self) -> float:
        """Total length of the stretches that were counted, seconds; call it once the process has ended.

        It is the profiled process's own word; what it says that makes no sense counts as nothing.
        """
        os.set_blocking(self._stretches, False)
        with contextlib.suppress(BlockingIOError):
            text = os.read(self._stretches, 1 << 16).decode(errors="replace")
            numbers = [float(word) for word in text.split() if re.fullmatch(r"\d+(?:\.\d+)?(?:e-?\d+)?", word)]
            return math.fsum(number for number in numbers if math.isfinite(number))
        return 0.0


@contextmanager
def control_channel() -> Iterator[ControlChannel]:
    """Pipes through which a process under perf can switch it on and off."""
    pipes = [os.pipe() for _ in range(3)]
    (commands, say), (hear, acknowledgements), (stretches, tell) = pipes
    try:
        yield ControlChannel(
            arguments=("--delay", "-1", "--control", f"fd:{commands},{acknowledgements}"),
            # Decimal points in perf's output follow the locale.
            environment={CONTROL_VARIABLE: f"{say},{hear},{tell}", "LC_ALL": "C.UTF-8"},
            descriptors=(commands, say, hear, acknowledgements, tell),
            _stretches=stretches,
        )
    finally:
        for descriptor in (end for pipe in pipes for end in pipe):
            os.close(descriptor)


@dataclass(frozen=True)
class PerfAbility:
    """What perf can do on this machine, for this user."""

    state: PartState
    """*done*: all that is asked for; *partial*: some; *missing*: nothing."""
    why: str = ""
    """What is missing and what to do about it."""
    events: frozenset[str] = frozenset()
    """Events that can be counted."""
    user_only: bool = False
    """Whether the kernel's own part of the work cannot be seen."""


@dataclass(frozen=True)
class PerfResult:
    """What perf saw of one process."""

    state: PartState
    """How it went."""
    why: str = ""
    """What is missing and what to do about it; empty when done."""
    metrics: dict[str, Metric] = field(default_factory=dict)
    """Name → value, over all stretches that were counted; see `read_stat` and `read_samples`."""
    lines: dict[int, float] = field(default_factory=dict)
    """Line of the source → share of all samples, the greatest first; at most 40."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""
    output: str = ""
    """Last words of the process and perf."""
    code: int = 0
    """Exit code, which perf takes over from the process; negative for a signal."""


def perf_ability() -> PerfAbility:
    """Find out by counting a process that does nothing. Takes some hundredths of a second."""
    perf, nothing = shutil.which("perf"), shutil.which("true")
    if platform.system() != "Linux":
        return PerfAbility(PartState.MISSING, f"perf is a tool of Linux, and this is {platform.system()}.")
    if perf is None or nothing is None:
        return PerfAbility(PartState.MISSING, f"perf is not on PATH. {_install_advice()}")
    events = [event for group in GROUPS for event in group] + list(SOFTWARE)
    try:
        done = subprocess.run(
            [perf, "stat", "-j", "-e", ",".join(events), "--", nothing],
            capture_output=True, text=True, errors="replace", timeout=_PROBE_LIMIT_S, check=False,
            stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return PerfAbility(PartState.MISSING, f"{perf} does not run ({error}). {_install_advice()}")
    return ability_from(done.stderr + done.stdout, done.returncode)


def ability_from(output: str, code: int) -> PerfAbility:
    """What the output of a first `perf stat -j` says about perf.

    Args:
        output: what it wrote.
        code: its exit code.
    """
    counts = _read_counts(output)
    # One that is supported may still not have had its turn in so short a time.
    events = frozenset(event for event, count in counts.items() if count.supported)
    if not events:
        return PerfAbility(PartState.MISSING, _refusal(output, code))
    user_only = any(count.user_only for count in counts.values())
    if user_only:
        # The kernel does these, so that counting the user's part alone gives zero.
        events -= {"context-switches", "cpu-migrations"}
    absent = [group for group in GROUPS if not set(group) <= events]
    if len(absent) == len(GROUPS):
        return PerfAbility(PartState.PARTIAL, _no_hardware(), events, user_only)
    if not set(_LAST_LEVEL) <= set(absent):
        absent = [group for group in absent if group not in _LAST_LEVEL]  # Either will do.
    names = ", ".join(event for group in absent for event in group)
    why = f"This processor, or what is left of it in a virtual machine, does not count {names}." if names else ""
    return PerfAbility(PartState.PARTIAL if names else PartState.DONE, why, events, user_only)


def perf_stat(command: list[str], environment: dict[str, str], limit_s: float) -> PerfResult:
    """Run a process and count between its `PerfControl.enable` and `disable`.

    Args:
        command: the process, which must use `PerfControl.from_environment`.
        environment: variables on top of this process's.
        limit_s: seconds it may take.

    Returns:
        See `read_stat`. What cannot be had is said in `state` and `why`; nothing is raised.
    """
    ability = perf_ability()
    if ability.state is PartState.MISSING:
        return PerfResult(ability.state, ability.why)
    with tempfile.TemporaryDirectory(prefix="perf-") as folder, control_channel() as channel:
        file = Path(folder) / "stat.json"
        ended = _run([*stat_command(ability, file), *channel.arguments, "--", *command], environment, limit_s, channel)
        if ended.state is PartState.FAILED:
            return ended
        return _with_ability(read_stat(_read(file), channel.seconds(), _cores()), ability, ended)


def perf_record(
    command: list[str], environment: dict[str, str], limit_s: float, library: str = "", assembly: str = ""
) -> PerfResult:
    """Run a process and sample where it is, between its `PerfControl.enable` and `disable`.

    Args:
        command: the process, which must use `PerfControl.from_environment`.
        environment: variables on top of this process's.
        limit_s: seconds it may take.
        library: file name of the candidate's library, without folder.
        assembly: its code with lines, the stage `assembly` of `cpp_code.kernel_code`. The library itself needs no line
            information, because that changes no instruction.

    Returns:
        See `read_samples`. What cannot be had is said in `state` and `why`; nothing is raised.
    """
    ability = perf_ability()
    if ability.state is PartState.MISSING:
        return PerfResult(ability.state, ability.why)
    with tempfile.TemporaryDirectory(prefix="perf-") as folder, control_channel() as channel:
        file = Path(folder) / "perf.data"
        ended = _run([*record_command(file), *channel.arguments, "--", *command], environment, limit_s, channel)
        if ended.state is PartState.FAILED:
            return ended
        return replace(
            read_samples(script_of(file), frozenset({library}), assembly), output=ended.output, code=ended.code
        )


def stat_command(ability: PerfAbility, output: Path) -> list[str]:
    """`perf stat`, without the options of a `ControlChannel` and the process.

    Args:
        ability: what can be counted here.
        output: file for the counts, in JSON, one object a line.
    """
    groups = [f"{{{','.join(group)}}}" for group in GROUPS if set(group) <= ability.events]
    software = [event for event in SOFTWARE if event in ability.events]
    return ["perf", "stat", "-j", "-o", str(output), "-e", ",".join([*groups, *software])]


def record_command(output: Path) -> list[str]:
    """`perf record` of the CPU clock, which needs no hardware counter; without control options and process.

    Args:
        output: file for the samples, in perf's format.
    """
    most = _number(_SYSCTL / "perf_event_max_sample_rate")
    rate = min(_SAMPLES_PER_SECOND, most) if most is not None and most > 0 else _SAMPLES_PER_SECOND
    return ["perf", "record", "-q", "-B", "-N", "-e", "cpu-clock", "-F", str(rate), "-o", str(output)]


def script_of(data: Path) -> str:
    """Samples and mappings of a `perf record` file as text; empty if perf can't read it."""
    # No symbol is asked for, so perf opens none of the files that the profiled process has mapped.
    command = ["perf", "script", "-i", str(data), "-F", "pid,ip", "--show-mmap-events"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SCRIPT_LIMIT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


# -- counts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Count:
    value: float | None
    """None where it is not supported or was never counted."""
    supported: bool
    running: float
    """Share of the time in which it was counted; the value is scaled up to all of it."""
    user_only: bool


_EVENT = re.compile(r"(?:[\w.]+/)?(?P<event>[\w.-]+?)(?:[:/](?P<modifier>[a-zA-Z]*))?")
_LEVEL_OF_GENERIC_EVENTS = {"GenuineIntel": "llc", "AuthenticAMD": "l2", "HygonGenuine": "l2"}
"""What `cache-references` and `cache-misses` are about: Linux, arch/x86/events/intel/core.c (LONGEST_LAT_CACHE) and
arch/x86/events/amd/core.c (requests to the L2 and misses of it). On Arm they are the L1's, which is counted anyway."""


def read_stat(text: str, seconds: float, cores: int, vendor: str | None = None) -> PerfResult:
    """Metrics out of `perf stat -j`.

    Args:
        text: its output.
        seconds: wall time of the stretches that were counted.
        cores: cores that the process may use.
        vendor: maker of the processor, as /proc/cpuinfo has it; this machine's by default.

    Returns:
        `cycles`, `instructions`, `ipc`, `branch_miss_rate`, `cache_miss_rate.l1` (of loads), `cache_miss_rate.llc` or
        `.l2`, `tlb_miss_rate` (of loads), `task_clock` (s, of all threads), `cpu_utilisation` (task clock over wall
        time and cores), `context_switches`, `cpu_migrations`, `page_faults`, as far as they were counted.
    """
    counts = _read_counts(text)
    values = {event: count.value for event, count in counts.items() if count.value is not None}
    metrics: dict[str, Metric] = {}

    def ratio(name: str, top: str, bottom: str) -> None:
        if top in values and values.get(bottom):
            metrics[name] = Metric(value=values[top] / values[bottom], source="perf", raw=f"{top} / {bottom}")

    for event in ("cycles", "instructions", "context-switches", "cpu-migrations", "page-faults"):
        if event in values:
            metrics[event.replace("-", "_")] = Metric(value=values[event], source="perf", raw=event)
    ratio("ipc", "instructions", "cycles")
    ratio("branch_miss_rate", "branch-misses", "branches")
    ratio("cache_miss_rate.l1", "L1-dcache-load-misses", "L1-dcache-loads")
    ratio("tlb_miss_rate", "dTLB-load-misses", "dTLB-loads")
    level = _LEVEL_OF_GENERIC_EVENTS.get(_vendor() if vendor is None else vendor)
    if level is not None:
        ratio(f"cache_miss_rate.{level}", "cache-misses", "cache-references")
    ratio("cache_miss_rate.llc", "LLC-load-misses", "LLC-loads")
    if "task-clock" in values:
        metrics["task_clock"] = Metric(value=values["task-clock"], unit="s", source="perf", raw="task-clock")
        if seconds > 0 and cores > 0:
            share = values["task-clock"] / (seconds * cores)
            metrics["cpu_utilisation"] = Metric(value=share, source="perf", raw="task-clock / (wall time × cores)")
    notes = []
    shared = {event: count.running for event, count in counts.items() if event in values and count.running < 0.995}
    if shared:
        notes.append(
            "the processor has fewer counters than events, so they took turns and were scaled up: "
            + ", ".join(f"{event} was counted {share:.0%} of the time" for event, share in shared.items())
        )
    if any(count.user_only for count in counts.values()):
        notes.append(
            "counts are of user code alone: kernel.perf_event_paranoid is 2 or more and this user lacks CAP_PERFMON"
        )
    if not metrics:
        return PerfResult(PartState.FAILED, "perf counted nothing between start and end of the stretch.")
    return PerfResult(PartState.DONE, metrics=metrics, notes=tuple(notes))


def per_call(metrics: dict[str, Metric], calls: int) -> dict[str, Metric]:
    """Counts divided by the number of calls in which they arose; ratios stay."""
    counts = ("cycles", "instructions", "task_clock", "context_switches", "cpu_migrations", "page_faults")
    return {
        name: metric.model_copy(update={"value": metric.value / calls}) if name in counts and calls > 0 else metric
        for name, metric in metrics.items()
    }


def _read_counts(text: str) -> dict[str, _Count]:
    """Event → count, out of `perf stat -j`; what is no count is passed over.

    The value is a string, `<not supported>` or `<not counted>` where there is none. An event's name has `:u` or `/u` at
    its end where only user code is counted, and its unit in front (`cpu_core/cycles/`) on processors with two kinds of
    cores, whose counts are added up.
    """
    counts: dict[str, _Count] = {}
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        name = re.fullmatch(
            r"(?:[\w.]+/)?(?P<event>[\w.-]+?)(?:[:/](?P<modifier>[a-zA-Z]*))?", str(entry.get("event", ""))
        )
        if name is None:
            continue
        value = _float(entry.get("counter-value"))
        if value is not None and name["event"] == "task-clock":
            value *= {"msec": 1e-3, "nsec": 1e-9, "ns": 1e-9}.get(str(entry.get("unit")), 1e-3)
        share = _float(entry.get("pcnt-running"))
        supported = value is not None or entry.get("counter-value") == "<not counted>"
        count = _Count(value, supported, 1.0 if share is None else share / 100, "u" in (name["modifier"] or ""))
        before = counts.get(name["event"])
        if before is not None and before.value is not None:
            count = _Count(before.value + (value or 0.0), True, min(before.running, count.running), count.user_only)
        counts[name["event"]] = count
    return counts


def _float(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# -- samples ----------------------------------------------------------------------------------------------------------

_MAPPING = re.compile(
    r"PERF_RECORD_MMAP2? (?P<pid>-?\d+)/-?\d+: \[0x(?P<start>[0-9a-f]+)\(0x(?P<length>[0-9a-f]+)\) @ "
    r"(?:0x)?(?P<offset>[0-9a-f]+)[^\]]*\]: \S+ (?P<file>.+)$"
)
_SAMPLE = re.compile(r"\s*(?P<pid>\d+)\s+(?P<address>[0-9a-f]+)\s*$")
_KERNEL_ADDRESS = 1 << 63
_PARTS = (("openmp", re.compile(r"lib(?:gomp|i?omp5?)\b")), ("math", re.compile(r"lib(?:m|mvec)[.-]")))


def read_samples(script: str, libraries: frozenset[str] = frozenset(), assembly: str = "") -> PerfResult:
    """Where the samples fell.

    Args:
        script: what `script_of` returns.
        libraries: file names, without folder, that the candidate's library may have.
        assembly: its code with lines, the stage `assembly` of `cpp_code.kernel_code`.

    Returns:
        `lines`, and the metrics `samples` and `sample_share.<part>`. The parts are `candidate` (its library),
        `openmp` (the run-time: waiting and sharing out work), `math` (libm), `system` (the kernel: page faults,
        mostly) and `other`.
    """
    lines_at = {
        entry.address + function.file_shift: entry.line
        for function in read_disassembly(assembly)
        for entry in function.instructions
        if entry.line is not None
    }
    mapped: dict[str, list[tuple[int, int, int, str]]] = {}
    parts: Counter[str] = Counter()
    lines: Counter[int] = Counter()
    for text in script.splitlines():
        if (mapping := _MAPPING.search(text)) is not None:
            start = int(mapping["start"], 16)
            mapped.setdefault(mapping["pid"], []).append(
                (start, start + int(mapping["length"], 16), int(mapping["offset"], 16), mapping["file"])
            )
        elif (sample := _SAMPLE.match(text)) is not None:
            address = int(sample["address"], 16)
            # The newest mapping of an address holds.
            start, _end, offset, file = next(
                (entry for entry in reversed(mapped.get(sample["pid"], [])) if entry[0] <= address < entry[1]),
                (0, 0, 0, ""),
            )
            name = file.rsplit("/", 1)[-1]
            if address >= _KERNEL_ADDRESS:
                parts["system"] += 1
            elif name in libraries:
                parts["candidate"] += 1
                line = lines_at.get(address - start + offset)
                if line is not None:
                    lines[line] += 1
            else:
                parts[next((part for part, pattern in _PARTS if pattern.match(name)), "other")] += 1
    total = sum(parts.values())
    if not total:
        return PerfResult(PartState.FAILED, "perf took no samples between start and end of the stretch.")
    metrics = {"samples": Metric(value=total, source="perf", raw="cpu-clock")}
    for part in ("candidate", "openmp", "math", "system", "other"):
        metrics[f"sample_share.{part}"] = Metric(value=parts[part] / total, source="perf", raw="cpu-clock")
    notes: tuple[str, ...] = ()
    if parts["candidate"] and lines_at and not lines:
        notes = ("no sample in the candidate's library fell on code of a known line",)
    return PerfResult(
        PartState.DONE,
        metrics=metrics,
        notes=notes,
        lines={line: count / total for line, count in lines.most_common(_MOST_LINES)},
    )


# -- the profiler -----------------------------------------------------------------------------------------------------


class PerfProfiler(Profiler):
    """Linux perf: counters and samples of a candidate that runs on the CPU."""

    name = "perf"
    families = ("cpu",)

    def missing(self, platform: Platform) -> str:
        """It needs Linux, `perf`, and the right to use it."""
        if platform.family != "cpu":
            return f"perf sees the CPU, not {platform.name}."
        ability = perf_ability()
        return ability.why if ability.state is PartState.MISSING else ""

    def observe(self, subject: Subject) -> Observation:
        """Count during one second of calls, and sample during another."""
        ability = perf_ability()
        if ability.state is PartState.MISSING:
            return Observation(state=ability.state, why=ability.why)
        assembly, notes = "", []
        try:
            assembly = next((code.stages.get("assembly", "") for code in subject.code()), "")
        except KernelEvolveError as error:
            notes.append(f"samples are not told by line: {error.summary}")
        # The files lie where the profiled process cannot write.
        with tempfile.TemporaryDirectory(prefix="perf-") as folder:
            file = Path(folder) / "stat.json"
            with control_channel() as channel:
                counting = _loop(subject, stat_command(ability, file), channel)
                if failure(counting):
                    return Observation(state=PartState.FAILED, why=failure(counting))
                counts = _with_ability(read_stat(_read(file), channel.seconds(), _cores()), ability)
            data = Path(folder) / "perf.data"
            with control_channel() as channel:
                sampling = _loop(subject, record_command(data), channel)
            libraries = frozenset(path.name for path in sampling.folder.glob("*.so"))
            samples = read_samples(script_of(data), libraries, assembly)
        why = " ".join(filter(None, [counts.why, samples.why, failure(sampling)]))
        measured = KernelMeasurement(
            kernel="kernel",
            metrics={**per_call(counts.metrics, _calls(counting.result)), **samples.metrics},
            lines=samples.lines,
        )
        return Observation(
            state=PartState.PARTIAL if why else PartState.DONE,
            why=why[:1000],
            kernels=(measured,),
            notes=(*notes, *counts.notes, *samples.notes),
        )


def _loop(subject: Subject, tool: list[str], channel: ControlChannel) -> TargetRun:
    """Have the candidate called in a loop under perf."""
    return subject.run(
        "loop",
        wrapper=[*tool, *channel.arguments, "--"],
        environment=channel.environment,
        pass_descriptors=channel.descriptors,
    )


def _calls(result: dict[str, Any]) -> int:
    """Calls in the stretch, as the profiled process says."""
    calls = result.get("calls")
    return calls if isinstance(calls, int) and calls > 0 else 1


# -- helpers ----------------------------------------------------------------------------------------------------------


def _run(command: list[str], environment: dict[str, str], limit_s: float, channel: ControlChannel) -> PerfResult:
    """Run perf and the process under it; *failed* where they did not get to the end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            pass_fds=channel.descriptors, env={**os.environ, **environment, **channel.environment},
        )  # fmt: skip
        timed_out = False
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_CHARACTERS))
        output = log.read().decode(errors="replace").strip()
    code = process.returncode
    if timed_out:
        why = f"The process took longer than {limit_s:g} s and was ended."
        return PerfResult(PartState.FAILED, why, output=output, code=code)
    if code:
        why = f"The process under perf ended with code {code}: {_last_line(output)}"
        return PerfResult(PartState.FAILED, why, output=output, code=code)
    return PerfResult(PartState.DONE, output=output, code=code)


def _with_ability(result: PerfResult, ability: PerfAbility, ended: PerfResult | None = None) -> PerfResult:
    """Say with the counts what could not be counted."""
    if result.state is PartState.DONE and ability.state is not PartState.DONE:
        result = replace(result, state=ability.state, why=ability.why)
    return result if ended is None else replace(result, output=ended.output, code=ended.code)


def _refusal(output: str, code: int) -> str:
    """Why a first `perf stat` counted nothing at all, and what to do."""
    if "not found for kernel" in output:
        # The `perf` of Ubuntu is a script that looks for the one of the running kernel.
        return f"perf is here, but not for the running kernel. {_install_advice()}"
    if "unknown option" in output or "unknown switch" in output:
        return f"This perf is older than 5.19 and cannot write JSON. {_install_advice()}"
    if "ermission" in output or "access to performance monitoring" in output.lower():
        paranoid = _number(_SYSCTL / "perf_event_paranoid")
        if paranoid is not None and paranoid > 2:
            return (
                f"This user may not use perf: kernel.perf_event_paranoid is {paranoid}. Set it to 2 or less "
                "(`sudo sysctl kernel.perf_event_paranoid=2`; 1 also shows the kernel's part), or give the process "
                "CAP_PERFMON."
            )
        return (
            "perf_event_open is refused, most likely by a container's system call filter: start the container with "
            "`--cap-add PERFMON` (or SYS_ADMIN before Docker 20.10 and Linux 5.8), or with a seccomp profile that "
            "allows perf_event_open."
        )
    if code == 0:
        return (
            "This kernel has no performance events at all (perf_event_open is not implemented, as in gVisor): profile "
            "on a machine, virtual or not, that runs Linux itself."
        )
    return f"perf ended with code {code}: {_last_line(output)}"


def _no_hardware() -> str:
    return (
        "There are no hardware counters here, so nothing about cycles, caches and branches. In a virtual machine the "
        "host must hand them through (KVM: `-cpu host,pmu=on`; in clouds, whole-machine or bare-metal instances); "
        "without one, see `dmesg | grep -i pmu`."
    )


def _install_advice() -> str:
    return (
        f"Install it: the package linux-perf on Debian, linux-tools-{platform.release()} on Ubuntu, perf on Fedora and "
        "Arch."
    )


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _vendor() -> str:
    try:
        found = re.search(r"^vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
