"""rocprofv3: what is asked of it, how its files are read. No AMD GPU is here; files are in the documented layout."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernelevolve.evaluation.platform import Level, SpecSheet, get_platform
from kernelevolve.profilers.conformance import check_observation, check_profiler
from kernelevolve.profilers.diagnosis import diagnose
from kernelevolve.profilers.json_import import KNOWN_METRICS
from kernelevolve.profilers.report import BottleneckKind, PartState, ProfileReport
from kernelevolve.profilers.rocprof import (
    DIRECT,
    MORE,
    PASSES,
    RATIOS,
    RocprofProfiler,
    command,
    last_call,
    measurements,
    read_counters,
)
from kernelevolve.profilers.subject import TargetRun

COLUMNS = (
    "Correlation_Id", "Dispatch_Id", "Agent_Id", "Queue_Id", "Process_Id", "Thread_Id", "Grid_Size", "Kernel_Id",
    "Kernel_Name", "Workgroup_Size", "LDS_Block_Size", "Scratch_Size", "VGPR_Count", "Accum_VGPR_Count", "SGPR_Count",
    "Counter_Name", "Counter_Value", "Start_Timestamp", "End_Timestamp",
)  # fmt: skip
"""As `generateCSV.cpp` of ROCprofiler-SDK writes them since ROCm 6.3."""

FILL = "void at::native::vectorized_elementwise_kernel<16, at::native::FillFunctor<unsigned char>>(int, unsigned char)"
SOFTMAX = "softmax_kernel.kd"
GEMM = "void gemm<float>(float*, float const*, int)"
VALUES = {
    "FETCH_SIZE": 1_000_000.0, "WRITE_SIZE": 500_000.0, "VALUBusy": 12.0, "VALUUtilization": 90.0, "MfmaUtil": 30.0,
    "OccupancyPercent": 25.0, "TCC_HIT_sum": 300.0, "TCC_MISS_sum": 100.0, "SQ_LDS_BANK_CONFLICT": 60.0,
    "SQ_LDS_IDX_ACTIVE": 100.0, "SQ_WAIT_ANY": 700.0, "SQ_WAIT_INST_LDS": 50.0, "SQ_WAVE_CYCLES": 1_000.0,
    "MemUnitBusy": 80.0, "MemUnitStalled": 5.0, "SQ_INSTS": 4096.0, "SALUBusy": 3.0, "TCC_ATOMIC_sum": 7.0,
}  # fmt: skip

Launch = tuple[str, int]


def table(launches: list[Launch], counters: dict[str, float], process: int = 7, time_ns: int = 500_000) -> str:
    """A counter_collection.csv: a row for each launch and counter, the launches' rows mixed."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, value in counters.items():
        for number, (kernel, items) in reversed(list(enumerate(launches, 1))):
            start = 10**15 + number * 10**6
            writer.writerow([
                number, number, "Agent 1", 1, process, process, items, 16, kernel, 256, 0, 0, 24, 0, 16, name, value,
                start, start + time_ns,
            ])  # fmt: skip
    return text.getvalue()


def process_of(call: list[Launch], flush: list[Launch] | None = None, warm_ups: int = 4) -> list[Launch]:
    """What `profilers/target.py` launches: inputs, warm-up, the fill that empties the cache, one call."""
    inputs = [("void at::native::distribution_elementwise<normal>(float*)", 1 << 20), (FILL, 64 << 20)]
    return inputs + call * warm_ups + ([(FILL, 8 << 20)] if flush is None else flush) + call


def subject_of(folder: Path, answer: Callable[[list[str]], tuple[str, str]], more: bool = False) -> Any:
    """A subject whose runs write what `answer` says for the counters that are asked for, and print the rest."""
    runs: list[list[str]] = []

    def run(mode: str, wrapper: list[str]) -> TargetRun:
        assert mode == "counters"
        asked = wrapper[wrapper.index("--pmc") + 1 : wrapper.index("--output-format")]
        here = folder / str(len(runs))
        runs.append(asked)
        (here / "rocprof").mkdir(parents=True)
        content, output = answer(asked)
        if content:
            (here / "rocprof" / "pass_counter_collection.csv").write_text(content)
        return TargetRun(result={"protection": []}, folder=here, output=output, code=0, timed_out=False, took_s=1.0)

    return SimpleNamespace(run=run, more=more, platform=get_platform("hip:gfx942"), runs=runs)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_rows_become_launches_in_their_order() -> None:
    text = table([(FILL, 1024), (SOFTMAX, 4096)], {"FETCH_SIZE": 2.5, "VALUBusy": 40})
    (launches,) = read_counters(text).values()
    assert [entry.kernel for entry in launches] == [FILL, "softmax_kernel"]
    assert launches[1].counters == {"FETCH_SIZE": 2.5, "VALUBusy": 40.0}
    assert (launches[1].work_items, launches[1].block, launches[1].time_ns) == (4096, 256, 500_000.0)


