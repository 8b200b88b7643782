"""The kernels with planted bottlenecks compute what they should, slow and mended, and are what their README says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.verdict import PlatformVerdict
from kernelevolve.profilers.report import BottleneckKind
from tests.conftest import Give

PLANTED = Path(__file__).with_name("planted")
KINDS = sorted(path.parent.name for path in PLANTED.glob("*/task.py"))
VERSIONS = ("slow", "fixed")
PLATFORM = "cuda:sm_90"
LANGUAGES = {".py": "triton", ".cu": "cuda"}

Verdicts = Callable[[str, str], PlatformVerdict]


def candidate_of(kind: str, version: str) -> Path:
    """The one file of a version, in whichever language it is."""
    [found] = [path for path in (PLANTED / kind).glob(f"{version}.*") if path.suffix in LANGUAGES]
    return found


@pytest.fixture(scope="module")
def verdict(give: Give) -> Verdicts:
    """Judge a version once, untimed; CUDA C++ is skipped where it cannot be compiled."""
    known: dict[Path, PlatformVerdict] = {}

    def judged(kind: str, version: str) -> PlatformVerdict:
        path = candidate_of(kind, version)
        if path.suffix == ".py":
            pytest.importorskip("triton")
        elif shutil.which("nvcc") is None:
            pytest.skip("nvcc is missing, so CUDA C++ cannot be compiled")
        if path not in known:
            known[path] = give(
                path.read_text(encoding="utf-8"),
                LANGUAGES[path.suffix],
                PLANTED / kind / "task.py",
                PLATFORM,
                trials=1,
                limit_s=60.0,
            ).of(PLATFORM)
        return known[path]

    return judged


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_candidate_is_correct(kind: str, version: str, verdict: Verdicts) -> None:
    entry = verdict(kind, version)

    assert entry.status is Status.CORRECT, entry.diagnosis
    assert entry.resources
    if candidate_of(kind, version).suffix == ".py":
        # Both cases, whatever the judge adds to them.
        assert entry.level in (Level.EXECUTED, Level.INTERPRETED)
        assert entry.checks >= 2
    else:
        # No interpreter for CUDA C++: without the device it is only compiled.
        assert entry.level in (Level.EXECUTED, Level.COMPILED)


def test_only_the_slow_softmax_spills(verdict: Verdicts) -> None:
    [slow], [fixed] = (verdict("register_spills", version).resources for version in VERSIONS)

    assert slow.spills is not None
    assert slow.spills > 100
    assert fixed.spills == 0


def test_shared_memory_limits_the_occupancy_of_the_slow_look_up_only(verdict: Verdicts) -> None:
    [slow], [fixed] = (verdict("low_occupancy", version).resources for version in VERSIONS)

    assert (slow.occupancy, slow.occupancy_limiter) == (0.125, "shared memory")
    assert fixed.occupancy == 1.0


def test_one_block_fills_a_multiprocessor_where_a_tail_is_planted(verdict: Verdicts) -> None:
    """With two blocks on a multiprocessor, one block too many would cost nothing."""
    [slow], [fixed] = (verdict("tail_effect", version).resources for version in VERSIONS)

    for entry in (slow, fixed):
        assert entry.threads_per_block == 1024
        assert entry.occupancy == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_folder_is_complete_and_has_a_row_in_the_table(kind: str) -> None:
    slow, fixed = (candidate_of(kind, version) for version in VERSIONS)

    assert BottleneckKind(kind)
    assert slow.suffix == fixed.suffix
    assert slow.read_text(encoding="utf-8") != fixed.read_text(encoding="utf-8")
    assert f"| `{kind}` |" in (PLANTED / "README.md").read_text(encoding="utf-8")


def test_there_is_a_folder_for_each_row_of_the_table() -> None:
    lines = (PLANTED / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("`")[1] for line in lines if line.startswith("| `")]

    assert sorted(rows) == KINDS
    assert len(KINDS) == 16
