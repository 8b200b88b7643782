"""Hardware counters of AMD GPUs, through `rocprofv3` of ROCprofiler-SDK. Not run on hardware by us.

Names and meanings of the counters are those of ROCprofiler-SDK's `counter_defs.yaml` and of the page "MI300 and MI200
series performance counters" (rocm.docs.amd.com); the layout of the file is that of its `generateCSV.cpp`, whose columns
the tests write.

`rocprofv3` counts every launch of a process and cannot be told when to begin: torch's `cudaProfilerStart` does nothing
on ROCm. The profiled process warms up, empties the cache with one fill and calls once more (`profilers/target.py`), so
what is read are the launches after the last fill, which must be those of the calls before it again.
"""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import dataclass, field

from kernelevolve.evaluation.platform import Platform
from kernelevolve.profilers.json_import import KNOWN_METRICS
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import KernelMeasurement, Metric, PartState
from kernelevolve.profilers.subject import RESULT_BYTES, Subject, TargetRun
from kernelevolve.profilers.timeline import failure

PERCENT = 0.01
KILOBYTE = 1024.0
"""`FETCH_SIZE` and `WRITE_SIZE` are bytes over 1024."""

PASSES: tuple[tuple[str, ...], ...] = (
    ("FETCH_SIZE", "VALUBusy", "VALUUtilization", "MfmaUtil", "OccupancyPercent"),
    ("WRITE_SIZE", "TCC_HIT_sum", "TCC_MISS_sum", "SQ_LDS_BANK_CONFLICT", "SQ_LDS_IDX_ACTIVE", "SQ_WAIT_ANY",
     "SQ_WAIT_INST_LDS", "SQ_WAVE_CYCLES"),
    ("MemUnitBusy", "MemUnitStalled"),
)  # fmt: skip
"""Counters of one run each. A run takes at most 8 counters of the block SQ, 4 of TCC and TCP each, 2 of TA and of GRBM
(ROCm Compute Profiler, `soc_gfx942.py`); derived ones stand for those that they are computed from."""
MORE: tuple[tuple[str, ...], ...] = (("SQ_INSTS", "SALUBusy", "TCC_ATOMIC_sum"),)
"""Runs besides, when more is asked for."""

DIRECT: dict[str, tuple[str, str, float]] = {
    "dram_read_bytes": ("FETCH_SIZE", "B", KILOBYTE),
    "dram_write_bytes": ("WRITE_SIZE", "B", KILOBYTE),
    "pipe_share.alu": ("VALUBusy", "", PERCENT),
    "lane_use": ("VALUUtilization", "", PERCENT),
    "matrix_unit_share": ("MfmaUtil", "", PERCENT),
    "occupancy": ("OccupancyPercent", "", PERCENT),
    "l1_share": ("MemUnitBusy", "", PERCENT),
    "l1_stall_share": ("MemUnitStalled", "", PERCENT),
    "shared_wavefronts": ("SQ_LDS_IDX_ACTIVE", "", 1.0),
    "bank_conflicts": ("SQ_LDS_BANK_CONFLICT", "", 1.0),
    "instructions": ("SQ_INSTS", "", 1.0),
    "pipe_share.scalar": ("SALUBusy", "", PERCENT),
    "l2_atomics": ("TCC_ATOMIC_sum", "", 1.0),
}
"""Our name → AMD's counter, our unit, and the factor between them."""
RATIOS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cache_hit_rate.l2": ("TCC_HIT_sum", ("TCC_HIT_sum", "TCC_MISS_sum")),
    "stall.long_scoreboard": ("SQ_WAIT_ANY", ("SQ_WAVE_CYCLES",)),
    "stall.mio_throttle": ("SQ_WAIT_INST_LDS", ("SQ_WAVE_CYCLES",)),
}
"""Our name → the counter that is divided by the sum of others."""

_NOTES = (
    "rocprof: bytes of device memory are what leaves the L2, so hits in the Infinity Cache are among them",
    "rocprof: stall.long_scoreboard is SQ_WAIT_ANY, which counts waits for memory of any kind together",
)
_MOST_OVER = 1.05
"""A share that exceeds its peak by more than rounding is no share."""
_COLUMNS = ("Process_Id", "Dispatch_Id", "Grid_Size", "Workgroup_Size", "Kernel_Name", "Counter_Name", "Counter_Value")