def test_a_file_of_rocm_6_2_has_no_times() -> None:
    header = (
        '"Correlation_Id","Dispatch_Id","Agent_Id","Queue_Id","Process_Id","Thread_Id","Grid_Size","Kernel_Id",'
        '"Kernel_Name","Workgroup_Size","LDS_Block_Size","Scratch_Size","VGPR_Count","SGPR_Count","Counter_Name",'
        '"Counter_Value"\n'
    )
    row = '4,4,1,1,36499,36499,1048576,18,"divide(float*, float const*, int)",64,0,0,12,16,"SQ_WAVES",16384\n'
    (launches,) = read_counters(header + row).values()
    assert launches[0].kernel == "divide(float*, float const*, int)"
    assert launches[0].time_ns is None
    assert launches[0].counters == {"SQ_WAVES": 16384.0}


def test_what_is_no_such_file_is_refused() -> None:
    with pytest.raises(ValueError, match="no column Process_Id"):
        read_counters("a,b\n1,2\n")
    with pytest.raises(ValueError, match="line 2"):
        read_counters(table([(SOFTMAX, 1024)], {"FETCH_SIZE": 1}).replace("1024", '"many"'))
    with pytest.raises(ValueError, match="line 2"):
        read_counters('"' + '","'.join(COLUMNS) + '"\n1,2\n')


# -- which launches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        [(SOFTMAX, 4096)],
        [(SOFTMAX, 4096)] * 3,
        [(GEMM, 1024), (SOFTMAX, 4096)],
        [(GEMM, 1024), (SOFTMAX, 4096), (SOFTMAX, 4096), (SOFTMAX, 4096)],
        [(GEMM, 1024), (SOFTMAX, 4096)] * 2,
        [(FILL, 2048), (GEMM, 1024)],
        [(FILL, 8 << 20), (GEMM, 1024)],
        [(GEMM, 1024), (GEMM, 1024), (FILL, 2048), (GEMM, 1024)],
        [(GEMM, 1024), (FILL, 2048), (GEMM, 1024), (FILL, 4096)],
        [(FILL, 2048), (GEMM, 1024), (FILL, 2048), (SOFTMAX, 4096)],
    ],
)
def test_the_launches_after_the_flush_are_found(call: list[Launch]) -> None:
    (launches,) = read_counters(table(process_of(call), {"FETCH_SIZE": 1})).values()
    found, doubt = last_call(launches)
    assert [entry.number for entry in found] == [entry.number for entry in launches[-len(call) :]]
    assert doubt == ""


def test_a_flush_in_two_pieces_is_one() -> None:
    flush = [("__amd_rocclr_fillBufferAligned", 1 << 20), ("__amd_rocclr_fillBufferAligned", 256)]
    (launches,) = read_counters(table(process_of([(GEMM, 1024)] * 2, flush), {"FETCH_SIZE": 1})).values()
    found, doubt = last_call(launches)
    assert (len(found), doubt) == (2, "")


