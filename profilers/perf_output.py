"""What perf wrote, as metrics and as shares of the candidate's lines."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kernelevolve.evaluation.languages.cpp_code import read_disassembly
from kernelevolve.profilers.report import Metric, PartState

_MOST_LINES = 40


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


# -- counts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Count:
    """One event, as `perf stat` counted it."""

    value: float | None
    """How often it came, `task-clock` in seconds; None where it is not supported or was never counted."""
    supported: bool
    """Whether this machine can count it, even if its turn did not come."""
    running: float
    """Share of the time in which it was counted; the value is scaled up to all of it."""
    user_only: bool
    """Whether it leaves out what the kernel did."""


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
    counts = read_counts(text)
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


def read_counts(text: str) -> dict[str, Count]:
    """Event → count, out of `perf stat -j`; what is no count is passed over.

    The value is a string, `<not supported>` or `<not counted>` where there is none. An event's name has `:u` or `/u` at
    its end where only user code is counted, and its unit in front (`cpu_core/cycles/`) on processors with two kinds of
    cores, whose counts are added up.
    """
    counts: dict[str, Count] = {}
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        name = _EVENT.fullmatch(str(entry.get("event", "")))
        if name is None:
            continue
        value = _float(entry.get("counter-value"))
        if value is not None and name["event"] == "task-clock":
            value *= {"msec": 1e-3, "nsec": 1e-9, "ns": 1e-9}.get(str(entry.get("unit")), 1e-3)
        share = _float(entry.get("pcnt-running"))
        supported = value is not None or entry.get("counter-value") == "<not counted>"
        count = Count(value, supported, 1.0 if share is None else share / 100, "u" in (name["modifier"] or ""))
        before = counts.get(name["event"])
        if before is not None and before.value is not None:
            count = Count(before.value + (value or 0.0), True, min(before.running, count.running), count.user_only)
        counts[name["event"]] = count
    return counts


def _float(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _vendor() -> str:
    try:
        found = re.search(r"^vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


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
