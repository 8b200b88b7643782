"""Nsight Compute: what is asked of it, and how its reports and refusals are read."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kernelevolve.evaluation.platform import get_platform
from kernelevolve.profilers import counters
from kernelevolve.profilers.counters import FIRST, MORE, STALLS, CountersProfiler, read_action
from kernelevolve.profilers.report import PartState
from kernelevolve.profilers.subject import TargetRun


class Value:
    """A metric of a report: one number, or one for each address."""

    def __init__(self, *numbers: float, addresses: tuple[int, ...] = ()) -> None:
        self._numbers = numbers
        self._addresses = addresses

    def as_double(self, index: int = 0) -> float:
        return self._numbers[index]

    def as_uint64(self, index: int) -> int:
        return self._addresses[index]

    def num_instances(self) -> int:
        return len(self._numbers)

    def correlation_ids(self) -> Value:
        return Value(addresses=self._addresses)


class Action:
    """A profiled launch, as `ncu_report` gives it."""

    def __init__(self, name: str, values: dict[str, Value], lines: dict[int, int] | None = None) -> None:
        self._name, self._values, self._lines = name, values, lines or {}

    def name(self) -> str:
        return self._name

    def metric_names(self) -> list[str]:
        return list(self._values)

    def metric_by_name(self, name: str) -> Value | None:
        return self._values.get(name)

    def source_info(self, address: int) -> Any:
        line = self._lines.get(address)
        return None if line is None else SimpleNamespace(line=lambda: line)


def values(**more: Value) -> dict[str, Value]:
    found = {raw: Value(50.0) for raw, _unit, _factor in FIRST.values()}
    found["smsp__average_warp_latency_per_inst_issued.ratio"] = Value(20.0)
    for reason in STALLS:
        found[f"smsp__average_warps_issue_stalled_{reason}_per_issue_active.ratio"] = Value(1.0)
    return {**found, **more}


def test_metrics_come_in_our_units() -> None:
    given = values()
    given["gpu__time_duration.sum"] = Value(2_500.0)
    measured, missing = read_action(Action("softmax", given), FIRST)
    assert missing == set()
    assert measured.time_s is not None
    assert measured.time_s.value == pytest.approx(2.5e-6)
    assert measured.metrics["dram_share"].value == pytest.approx(0.5)
    assert measured.metrics["dram_share"].raw == "dram__throughput.avg.pct_of_peak_sustained_elapsed"
    assert measured.metrics["dram_read_bytes"].value == 50
    assert measured.metrics["stall.barrier"].value == pytest.approx(0.05)


def test_a_metric_that_this_gpu_does_not_have_is_named() -> None:
    given = values()
    del given["lts__t_sector_hit_rate.pct"]
    given["l1tex__t_sector_hit_rate.pct"] = Value(math.nan)
    measured, missing = read_action(Action("softmax", given), FIRST)
    assert missing == {"cache_hit_rate.l2", "cache_hit_rate.l1"}
    assert "cache_hit_rate.l2" not in measured.metrics


def test_samples_fall_on_lines() -> None:
    given = values()
    given["smsp__pcsamp_warps_issue_stalled_long_scoreboard"] = Value(30.0, 10.0, addresses=(16, 32))
    given["smsp__pcsamp_warps_issue_stalled_barrier"] = Value(20.0, addresses=(32,))
    given["smsp__pcsamp_warps_issue_stalled_barrier_not_issued"] = Value(99.0, addresses=(32,))
    measured, _missing = read_action(Action("softmax", given, {16: 21, 32: 28}), FIRST)
    assert measured.lines == {21: pytest.approx(0.5), 28: pytest.approx(0.5)}


def test_no_name_means_two_things() -> None:
    assert not set(FIRST) & set(MORE)
    raw = [entry[0] for entry in (*FIRST.values(), *MORE.values())]
    assert len(raw) == len(set(raw))


@pytest.mark.parametrize(
    ("output", "state", "word"),
    [
        ("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", PartState.MISSING, "root"),
        ("==WARNING== No kernels were profiled.", PartState.PARTIAL, "no kernel"),
        ("==ERROR== Unknown metric", PartState.FAILED, "Unknown metric"),
    ],
)
def test_refusals_of_the_tool_are_understood(tmp_path: Path, output: str, state: PartState, word: str) -> None:
    observation = CountersProfiler().observe(_subject(tmp_path, output, result={"protection": []}))
    assert observation.state is state
    assert word in observation.why


def test_a_report_is_read_and_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = values(), values()
    short["gpu__time_duration.sum"], long["gpu__time_duration.sum"] = Value(100.0), Value(900.0)
    del long["dram__throughput.avg.pct_of_peak_sustained_elapsed"]
    actions = [Action("copy", short), Action("copy", long)]
    rounds = SimpleNamespace(num_actions=lambda: 2, action_by_idx=lambda index: actions[index])
    reader = SimpleNamespace(num_ranges=lambda: 1, range_by_idx=lambda _index: rounds)
    monkeypatch.setattr(counters, "report_reader", lambda: SimpleNamespace(load_report=lambda _path: reader))
    (tmp_path / "counters.ncu-rep").touch()
    observation = CountersProfiler().observe(_subject(tmp_path, "", result={"protection": []}))
    (kernel,) = observation.kernels
    assert kernel.calls == 2
    assert kernel.time_s is not None
    assert kernel.time_s.value == pytest.approx(9e-7)
    assert observation.state is PartState.PARTIAL
    assert "dram_share" in observation.why


def test_the_reader_lies_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "nsight-compute-2099.1"
    (home / "extras" / "python").mkdir(parents=True)
    (home / "extras" / "python" / "ncu_report.py").write_text("def load_report(path):\n    return path\n")
    program = home / "ncu"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ncu").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delitem(counters.sys.modules, "ncu_report", raising=False)
    module = counters.report_reader()
    assert isinstance(module, ModuleType)
    assert module.load_report("x") == "x"
    monkeypatch.delitem(counters.sys.modules, "ncu_report", raising=False)


def test_it_says_why_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "NVIDIA" in CountersProfiler().missing(get_platform("hip:gfx942"))
    platform = get_platform("cuda:sm_90")
    if platform.availability().device is None:
        assert "no cuda:sm_90 device" in CountersProfiler().missing(platform)


def _subject(folder: Path, output: str, result: dict[str, Any]) -> Any:
    ended = TargetRun(result=result, folder=folder, output=output, code=0, timed_out=False, took_s=1.0)
    return SimpleNamespace(run=lambda *_arguments, **_options: ended, more=False)