def test_calls_that_differ_are_said() -> None:
    launches = [(GEMM, 1), (SOFTMAX, 2), (GEMM, 3), (FILL, 4), (SOFTMAX, 5)]
    (read,) = read_counters(table(launches, {"FETCH_SIZE": 1})).values()
    found, doubt = last_call(read)
    assert [entry.kernel for entry in found] == ["softmax_kernel"]
    assert "other launches" in doubt
    with pytest.raises(ValueError, match="fill that empties the cache"):
        last_call(read[:-2])


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_counters_become_our_metrics() -> None:
    (launches,) = read_counters(table([(GEMM, 65_536)], VALUES)).values()
    (kernel,), odd = measurements([launches], 5.3e12)
    assert odd == ""
    value = {name: metric.value for name, metric in kernel.metrics.items()}
    assert kernel.time_s is not None
    assert kernel.time_s.value == pytest.approx(5e-4)
    assert value["dram_read_bytes"] == 1_024_000_000
    assert value["dram_share"] == pytest.approx(1_536_000_000 / 5e-4 / 5.3e12)
    assert value["cache_hit_rate.l2"] == pytest.approx(0.75)
    assert value["stall.long_scoreboard"] == pytest.approx(0.7)
    assert value["stall.mio_throttle"] == pytest.approx(0.05)
    assert value["compute_share"] == pytest.approx(0.3)
    assert value["matrix_unit_share"] == pytest.approx(0.3)
    assert value["bank_conflicts"] / value["shared_wavefronts"] == pytest.approx(0.6)
    assert (kernel.grid, kernel.threads_per_block) == ((256,), 256)
    assert kernel.metrics["l1_share"].raw == "MemUnitBusy"


def test_of_several_launches_the_longest_stands_for_all() -> None:
    (short,) = read_counters(table([(GEMM, 65_536)], {"FETCH_SIZE": 1}, time_ns=10)).values()
    (long,) = read_counters(table([(GEMM, 65_536)], {"FETCH_SIZE": 9}, time_ns=90)).values()
    (kernel,), _odd = measurements([[*short, *long]], None)
    assert kernel.calls == 2
    assert kernel.metrics["dram_read_bytes"].value == 9 * 1024
    assert "dram_share" not in kernel.metrics


def test_a_share_far_above_one_is_left_out_and_named() -> None:
    (launches,) = read_counters(table([(GEMM, 1024)], {**VALUES, "VALUBusy": 390.0, "MfmaUtil": 101.0})).values()
    (kernel,), odd = measurements([launches], 5.3e12)
    assert "pipe_share.alu" not in kernel.metrics
    assert "compute_share" not in kernel.metrics
    assert kernel.metrics["matrix_unit_share"].value == 1.0
    assert "VALUBusy" in odd


def test_every_counter_is_asked_for_once_and_every_name_is_known() -> None:
    asked = [name for counters in (*PASSES, *MORE) for name in counters]
    assert len(asked) == len(set(asked))
    used = {raw for raw, _unit, _factor in DIRECT.values()} | {
        raw for top, bottom in RATIOS.values() for raw in (top, *bottom)
    }
    assert used == set(asked)
    assert {*DIRECT, *RATIOS} <= set(KNOWN_METRICS)
    assert all(KNOWN_METRICS[name].unit == unit for name, (_raw, unit, _factor) in DIRECT.items())


# -- the profiler -----------------------------------------------------------------------------------------------------


def test_the_runs_together_make_one_measurement(tmp_path: Path) -> None:
    call = [(GEMM, 65_536), (SOFTMAX, 4096)]
    subject = subject_of(
        tmp_path, lambda asked: (table(process_of(call), {name: VALUES[name] for name in asked}), ""), more=True
    )
    observation = RocprofProfiler().observe(subject)
    assert observation.state is PartState.DONE, observation.why
    assert subject.runs == [list(counters) for counters in (*PASSES, *MORE)]
    assert {entry.kernel: entry.calls for entry in observation.kernels} == {GEMM: 1, "softmax_kernel": 1}
    assert all(set(DIRECT) | set(RATIOS) <= set(entry.metrics) for entry in observation.kernels)
    assert any("Infinity Cache" in note for note in observation.notes)
    assert check_observation(observation, "rocprof") == []


def test_bank_conflicts_are_diagnosed(tmp_path: Path) -> None:
    subject = subject_of(
        tmp_path, lambda asked: (table(process_of([(GEMM, 1 << 20)]), {name: VALUES[name] for name in asked}), "")
    )
    observation = RocprofProfiler().observe(subject)
    report = ProfileReport(
        task="t", candidate="c", language="hip", source_hash="0", platform="hip:gfx942", level=Level.EXECUTED, case="c",
        dtype="float32", parts=(), kernels=observation.kernels,
    )  # fmt: skip
    found = diagnose(report, SpecSheet(chip="MI300X"))
    assert found[0].kind is BottleneckKind.BANK_CONFLICTS
    assert found[0].evidence[0].value == pytest.approx(0.6)


