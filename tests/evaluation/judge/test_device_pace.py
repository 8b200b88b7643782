"""The guards over how long calls keep a GPU, on records as the driver gives them."""

from __future__ import annotations

import pytest

from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import device_activity as activity
from kernelevolve.evaluation.judge.device_pace import reuses

SPIN = "at::cuda::(anonymous namespace)::spin_kernel(long)"


def call(kernels_us: float) -> activity.Call:
    """A call whose one kernel runs that long."""
    end = 502.0 + kernels_us
    marks = [[SPIN, 7, 0.0, 1.0], [SPIN, 7, 10.0, 500.0], [SPIN, 7, end, end + 1]]
    return activity.dissect([*marks, ["scale", 7, 501.0, 501.0 + kernels_us]])


def test_kernel_that_finds_its_answer_is_found() -> None:
    diagnosis = reuses([call(4.0), call(4.2)], [call(9.0), call(9.1), call(8.8)])
    assert diagnosis is not None
    assert diagnosis.finding is Finding.ANSWER_REUSED
    assert "9 us" in diagnosis.summary


@pytest.mark.parametrize("new", [[4.0, 5.9, 6.0], [4.0, 4.0, 80.0], [2.0, 3.0, 3.0]])
def test_kernel_that_varies_is_not_blamed(new: list[float]) -> None:
    assert reuses([call(3.0), call(4.0)], [call(us) for us in new]) is None


def test_leaving_one_new_call_undone_does_not_help() -> None:
    assert reuses([call(50.0)] * 2, [call(50.0), call(120.0), call(120.0)]) is not None
