"""The diagnosis names what was planted: from recordings of an H200, and with no GPU from the code alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.platform import SpecSheet, get_platform
from kernelevolve.evaluation.platforms.spec_sheets import spec_sheet_for
from kernelevolve.profilers.diagnosis import LEAST_SHARE, MOST, diagnose
from kernelevolve.profilers.profile import ProfileRequest, profile
from kernelevolve.profilers.report import Bottleneck, BottleneckKind, ProfileReport
from kernelevolve.profilers.text import TEXT_LIMIT, profile_text

PLANTED = Path(__file__).parent / "planted"
KINDS = sorted(path.name for path in PLANTED.iterdir() if (path / "task.py").is_file())
RECORDED = Path(__file__).parents[2] / "benchmarks" / "results" / "h200" / "reports.json"
REPORTS: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
DEVICE_ONLY = {
    "bank_conflicts": "only counters see which bank an address falls into",
    "host_synchronization": "the wait is in the host code, which no compiler of kernels reads",
    "layout_conversion": "torch's own kernels do it",
}
"""Planted bottlenecks that code alone does not show."""


@pytest.fixture(scope="module")
def h200() -> SpecSheet:
    return spec_sheet_for("sm_90", "NVIDIA H200")


def recorded(kind: str) -> ProfileReport:
    return ProfileReport.model_validate(REPORTS[kind])


def named(found: tuple[Bottleneck, ...]) -> list[str]:
    return [entry.kind.value for entry in found]


def test_there_are_recordings_of_every_planted_kernel() -> None:
    assert len(KINDS) >= 14
    assert set(KINDS) == set(REPORTS)
    assert set(KINDS) <= {kind.value for kind in BottleneckKind}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_planted_comes_first_in_the_recording(kind: str, h200: SpecSheet) -> None:
    found = diagnose(recorded(kind), h200)
    assert named(found)[0] == kind
    assert all(entry.evidence and entry.advice and LEAST_SHARE <= entry.share <= 1 for entry in found)
    assert len(found) <= MOST


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_is_on_the_side_of_its_threshold_that_it_claims(kind: str, h200: SpecSheet) -> None:
    for entry in diagnose(recorded(kind), h200):
        for seen in entry.evidence:
            held = seen.value > seen.threshold if seen.relation == ">" else seen.value < seen.threshold
            assert held, (entry.kind, seen)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_fits_and_says_the_first(kind: str, h200: SpecSheet) -> None:
    report = recorded(kind)
    text = profile_text(report.model_copy(update={"bottlenecks": diagnose(report, h200)}))
    assert len(text) <= TEXT_LIMIT
    assert f"1. {kind}" in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["slow", "fixed"])
def test_the_code_alone_shows_it_and_its_twin_does_not(kind: str, version: str, judge: Judge, tmp_path: Path) -> None:
    if kind in DEVICE_ONLY:
        pytest.skip(f"needs the device: {DEVICE_ONLY[kind]}")
    path = next(path for path in (PLANTED / kind).glob(f"{version}.*") if path.suffix in (".py", ".cu"))
    if path.suffix == ".cu" and shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    request = ProfileRequest(
        task=str(PLANTED / kind / "task.py"),
        candidate=Candidate.from_file(path),
        platform="cuda:sm_90",
        parts=("static",),
    )
    found = named(profile(judge, request, tmp_path).bottlenecks)
    assert (found[:1] == [kind]) is (version == "slow"), found


def test_a_share_of_the_kernel_is_a_share_of_the_candidate_s_time(h200: SpecSheet) -> None:
    report = recorded("uncoalesced_access")
    kernel = report.kernels[0]
    assert kernel.time_s is not None
    other = kernel.model_copy(
        update={
            "kernel": "another",
            "metrics": {},
            "time_s": kernel.time_s.model_copy(update={"value": 3 * kernel.time_s.value}),
        }
    )
    alone = diagnose(report, h200)[0]
    beside = next(
        entry
        for entry in diagnose(report.model_copy(update={"kernels": (kernel, other)}), h200)
        if entry.kind is BottleneckKind.UNCOALESCED_ACCESS
    )
    assert beside.share == pytest.approx(alone.share / 4, rel=0.05)


def test_kernels_that_only_move_data_are_the_host_s_affair(h200: SpecSheet) -> None:
    found = diagnose(recorded("layout_conversion"), h200)
    assert "uncoalesced_access" not in named(found)


def test_nothing_seen_means_nothing_named() -> None:
    report = recorded("small_tiles").model_copy(
        update={"static": (), "kernels": (), "timeline": None, "roofline": (), "parts": ()}
    )
    assert diagnose(report, get_platform("cuda:sm_90").spec_sheet()) == ()
    assert "Nothing stands out" in profile_text(report.model_copy(update={"bottlenecks": ()}))
