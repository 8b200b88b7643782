"""Hardware counters of NVIDIA GPUs, through Nsight Compute and its own report reader."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from kernelevolve.evaluation.platform import Platform
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import KernelMeasurement, Metric, PartState
from kernelevolve.profilers.subject import Subject, TargetRun
from kernelevolve.profilers.timeline import failure

PERCENT = 0.01

FIRST: dict[str, tuple[str, str, float]] = {
    # Speed of light: how busy the parts are.
    "time": ("gpu__time_duration.sum", "s", 1e-9),
    "compute_share": ("sm__throughput.avg.pct_of_peak_sustained_elapsed", "", PERCENT),
    "memory_share": ("gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed", "", PERCENT),
    "dram_share": ("dram__throughput.avg.pct_of_peak_sustained_elapsed", "", PERCENT),
    "l2_share": ("lts__throughput.avg.pct_of_peak_sustained_elapsed", "", PERCENT),
    "l1_share": ("l1tex__throughput.avg.pct_of_peak_sustained_active", "", PERCENT),
    "dram_read_bytes": ("dram__bytes_read.sum", "B", 1.0),
    "dram_write_bytes": ("dram__bytes_write.sum", "B", 1.0),
    "cache_hit_rate.l1": ("l1tex__t_sector_hit_rate.pct", "", PERCENT),
    "cache_hit_rate.l2": ("lts__t_sector_hit_rate.pct", "", PERCENT),
    # Occupancy and balance.
    "occupancy": ("sm__warps_active.avg.pct_of_peak_sustained_active", "", PERCENT),
    "occupancy_limit": ("sm__maximum_warps_per_active_cycle_pct", "", PERCENT),
    "waves": ("launch__waves_per_multiprocessor", "", 1.0),
    "sm_cycles.avg": ("sm__cycles_active.avg", "", 1.0),
    "sm_cycles.max": ("sm__cycles_active.max", "", 1.0),
    "sm_cycles.elapsed": ("sm__cycles_elapsed.max", "", 1.0),
    # Instructions.
    "issue_share": ("smsp__issue_active.avg.pct_of_peak_sustained_active", "", PERCENT),
    "instructions": ("smsp__inst_executed.sum", "", 1.0),
    "thread_instructions": ("smsp__thread_inst_executed.sum", "", 1.0),
    "matrix_unit_share": ("sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active", "", PERCENT),
    "pipe_share.fma": ("sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_active", "", PERCENT),
    "pipe_share.alu": ("sm__pipe_alu_cycles_active.avg.pct_of_peak_sustained_active", "", PERCENT),
    "pipe_share.special": ("sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active", "", PERCENT),
    "pipe_share.load_store": ("sm__inst_executed_pipe_lsu.avg.pct_of_peak_sustained_active", "", PERCENT),
    # Memory access patterns.
    "global_loads": ("l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum", "", 1.0),
    "global_load_sectors": ("l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum", "", 1.0),
    "global_stores": ("l1tex__t_requests_pipe_lsu_mem_global_op_st.sum", "", 1.0),
    "global_store_sectors": ("l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum", "", 1.0),
    "load_sector_use": ("smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.pct", "", PERCENT),
    "store_sector_use": ("smsp__sass_average_data_bytes_per_sector_mem_global_op_st.pct", "", PERCENT),
    "global_atomics": ("smsp__inst_executed_op_global_red.sum", "", 1.0),
    "global_atomic_returns": ("smsp__sass_inst_executed_op_global_atom.sum", "", 1.0),
    "shared_wavefronts": ("l1tex__data_pipe_lsu_wavefronts_mem_shared.sum", "", 1.0),
    "bank_conflicts": ("l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum", "", 1.0),
    "local_loads": ("smsp__inst_executed_op_local_ld.sum", "", 1.0),
    "local_stores": ("smsp__inst_executed_op_local_st.sum", "", 1.0),
}
"""Our name → Nsight Compute's metric, our unit, and the factor between them: what the first pass set collects."""

STALLS = {
    "long_scoreboard": "waiting for device or local memory",
    "short_scoreboard": "waiting for shared memory or the special-function unit",
    "barrier": "waiting at a barrier",
    "membar": "waiting for a memory fence",
    "mio_throttle": "queue to shared memory and special functions full",
    "lg_throttle": "queue to device and local memory full",
    "math_pipe_throttle": "arithmetic unit busy",
    "wait": "fixed latency of the instruction before",
    "gmma": "waiting for the matrix unit",
    "no_instruction": "waiting for the instruction cache",
    "drain": "waiting for stores at the end",
    "branch_resolving": "waiting for a branch",
    "not_selected": "ready, another warp was issued",
}
"""Stall reason → what it means. `stall.<reason>` is its share of all warp time between issues."""
_STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
_SELECTED = "smsp__average_warp_latency_per_inst_issued.ratio"

