"""Launches, gaps, waits and copies: raw events into a timeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernelevolve.profilers.report import PartState
from kernelevolve.profilers.subject import TargetRun, _read_result
from kernelevolve.profilers.target import _runs
from kernelevolve.profilers.timeline import TimelineProfiler, failure

START = 1_000_000_000


@dataclass
class Raw:
    """An event as torch's profiler gives it."""

    label: str
    start_us: float
    duration_us: float
    device: str = "CUDA"
    correlation: int = 0
    operator: int = 0
    moved: int = 0

    def name(self) -> str:
        return self.label

    def device_type(self) -> Any:
        return SimpleNamespace(name=self.device)

    def start_ns(self) -> int:
        return START + int(self.start_us * 1e3)

    def duration_ns(self) -> int:
        return int(self.duration_us * 1e3)

    def device_resource_id(self) -> int:
        return 7

    def correlation_id(self) -> int:
        return self.correlation

    def linked_correlation_id(self) -> int:
        return self.operator

    def nbytes(self) -> int:
        return self.moved


def host(label: str, start_us: float, duration_us: float, correlation: int = 0) -> Raw:
    return Raw(label, start_us, duration_us, "CPU", correlation)


def run_of(*events: Raw, wall: float = 200.0, call: float = 150.0) -> list[Raw]:
    return [host("kernelevolve.run", 0, wall), host("kernelevolve.call", 1, call), *events]


def test_gaps_and_busy_time_are_of_the_device() -> None:
    events = run_of(Raw("first", 20, 30), Raw("second", 70, 30), Raw("overlapping", 80, 10))
    (run,) = _runs(events)
    assert run["busy_us"] == pytest.approx(60)
    assert run["span_us"] == pytest.approx(80)
    assert run["launches"] == 3
    assert run["kernels"]["first"] == [1, pytest.approx(30), pytest.approx(30)]


def test_the_wait_at_the_end_is_not_the_candidate_s() -> None:
    events = run_of(
        host("cudaStreamSynchronize", 40, 5), host("cudaDeviceSynchronize", 160, 30), Raw("kernel", 50, 100)
    )
    (run,) = _runs(events)
    assert run["synchronizations"] == 1


def test_kernels_that_an_operator_launched_only_to_move_data_are_copies() -> None:
    events = run_of(
        host("aten::clone", 5, 10, correlation=3), host("aten::mm", 20, 10, correlation=4),
        Raw("elementwise_kernel", 30, 40, operator=3), Raw("gemm", 70, 50, operator=4),
        Raw("Memcpy DtoD", 120, 8, moved=1024), Raw("Memcpy HtoD", 130, 2, moved=8),
    )  # fmt: skip
    (run,) = _runs(events)
    assert run["device_copies"] == 2
    assert run["host_copies"] == 1
    assert run["copy_us"] == pytest.approx(50)
    assert run["conversions"] == ["Memcpy DtoD", "elementwise_kernel"]


def test_what_flushes_the_cache_before_a_run_is_not_in_it() -> None:
    (run,) = _runs(run_of(Raw("fill", -50, 20), Raw("kernel", 20, 30)))
    assert run["launches"] == 1


def test_ten_thousand_launches_are_counted_and_cut() -> None:
    kernels = [Raw("tiny", 10 + index, 0.5, correlation=index) for index in range(12_000)]
    (run,) = _runs(run_of(*kernels, wall=20_000, call=15_000))
    assert run["launches"] == 12_000
    assert len(run["events"]) == 10_000
    assert run["dropped"] == 2_000
    observation = TimelineProfiler().observe(_answers({"runs": [run]}))
    assert observation.state is PartState.PARTIAL
    assert "12,000" in observation.why
    assert observation.timeline is not None
    assert observation.timeline.launches == 12_000
    assert observation.kernels[0].calls == 12_000


def test_operators_are_left_out_before_kernels() -> None:
    operators = [host(f"aten::op{index}", 1 + index * 0.001, 0.0005) for index in range(9_500)]
    kernels = [Raw("kernel", 100 + index, 0.5) for index in range(1_000)]
    (run,) = _runs(run_of(*operators, *kernels, wall=20_000, call=15_000))
    assert sum(event[1] == "kernel" for event in run["events"]) == 1_000


def test_no_kernel_at_all_is_said() -> None:
    observation = TimelineProfiler().observe(_answers({"runs": _runs(run_of())}))
    assert observation.state is PartState.PARTIAL
    assert "no kernel" in observation.why


@pytest.mark.parametrize(
    ("ended", "word"),
    [
        ({"result": {"failed": "OutOfMemoryError: too much"}}, "OutOfMemoryError"),
        ({"result": {}, "timed_out": True, "took_s": 120.0}, "--limit"),
        ({"result": {}, "code": -11, "output": "Segmentation fault"}, "Segmentation fault"),
        ({"result": {}}, "said nothing"),
    ],
)
def test_a_run_that_gave_nothing_says_why(ended: dict[str, Any], word: str) -> None:
    assert word in failure(_ended(**ended))
    observation = TimelineProfiler().observe(SimpleNamespace(run=lambda *_a, **_k: _ended(**ended)))  # type: ignore[arg-type]
    assert observation.state is PartState.FAILED
    assert word in observation.why


@pytest.mark.parametrize("result", [{"runs": [{}]}, {"runs": 7}, {"other": 1}, {"runs": [{"launches": "many"}]}])
def test_what_the_candidate_s_process_says_is_not_trusted(result: dict[str, Any]) -> None:
    assert TimelineProfiler().observe(_answers(result)).state is PartState.FAILED


def test_a_result_of_more_than_100_mb_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with path.open("wb") as file:
        file.truncate(101 << 20)
    assert "101 MB" in _read_result(path)["failed"]
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert _read_result(path) == {}
    path.unlink()
    path.write_text("[1, 2]")
    assert "failed" in _read_result(path)


def _ended(**given: Any) -> TargetRun:
    whole = {"result": {}, "folder": Path(), "output": "", "code": 1, "timed_out": False, "took_s": 1.0, **given}
    return TargetRun(**whole)


def _answers(result: dict[str, Any]) -> Any:
    return SimpleNamespace(run=lambda *_arguments, **_options: _ended(result=result, code=0))