def test_a_set_that_can_t_be_had_costs_only_itself(tmp_path: Path) -> None:
    def answer(asked: list[str]) -> tuple[str, str]:
        if "MemUnitBusy" in asked:
            return "", "I0000 starting\nerror: Unable to find counter MemUnitBusy for agent 1\n"
        return table(process_of([(GEMM, 1024)]), {name: VALUES[name] for name in asked}), ""

    observation = RocprofProfiler().observe(subject_of(tmp_path, answer))
    assert observation.state is PartState.PARTIAL
    assert "No MemUnitBusy, MemUnitStalled" in observation.why
    assert "Unable to find counter MemUnitBusy" in observation.why
    assert "l1_share" not in observation.kernels[0].metrics
    assert "dram_share" in observation.kernels[0].metrics


def test_nothing_but_zeros_is_no_measurement(tmp_path: Path) -> None:
    subject = subject_of(tmp_path, lambda asked: (table(process_of([(GEMM, 1024)]), dict.fromkeys(asked, 0.0)), ""))
    observation = RocprofProfiler().observe(subject)
    assert observation.state is PartState.FAILED
    assert "zeros" in observation.why


def test_without_any_file_the_tool_s_words_are_passed_on(tmp_path: Path) -> None:
    observation = RocprofProfiler().observe(subject_of(tmp_path, lambda _asked: ("", "HSA_STATUS_ERROR: no agent\n")))
    assert observation.state is PartState.FAILED
    assert "HSA_STATUS_ERROR: no agent" in observation.why


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    def run(_mode: str, _wrapper: list[str]) -> TargetRun:
        (tmp_path / "rocprof").mkdir(exist_ok=True)
        link = tmp_path / "rocprof" / "pass_counter_collection.csv"
        if not link.is_symlink():
            link.symlink_to(tmp_path / "secret")
        return TargetRun(result={"ok": 1}, folder=tmp_path, output="", code=0, timed_out=False, took_s=1.0)

    (tmp_path / "secret").write_text(table(process_of([(GEMM, 1024)]), VALUES))
    subject: Any = SimpleNamespace(run=run, more=False, platform=get_platform("hip:gfx942"))
    observation = RocprofProfiler().observe(subject)
    assert observation.state is PartState.FAILED
    assert "link" in observation.why


def test_compilers_beside_the_process_are_not_taken_for_it(tmp_path: Path) -> None:
    def answer(asked: list[str]) -> tuple[str, str]:
        values = {name: VALUES[name] for name in asked}
        other = table([(SOFTMAX, 64)], values, process=8).partition("\n")[2]
        return table(process_of([(GEMM, 1024)]), values) + other, ""

    observation = RocprofProfiler().observe(subject_of(tmp_path, answer))
    assert [entry.kernel for entry in observation.kernels] == [GEMM]


def test_after_the_limit_no_more_runs_are_made(tmp_path: Path) -> None:
    ended = TargetRun(result={}, folder=tmp_path, output="", code=-9, timed_out=True, took_s=120.0)
    runs: list[str] = []

    def run(mode: str, _wrapper: list[str]) -> TargetRun:
        runs.append(mode)
        return ended

    subject: Any = SimpleNamespace(run=run, more=True, platform=get_platform("hip:gfx942"))
    observation = RocprofProfiler().observe(subject)
    assert observation.state is PartState.FAILED
    assert "longer than 120 s" in observation.why
    assert runs == ["counters"]


def test_the_command_ends_where_the_process_s_begins() -> None:
    assert command(("A", "B"))[:3] == ["rocprofv3", "--pmc", "A"]
    assert command(("A", "B"))[-1] == "--"
    assert "{folder}/rocprof" in command(("A",))


def test_it_says_why_it_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiler, platform = RocprofProfiler(), get_platform("hip:gfx942")
    assert "AMD" in profiler.missing(get_platform("cuda:sm_90"))
    if platform.availability().device is None:
        assert "no hip:gfx942 device" in profiler.missing(platform)
    here = platform.availability().model_copy(update={"device": "AMD Instinct MI300X"})
    monkeypatch.setattr(type(platform), "availability", lambda _self: here)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "rocprofv3 is not on PATH" in profiler.missing(platform)
    (tmp_path / "rocprofv3").write_text("#!/bin/sh\n")
    (tmp_path / "rocprofv3").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin")
    assert profiler.missing(platform) == ""


def test_it_conforms() -> None:
    assert check_profiler(RocprofProfiler()) == []