@dataclass
class Dispatch:
    """One launch, as `rocprofv3` saw it."""

    number: int
    """Counts the launches of the process."""
    kernel: str
    """Kernel name, demangled, with its signature if it has one."""
    work_items: int
    """Threads in all."""
    block: int
    """Threads of a block."""
    time_ns: float | None
    """Device time; None where the file has no times (ROCm 6.2)."""
    counters: dict[str, float] = field(default_factory=dict)
    """Counter → value, summed over the chip where AMD does not say otherwise."""

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from other launches: kernel and size."""
        return self.kernel, self.work_items


class RocprofProfiler(Profiler):
    """ROCprofiler-SDK (`rocprofv3`)."""

    name = "rocprof"
    families = ("hip",)

    def missing(self, platform: Platform) -> str:
        """It needs an AMD GPU and `rocprofv3`."""
        if platform.family != "hip":
            return f"rocprofv3 reads AMD GPUs, not {platform.name}."
        if platform.availability().device is None:
            return f"There is no {platform.name} device here. {' '.join(platform.availability().missing)}"
        if shutil.which("rocprofv3") is None:
            return (
                "rocprofv3 is not on PATH: install ROCprofiler-SDK (ROCm 6.2 or newer) and add /opt/rocm/bin to PATH."
            )
        return ""

    def observe(self, subject: Subject) -> Observation:
        """Collect each set of counters in a run of its own; what one run can't have, others still may."""
        runs: list[list[Dispatch]] = []
        problems: list[str] = []
        for counters in (*PASSES, *(MORE if subject.more else ())):
            ended = subject.run("counters", command(counters))
            try:
                call, doubt = last_call(_dispatches(ended))
                runs.append(call)
                problems.append(doubt)
            except ValueError as error:
                problems.append(f"No {', '.join(counters)}: {error}")
            if ended.timed_out:
                break
        why = " ".join(dict.fromkeys(filter(None, problems)))[:1000]
        if not any(runs):
            return Observation(state=PartState.FAILED, why=why or "rocprofv3 saw no launch.")
        if not any(value for call in runs for entry in call for value in entry.counters.values()):
            why = (
                "rocprofv3 read nothing but zeros: this user may not read the counters, or this version of ROCm can't "
                "on this GPU."
            )
            return Observation(state=PartState.FAILED, why=why)
        bandwidth = subject.platform.spec_sheet().memory_bandwidth
        kernels, odd = measurements(runs, bandwidth.value if bandwidth else None)
        why = " ".join(filter(None, [why, odd]))[:1000]
        return Observation(
            state=PartState.PARTIAL if why else PartState.DONE, why=why, kernels=tuple(kernels), notes=_NOTES
        )


def command(counters: tuple[str, ...]) -> list[str]:
    """The command that collects counters of the process whose command follows."""
    return [
        "rocprofv3", "--pmc", *counters, "--output-format", "csv", "--output-directory", "{folder}/rocprof",
        "--output-file", "pass", "--",
    ]  # fmt: skip


def _dispatches(ended: TargetRun) -> list[Dispatch]:
    """The launches of a run: those of the process with the most, since compilers that it starts have files too.

    Raises:
        ValueError: there is no usable file; the text says why.
    """
    if why := failure(ended):
        raise ValueError(why)
    found: list[list[Dispatch]] = []
    for path in sorted((ended.folder / "rocprof").glob("**/*counter_collection.csv")):
        # The folder is the candidate's to write in.
        if path.is_symlink() or path.stat().st_size > RESULT_BYTES:
            raise ValueError(f"{path.name} is a link or has more than {RESULT_BYTES >> 20} MiB.")
        found += read_counters(path.read_text(encoding="utf-8", errors="replace")).values()
    if not found:
        raise ValueError(f"rocprofv3 wrote no counters: {_last(ended)}")
    return max(found, key=len)


def _last(ended: TargetRun) -> str:
    lines = [line for line in ended.output.splitlines() if line.strip()]
    told = [line for line in lines if "rror" in line or "nable" in line] or lines
    return told[-1][:300] if told else "it said nothing."


def read_counters(text: str) -> dict[str, list[Dispatch]]:
    """Read a `counter_collection.csv`.

    Args:
        text: a row for each launch and counter, in any order. Columns are found by name, since versions differ.

    Returns:
        Process → its launches, oldest first.

    Raises:
        ValueError: columns are missing, or a number is none.
    """
    rows = csv.DictReader(io.StringIO(text))
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise ValueError(f"counter_collection.csv has no column {', '.join(missing)}.")
    found: dict[str, dict[int, Dispatch]] = {}
    for row in rows:
        try:
            number = int(row["Dispatch_Id"])
            launches = found.setdefault(row["Process_Id"], {})
            if number not in launches:
                start, end = row.get("Start_Timestamp"), row.get("End_Timestamp")
                launches[number] = Dispatch(
                    number=number,
                    kernel=row["Kernel_Name"].removesuffix(".kd"),
                    work_items=int(row["Grid_Size"]),
                    block=int(row["Workgroup_Size"]),
                    time_ns=float(int(end) - int(start)) if start and end else None,
                )
            launches[number].counters[row["Counter_Name"]] = float(row["Counter_Value"])
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"counter_collection.csv, line {rows.line_num}: {error}.") from error
    return {process: [launches[number] for number in sorted(launches)] for process, launches in found.items()}