MORE: dict[str, tuple[str, str, float]] = {
    "integer_instructions": ("smsp__sass_thread_inst_executed_op_integer_pred_on.sum", "", 1.0),
    "float_instructions": ("smsp__sass_thread_inst_executed_op_fp32_pred_on.sum", "", 1.0),
    "half_instructions": ("smsp__sass_thread_inst_executed_op_fp16_pred_on.sum", "", 1.0),
    "double_instructions": ("smsp__sass_thread_inst_executed_op_fp64_pred_on.sum", "", 1.0),
    "conversion_instructions": ("smsp__sass_thread_inst_executed_op_conversion_pred_on.sum", "", 1.0),
    "control_instructions": ("smsp__sass_thread_inst_executed_op_control_pred_on.sum", "", 1.0),
    "memory_instructions": ("smsp__sass_thread_inst_executed_op_memory_pred_on.sum", "", 1.0),
    "fma_operations": ("smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", "", 1.0),
    "add_operations": ("smsp__sass_thread_inst_executed_op_fadd_pred_on.sum", "", 1.0),
    "mul_operations": ("smsp__sass_thread_inst_executed_op_fmul_pred_on.sum", "", 1.0),
    "branch_efficiency": ("smsp__sass_average_branch_targets_threads_uniform.pct", "", PERCENT),
    "shared_load_conflicts": ("l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum", "", 1.0),
    "shared_store_conflicts": ("l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum", "", 1.0),
    "l2_atomics": ("lts__t_requests_op_atom.sum", "", 1.0),
    "l2_reductions": ("lts__t_requests_op_red.sum", "", 1.0),
}
"""Collected besides when more is asked for; needs more passes."""

_SAMPLES = "group:smsp__pcsamp_warp_stall_reasons"
_MOST_LAUNCHES = 24


class CountersProfiler(Profiler):
    """Nsight Compute (`ncu`)."""

    name = "counters"
    families = ("cuda",)

    def missing(self, platform: Platform) -> str:
        """It needs an NVIDIA GPU and `ncu`."""
        if platform.family != "cuda":
            return f"Nsight Compute reads NVIDIA GPUs, not {platform.name}."
        if platform.availability().device is None:
            return f"There is no {platform.name} device here. {' '.join(platform.availability().missing)}"
        if shutil.which("ncu") is None:
            return "ncu is not on PATH: install Nsight Compute, which the CUDA toolkit carries."
        return ""

    def observe(self, subject: Subject) -> Observation:
        """Collect the counters of every kernel that one call launches, from a cold cache."""
        metrics = {**FIRST, **(MORE if subject.more else {})}
        asked = [raw for raw, _unit, _factor in metrics.values()]
        asked += [_STALL.format(reason) for reason in STALLS] + [_SELECTED, _SAMPLES]
        wrapper = [
            "ncu", "--profile-from-start", "off", "--clock-control", "none", "--cache-control", "all",
            "--import-source", "no", "--launch-count", str(_MOST_LAUNCHES), "--metrics", ",".join(asked),
            "--export", "{folder}/counters", "--force-overwrite",
        ]  # fmt: skip
        ended = subject.run("counters", wrapper)
        report = ended.folder / "counters.ncu-rep"
        if "ERR_NVGPUCTRPERM" in ended.output:
            return Observation(
                state=PartState.MISSING,
                why="This user may not read the GPU's counters (ERR_NVGPUCTRPERM): run as root, or have the driver "
                "loaded with NVreg_RestrictProfilingToAdminUsers=0.",
            )
        if not report.is_file():
            if "No kernels were profiled" in ended.output:
                return Observation(state=PartState.PARTIAL, why="The candidate launched no kernel.")
            return Observation(state=PartState.FAILED, why=failure(ended) or f"ncu wrote no report: {_last(ended)}")
        return _read(report, metrics, ended)


def _last(ended: TargetRun) -> str:
    lines = [line for line in ended.output.splitlines() if "==ERROR==" in line] or ended.output.splitlines()[-1:]
    return " ".join(lines)[:400] or "it said nothing"


