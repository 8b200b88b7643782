"""Profiles on a GPU: every part, and a candidate that launches far too often."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.platforms.nvml import nvml_devices
from kernelevolve.profilers.profile import ProfileRequest, profile
from kernelevolve.profilers.report import PartState, ProfileReport
from kernelevolve.profilers.text import TEXT_LIMIT, profile_text
from tests.conftest import SCALE_TRITON
from tests.gpu.test_gpu import LARGE_TASK, MISSING

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


def profiled(judge: Judge, folder: Path, source: str, *parts: str) -> ProfileReport:
    task = folder / "large.py"
    task.write_text(LARGE_TASK)
    major, minor = nvml_devices()[0].compute_capability
    request = ProfileRequest(
        task=str(task),
        candidate=Candidate(language="triton", source=source),
        platform=f"cuda:sm_{major}{minor}",
        parts=parts,
    )
    return profile(judge, request, folder / "state")


def test_every_part_sees_the_kernel(judge: Judge, tmp_path: Path) -> None:
    report = profiled(judge, tmp_path, SCALE_TRITON.replace("256", "1024"), "static", "timeline", "proton", "counters")
    assert {part.name: part.state for part in report.parts} == dict.fromkeys(
        ("static", "timeline", "proton", "counters"), PartState.DONE
    ), report.parts
    (kernel,) = report.kernels
    assert kernel.kernel == report.static[0].kernel == "scale"
    assert {"time.timeline", "time.proton", "time.counters", "dram_share"} <= set(kernel.metrics)
    assert kernel.scopes
    assert kernel.lines
    assert math.prod(kernel.grid) == math.prod(report.static[0].grid)
    assert report.roofline[0].share_of_sheet
    assert len(profile_text(report)) <= TEXT_LIMIT


def test_ten_thousand_launches(judge: Judge, tmp_path: Path) -> None:
    launch = "    scale[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)\n"
    assert launch in SCALE_TRITON
    often = "    for _ in range(10_000):\n        scale[(1,)](x, y, 1, BLOCK=256)\n"
    report = profiled(judge, tmp_path, SCALE_TRITON.replace(launch, often + launch), "timeline", "counters")
    states = {part.name: part for part in report.parts}
    assert report.timeline is not None
    assert report.timeline.launches == 10_001
    assert len(report.timeline.events) <= 10_000
    assert states["timeline"].state is PartState.PARTIAL
    assert states["counters"].state is PartState.PARTIAL
    assert "launches" in states["counters"].why
    assert report.bottlenecks[0].kind.value == "launch_bound"