def last_call(dispatches: list[Dispatch]) -> tuple[list[Dispatch], str]:
    """The launches of the one call that begins with a cold cache.

    It comes after a fill, and the two calls before the fill made the same launches.

    Returns:
        The launches, and what is doubtful about them, if anything is.

    Raises:
        ValueError: no fill is among them.
    """
    keys = [entry.key for entry in dispatches]
    fills = [index for index, entry in enumerate(dispatches) if "fill" in entry.kernel.lower()]
    # Oldest first, so that the longest call is found: a candidate may fill in the middle of its own work.
    for last in fills:
        call = keys[last + 1 :]
        # The runtime may split one fill in two.
        for first in (last, last - 1):
            if call and keys[max(0, first - 2 * len(call)) : max(0, first)] == [*call, *call]:
                return dispatches[last + 1 :], ""
    if not fills or fills[-1] == len(keys) - 1:
        raise ValueError("the fill that empties the cache is not among the launches, or nothing comes after it.")
    return dispatches[fills[-1] + 1 :], (
        "Calls before the counted one made other launches, so some of what was counted may not belong to it."
    )


def measurements(runs: list[list[Dispatch]], bandwidth: float | None) -> tuple[list[KernelMeasurement], str]:
    """What several runs counted, kernel by kernel; of several launches of a kernel the longest stands for all.

    Args:
        runs: the launches of one call, once for each set of counters.
        bandwidth: of device memory, bytes per second, if it is known.

    Returns:
        The kernels, and which values made no sense and were left out.
    """
    longest: dict[str, list[Dispatch]] = {}
    calls: dict[str, int] = {}
    for call in runs:
        by_kernel: dict[str, list[Dispatch]] = {}
        for entry in call:
            by_kernel.setdefault(entry.kernel, []).append(entry)
        for kernel, entries in by_kernel.items():
            longest.setdefault(kernel, []).append(
                max(entries, key=lambda entry: (entry.time_ns or 0.0, entry.work_items))
            )
            calls[kernel] = max(calls.get(kernel, 0), len(entries))
    odd: dict[str, None] = {}
    found = []
    for kernel, entries in longest.items():
        counters = {name: value for entry in entries for name, value in entry.counters.items()}
        times = [entry.time_ns for entry in entries if entry.time_ns]
        metrics, senseless = _metrics(counters, min(times) * 1e-9 if times else None, bandwidth)
        odd |= dict.fromkeys(senseless)
        found.append(
            KernelMeasurement(
                kernel=kernel,
                calls=calls[kernel],
                time_s=metrics.get("time"),
                metrics=metrics,
                grid=(-(-entries[0].work_items // entries[0].block),) if entries[0].block else (),
                threads_per_block=entries[0].block or None,
            )
        )
    return found, f"Left out, since they exceed 100 %: {', '.join(odd)}." if odd else ""


def _metrics(
    counters: dict[str, float], seconds: float | None, bandwidth: float | None
) -> tuple[dict[str, Metric], list[str]]:
    """Our metrics out of AMD's counters of one kernel, and which shares exceed 1."""
    values: dict[str, tuple[float, str, str]] = {}
    if seconds is not None:
        values["time"] = (seconds, "s", "End_Timestamp - Start_Timestamp")
    for name, (raw, unit, factor) in DIRECT.items():
        if raw in counters:
            values[name] = (counters[raw] * factor, unit, raw)
    for name, (top, bottom) in RATIOS.items():
        whole = sum(counters.get(raw, 0.0) for raw in bottom)
        if top in counters and all(raw in counters for raw in bottom) and whole > 0.0:
            values[name] = (counters[top] / whole, "", f"{top} / ({' + '.join(bottom)})")
    if "VALUBusy" in counters and "MfmaUtil" in counters:
        busiest = max(counters["VALUBusy"], counters["MfmaUtil"]) * PERCENT
        values["compute_share"] = (busiest, "", "max(VALUBusy, MfmaUtil)")
    if "FETCH_SIZE" in counters and "WRITE_SIZE" in counters and seconds and bandwidth:
        moved = (counters["FETCH_SIZE"] + counters["WRITE_SIZE"]) * KILOBYTE
        # Above the bandwidth of device memory, part of the bytes came from the Infinity Cache.
        values["dram_share"] = (min(1.0, moved / seconds / bandwidth), "", "(FETCH_SIZE + WRITE_SIZE) / time / peak")
    shares = {name for name in values if KNOWN_METRICS[name].most == 1.0}
    senseless = [name for name in values if name in shares and values[name][0] > _MOST_OVER]
    metrics = {
        name: Metric(value=min(1.0, value) if name in shares else value, unit=unit, source="rocprof", raw=raw)
        for name, (value, unit, raw) in values.items()
        if name not in senseless
    }
    return metrics, [f"{name} ({values[name][2]})" for name in senseless]