def report_reader() -> ModuleType:
    """Nsight Compute's Python module `ncu_report`, which lies beside the program.

    Raises:
        ImportError: it is not there, or does not load in this Python.
    """
    if "ncu_report" in sys.modules:
        return sys.modules["ncu_report"]
    file = next(
        (file for folder in _installations() if (file := folder / "extras/python/ncu_report.py").is_file()), None
    )
    if file is None:
        raise ImportError(f"no extras/python/ncu_report.py in {', '.join(map(str, _installations())) or 'any folder'}")
    specification = importlib.util.spec_from_file_location("ncu_report", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["ncu_report"] = module
    sys.path.insert(0, str(file.parent))  # Its binary half lies beside it.
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules["ncu_report"]
        raise
    finally:
        sys.path.remove(str(file.parent))
    return module


def _installations() -> list[Path]:
    """Folders in which Nsight Compute may lie, the newest version first; CUDA's own `ncu` is a script elsewhere."""
    program = shutil.which("ncu")
    beside = list(Path(program).resolve().parents)[:3] if program else []
    roots = [*(folder.parent for folder in beside[:1]), Path("/usr/local/cuda"), Path("/opt/nvidia")]
    versions = [path for root in roots for path in (*root.glob("nsight-compute*"), *root.glob("nsight-compute/*"))]
    return [*beside, *sorted(versions, reverse=True)]


def _read(report: Path, metrics: dict[str, tuple[str, str, float]], ended: TargetRun) -> Observation:
    try:
        context: Any = report_reader().load_report(str(report))
    except ImportError as error:
        return Observation(state=PartState.FAILED, why=f"Nsight Compute's report reader does not load: {error}.")
    found: dict[str, list[KernelMeasurement]] = {}
    absent: set[str] = set()
    for range_index in range(context.num_ranges()):
        actions = context.range_by_idx(range_index)
        for index in range(actions.num_actions()):
            measured, missing = read_action(actions.action_by_idx(index), metrics)
            found.setdefault(measured.kernel, []).append(measured)
            absent |= missing
    kernels = [_longest(launches) for launches in found.values()]
    if not kernels:
        return Observation(state=PartState.PARTIAL, why="The candidate launched no kernel.")
    launched = sum(map(len, found.values()))
    why = []
    if absent:
        why.append(f"This GPU or this ncu has no {', '.join(sorted(absent))}.")
    if launched >= _MOST_LAUNCHES:
        why.append(f"Only the first {_MOST_LAUNCHES} launches were counted.")
    if failure(ended):
        why.append(failure(ended))
    return Observation(
        state=PartState.PARTIAL if why else PartState.DONE, why=" ".join(why)[:1000], kernels=tuple(kernels)
    )


def read_action(action: Any, metrics: dict[str, tuple[str, str, float]]) -> tuple[KernelMeasurement, set[str]]:
    """One profiled launch as a measurement.

    Args:
        action: an `IAction` of `ncu_report`.
        metrics: what to read; see `FIRST`.

    Returns:
        The measurement, and which of our names it has no value for.
    """

    def value(raw: str) -> float | None:
        metric = action.metric_by_name(raw)
        number = metric.as_double() if metric is not None else None
        return None if number is None or number != number else float(number)

    read, missing = {}, set()
    for name, (raw, unit, factor) in metrics.items():
        number = value(raw)
        if number is None:
            missing.add(name)
        else:
            read[name] = Metric(value=number * factor, unit=unit, source="counters", raw=raw)
    whole = value(_SELECTED)
    for reason in STALLS:
        stalled = value(_STALL.format(reason))
        if stalled is not None and whole:
            read[f"stall.{reason}"] = Metric(
                value=stalled / whole, source="counters", raw=f"{_STALL.format(reason)} / {_SELECTED}"
            )
    return KernelMeasurement(
        kernel=action.name(),
        time_s=read.get("time"),
        metrics=read,
        lines=_samples_by_line(action),
        grid=tuple(int(value(f"launch__grid_dim_{axis}") or 1) for axis in "xyz"),
        threads_per_block=int(value("launch__block_size") or 0) or None,
    ), missing


def _samples_by_line(action: Any) -> dict[int, float]:
    """Share of the warp samples on each line of the source, for a kernel that has line information."""
    counts: dict[int, float] = {}
    for name in action.metric_names():
        if not name.startswith("smsp__pcsamp_warps_issue_stalled_") or name.endswith("_not_issued"):
            continue
        metric = action.metric_by_name(name)
        addresses = metric.correlation_ids()
        for index in range(metric.num_instances()):
            where = action.source_info(addresses.as_uint64(index))
            if where is not None and where.line():
                counts[where.line()] = counts.get(where.line(), 0.0) + metric.as_double(index)
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda entry: -entry[1])[:40]
    return {line: count / total for line, count in ranked} if total else {}


def _longest(launches: list[KernelMeasurement]) -> KernelMeasurement:
    """Of several launches of one kernel, the longest stands for all."""
    longest = max(launches, key=lambda entry: entry.time_s.value if entry.time_s else 0.0)
    return longest.model_copy(update={"calls": len(launches)})
