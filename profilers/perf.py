"""Counters and samples of the CPU, through Linux perf."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.platform import Platform
from kernelevolve.profilers.perf_control import ControlChannel, control_channel
from kernelevolve.profilers.perf_output import PerfResult, per_call, read_counts, read_samples, read_stat
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import KernelMeasurement, PartState
from kernelevolve.profilers.subject import Subject, TargetRun
from kernelevolve.profilers.timeline import failure

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
_PROBE_LIMIT_S = 20.0
_SCRIPT_LIMIT_S = 60.0
_SYSCTL = Path("/proc/sys/kernel")
_LOG_CHARACTERS = 3_000


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
    counts = read_counts(output)
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


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
