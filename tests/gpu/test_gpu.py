"""What only a GPU can show: execution, device failures, work that hides from the clock, the fused comparison."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge import gpu_compare, oracle
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.platforms.nvml import nvml_devices
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES
from kernelevolve.evaluation.verdict import PlatformVerdict
from tests.conftest import SCALE_TRITON, Give

LARGE_TASK = """
import torch
LAYOUTS = ["contiguous"]
CASES = {"large": {"rows": 4096, "cols": 4096}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return 2.0 * x + 1.0
"""


def _why_not() -> str:
    """Why these tests can't run here; empty where they can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    try:
        return "" if nvml_devices() else "the NVIDIA driver lists no GPU"
    except PlatformError as error:
        return str(error)


MISSING = _why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


@pytest.fixture(scope="module")
def platform() -> str:
    major, minor = nvml_devices()[0].compute_capability
    return f"cuda:sm_{major}{minor}"


@pytest.fixture(scope="module")
def large_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpu") / "large.py"
    path.write_text(LARGE_TASK)
    return path


def refused_as(entry: PlatformVerdict) -> Finding:
    assert entry.diagnosis is not None, "it was accepted"
    return entry.diagnosis.finding


def test_right_candidate_is_executed_timed_and_measured(give: Give, platform: str) -> None:
    entry = give(SCALE_TRITON, "triton", platform=platform, timed_calls=100, limit_s=60.0).platforms[0]
    assert (entry.status, entry.level) == (Status.CORRECT, Level.EXECUTED), entry.diagnosis
    assert {timing.case for timing in entry.timings} == {"small", "odd"}
    assert all(0 < timing.candidate_ms < 10 for timing in entry.timings)
    kernel = entry.resources[0]
    assert kernel.registers
    assert kernel.occupancy


def test_large_candidate_is_not_taken_for_a_hack(give: Give, platform: str, large_task: Path) -> None:
    source = SCALE_TRITON.replace("256", "1024")
    entry = give(source, "triton", task=large_task, platform=platform, timed_calls=100, limit_s=60.0).platforms[0]
    assert entry.status is Status.CORRECT, entry.diagnosis
    (timing,) = entry.timings
    assert timing.floor_ms is not None
    assert timing.candidate_ms > 0.9 * timing.floor_ms


def test_illegal_access_harms_nobody_else(give: Give, platform: str) -> None:
    astray = SCALE_TRITON.replace("tl.store(y_ptr + index", "tl.store(y_ptr + index + (1 << 40)")
    assert refused_as(give(astray, "triton", platform=platform).platforms[0]) is Finding.ILLEGAL_MEMORY_ACCESS
    assert give(SCALE_TRITON, "triton", platform=platform).status is Status.CORRECT


def test_out_of_device_memory(give: Give, platform: str) -> None:
    hoard = SCALE_TRITON.replace("    return y", "    torch.empty(1 << 46, device=x.device)\n    return y")
    assert refused_as(give(hoard, "triton", platform=platform).platforms[0]) is Finding.OUT_OF_MEMORY
    assert give(SCALE_TRITON, "triton", platform=platform).status is Status.CORRECT


def test_endless_kernel_is_ended(give: Give, platform: str) -> None:
    endless = SCALE_TRITON.replace("    return y", "    while True:\n        torch.cuda._sleep(1_000_000)")
    assert refused_as(give(endless, "triton", platform=platform, limit_s=5.0).platforms[0]) is Finding.TIME_LIMIT
    assert give(SCALE_TRITON, "triton", platform=platform).status is Status.CORRECT


def test_work_on_a_stream_that_the_events_do_not_see(give: Give, platform: str) -> None:
    launch = "    scale[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)\n"
    aside = (
        "    side = torch.cuda.Stream()\n    side.wait_stream(torch.cuda.current_stream())\n"
        "    with torch.cuda.stream(side):\n        torch.cuda._sleep(3_000_000)\n    "
        + launch
        + "    x.record_stream(side)\n    y.record_stream(side)\n"
    )
    assert launch in SCALE_TRITON
    source = SCALE_TRITON.replace(launch, aside)
    honest = source.replace("    return y", "    torch.cuda.current_stream().wait_stream(side)\n    return y")
    entry = give(source, "triton", platform=platform, timed_calls=60, limit_s=60.0).platforms[0]
    assert refused_as(entry) in {Finding.CLOCK_DISAGREES, Finding.OUTPUT_NOT_WRITTEN, Finding.WRONG_AFTER_TIMING}
    entry = give(honest, "triton", platform=platform, timed_calls=60, limit_s=60.0).platforms[0]
    assert entry.status is Status.CORRECT, entry.diagnosis


def test_answer_that_is_kept_once_the_checks_are_over(give: Give, platform: str) -> None:
    source = SCALE_TRITON.replace("def kernel(", "def work(") + (
        "\ncalls, known = [0], {}\n\ndef kernel(x):\n    calls[0] += 1\n    key = x.data_ptr(), x.shape\n"
        "    if calls[0] <= 30:\n        return work(x)\n"
        "    if key not in known:\n        known[key] = work(x)\n    return known[key]\n"
    )
    entry = give(source, "triton", platform=platform, timed_calls=100, limit_s=60.0).platforms[0]
    assert refused_as(entry) in {Finding.NO_DEVICE_WORK, Finding.FASTER_THAN_HARDWARE}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bounds", [{}, {"rtol": 1e-3, "atol": 1e-3}], ids=["default", "rtol and atol"])
def test_fused_comparison_finds_what_torch_finds(dtype: torch.dtype, bounds: dict[str, float]) -> None:
    count = 3_000_017
    generator = torch.Generator("cuda").manual_seed(7)

    def noise() -> torch.Tensor:
        return torch.randn(count, dtype=torch.float64, device="cuda", generator=generator)

    truth = 3 * noise()
    low = (truth * (1 + 1e-3 * noise())).to(dtype)
    mine = (truth * (1 + 2e-3 * noise())).to(dtype)
    truth[50], low[50], mine[50] = float("inf"), float("inf"), 1.0
    truth[51], low[51], mine[51] = float("nan"), float("nan"), float("nan")
    mine[2_999_999] = float("nan")
    tolerance = DEFAULT_TOLERANCES[str(dtype).removeprefix("torch.")].model_copy(update=bounds)
    eps = torch.finfo(dtype).eps
    fused = oracle._tally_fused(low, truth, mine, tolerance, 1e-3, eps)
    plain = oracle._tally_with_torch(low, truth, mine, tolerance, 1e-3, eps)
    assert (fused.bad, fused.first, fused.special) == (plain.bad, plain.first, plain.special)
    assert fused.bad >= 2
    assert (fused.worst, fused.worst_at) == (plain.worst, plain.worst_at)
    assert fused.error_square == pytest.approx(plain.error_square)
    assert fused.bound_square == pytest.approx(plain.bound_square)
    rounding = oracle._rounding(dtype)
    assert gpu_compare.scale_sums(low, truth, rounding) == pytest.approx(oracle._scale_with_torch(low, truth, rounding))
