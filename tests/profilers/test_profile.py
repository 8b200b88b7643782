"""A whole profile: who may be profiled, which parts are used, what is said where something is missing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError, PlatformError, TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.platform import Level, Platform, get_platform
from kernelevolve.profilers import profile as profiling
from kernelevolve.profilers.ceilings import calibrate, known_ceilings
from kernelevolve.profilers.profile import ProfileRequest, merged, profile
from kernelevolve.profilers.profiler import Observation, Profiler, get_profiler, profilers
from kernelevolve.profilers.report import KernelMeasurement, Metric, PartState, ProfileReport
from kernelevolve.profilers.subject import Subject
from tests.conftest import SCALE_CPP, SCALE_TRITON

CPU = "cpu"


def request(task: Path, source: str, language: str = "cpp", platform: str = CPU, **more: Any) -> ProfileRequest:
    candidate = Candidate(language=language, source=source)
    return ProfileRequest(task=str(task), candidate=candidate, platform=platform, **more)


def parts_of(report: ProfileReport) -> dict[str, PartState]:
    return {part.name: part.state for part in report.parts}


def test_a_correct_candidate_is_run_and_placed(judge: Judge, scale_task: Path, tmp_path: Path) -> None:
    report = profile(judge, request(scale_task, SCALE_CPP), tmp_path)
    assert report.level is Level.EXECUTED
    assert parts_of(report)["static"] is PartState.DONE
    assert parts_of(report)["perf"] in (PartState.DONE, PartState.PARTIAL, PartState.MISSING)
    assert report.candidate_ms
    assert report.static[0].remarks
    assert not list((tmp_path / "scratch").glob("*/*")), "scratch is left behind"


def test_a_wrong_candidate_is_not_run(judge: Judge, scale_task: Path, tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match="Only correct candidates are profiled") as raised:
        profile(judge, request(scale_task, SCALE_CPP.replace("1.0f;", "1.5f;")), tmp_path)
    assert raised.value.finding is Finding.WRONG_VALUES


def test_its_code_may_be_looked_at_all_the_same(judge: Judge, scale_task: Path, tmp_path: Path) -> None:
    wrong = SCALE_CPP.replace("1.0f;", "1.5f;")
    report = profile(judge, request(scale_task, wrong, parts=("static",)), tmp_path)
    assert report.level is Level.COMPILED
    assert report.candidate_ms is None


def test_what_does_not_compile_is_said_with_the_compiler_s_words(
    judge: Judge, scale_task: Path, tmp_path: Path
) -> None:
    broken = SCALE_TRITON.replace("tl.load(", "tl.lod(")
    with pytest.raises(KernelEvolveError) as raised:
        profile(judge, request(scale_task, broken, "triton", "cuda:sm_90", parts=("static",)), tmp_path)
    assert "lod" in raised.value.log


@pytest.mark.parametrize("platform", ["cuda:sm_90", "hip:gfx950"])
def test_without_the_device_its_code_is_read_and_the_rest_said(
    judge: Judge, scale_task: Path, tmp_path: Path, platform: str
) -> None:
    report = profile(judge, request(scale_task, SCALE_TRITON, "triton", platform), tmp_path)
    if report.level is Level.EXECUTED:
        pytest.skip("the device is here")
    states = parts_of(report)
    assert states["static"] is PartState.DONE
    assert states["timeline"] is PartState.MISSING
    assert all(part.why for part in report.parts if part.state is not PartState.DONE)
    (kernel,) = report.static
    assert kernel.kernel == "scale"
    assert kernel.resources is not None
    assert kernel.resources.registers
    assert kernel.accesses
    assert kernel.mix.total


def test_a_language_without_a_static_view_is_told(judge: Judge, scale_task: Path, tmp_path: Path) -> None:
    with pytest.raises(KernelEvolveError, match="cpp candidates"):
        judge.code(str(scale_task), Candidate(language="cpp", source=SCALE_CPP), "cuda:sm_90")


@pytest.mark.parametrize(
    ("more", "error", "word"),
    [
        ({"parts": ("nsight",)}, PlatformError, "counters"),
        ({"platform": "cuda:sm_9000"}, PlatformError, "sm_90"),
        ({"case": "huge"}, TaskError, "small"),
    ],
)
def test_wrong_names_are_answered_with_the_right_ones(
    judge: Judge, scale_task: Path, tmp_path: Path, more: dict[str, Any], error: type[KernelEvolveError], word: str
) -> None:
    with pytest.raises(error) as raised:
        profile(judge, request(scale_task, SCALE_CPP, **{"parts": ("static",), **more}), tmp_path)
    assert word in str(raised.value)


class Broken(Profiler):
    """A plug-in that raises."""

    name = "broken"
    families = ("*",)
    runs_candidate = False

    def missing(self, platform: Platform) -> str:
        return ""

    def observe(self, subject: Subject) -> Observation:
        raise ZeroDivisionError("nothing to divide by")


def test_a_plug_in_that_breaks_costs_its_own_part_only(
    judge: Judge, scale_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "get_profiler", lambda name: Broken() if name == "broken" else get_profiler(name))
    report = profile(judge, request(scale_task, SCALE_CPP, parts=("static", "broken")), tmp_path)
    assert parts_of(report) == {"static": PartState.DONE, "broken": PartState.FAILED}
    assert "nothing to divide by" in report.parts[1].why


def test_a_cancelled_profile_ends_at_once(judge: Judge, scale_task: Path, tmp_path: Path) -> None:
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    began = time.monotonic()
    endless = SCALE_CPP.replace("++i)", ")")
    subject = Subject(
        task=str(scale_task), candidate=Candidate(language="cpp", source=endless), platform=_cpu(), case="small",
        dtype="float32", folder=tmp_path, compile_code=list, cancelled=cancelled, limit_s=300,
    )  # fmt: skip
    with pytest.raises(CandidateError, match="cancelled"):
        subject.run("timeline")
    assert time.monotonic() - began < 200


def test_a_run_over_its_limit_is_killed_and_said(scale_task: Path, tmp_path: Path) -> None:
    endless = SCALE_CPP.replace("++i)", ")")
    subject = Subject(
        task=str(scale_task), candidate=Candidate(language="cpp", source=endless), platform=_cpu(), case="small",
        dtype="float32", folder=tmp_path, compile_code=list,
    )  # fmt: skip
    ended = subject.run("timeline", limit_s=6)
    assert ended.timed_out
    assert ended.result == {}


def test_the_profiled_process_is_confined(scale_task: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (tmp_path / "inside").mkdir()
    plant = f'{{ FILE* f = fopen("{outside}", "w"); if (f) fclose(f);'
    source = "#include <cstdio>\n" + SCALE_CPP.replace("{", plant, 1)
    subject = Subject(
        task=str(scale_task), candidate=Candidate(language="cpp", source=source), platform=_cpu(), case="small",
        dtype="float32", folder=tmp_path / "inside", compile_code=list,
    )  # fmt: skip
    ended = subject.run("timeline", runs=1)
    assert "protection" in ended.result, ended.output
    if any("landlock" in wall for wall in ended.result["protection"]):
        assert not outside.exists()


def test_one_measurement_for_each_kernel() -> None:
    def seen(name: str, seconds: float, **metrics: float) -> KernelMeasurement:
        return KernelMeasurement(
            kernel=name,
            time_s=Metric(value=seconds, unit="s", source="x"),
            metrics={key: Metric(value=value, source="x") for key, value in metrics.items()},
        )

    kernels = merged([
        ("counters", (seen("scale", 3.0, occupancy=0.5),)),
        ("timeline", (seen("void scale<float>(float*, int)", 1.0), seen("other", 9.0))),
        ("proton", (seen("scale", 2.0),)),
    ])  # fmt: skip
    assert [kernel.kernel for kernel in kernels] == ["other", "void scale<float>(float*, int)"]
    scale = kernels[1]
    assert scale.time_s is not None
    assert scale.time_s.value == 1.0
    assert {name: metric.value for name, metric in scale.metrics.items()} == {
        "occupancy": 0.5, "time.timeline": 1.0, "time.proton": 2.0, "time.counters": 3.0,
    }  # fmt: skip


def test_ceilings_are_measured_kept_and_used(judge: Judge, scale_task: Path, tmp_path: Path) -> None:
    assert known_ceilings(_cpu(), tmp_path) is None
    found = calibrate(_cpu(), tmp_path)
    assert found.bandwidth > 1e8
    assert found.rates["float32"] > 1e8
    assert known_ceilings(_cpu(), tmp_path) == found
    report = profile(judge, request(scale_task, SCALE_CPP), tmp_path)
    point = report.roofline[0]
    assert any(ceiling.source == "measured" and ceiling.value == found.bandwidth for ceiling in point.ceilings)
    assert point.share_of_measured == pytest.approx(point.bytes / found.bandwidth / point.time_s)
    assert point.bytes_source == "inputs and outputs"


def test_ceilings_of_a_device_that_is_not_here_are_refused(tmp_path: Path) -> None:
    platform = get_platform("hip:gfx942")
    if platform.availability().device is not None:
        pytest.skip("the device is here")
    with pytest.raises(PlatformError, match="no hip:gfx942 device"):
        calibrate(platform, tmp_path)


def test_every_built_in_profiler_loads() -> None:
    assert {"static", "timeline", "proton", "counters", "perf"} <= set(profilers())


def _cpu() -> Platform:
    return get_platform(CPU)
