"""The fused comparison finds what the one in torch finds; run in Triton's interpreter, so no GPU is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("triton")

# In a process of its own: Triton looks at TRITON_INTERPRET when it is imported.
PROGRAM = """
import json, sys
import torch
from kernelevolve.evaluation.judge import gpu_compare, oracle
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES

gpu_compare._BLOCK, gpu_compare._PROGRAMS = 64, 3
INF, NAN = float("inf"), float("nan")
torch.manual_seed(4)

def data(count, dtype, special):
    truth = torch.randn(count, dtype=torch.float64) * 3
    low = (truth * (1 + 1e-3 * torch.randn(count))).to(dtype)
    mine = (truth * (1 + 2e-3 * torch.randn(count))).to(dtype)
    if count > 400:
        mine[333] += 4
        mine[40] = 0
    if special:
        truth[5], low[5], mine[5] = INF, INF, INF
        truth[6], low[6], mine[6] = INF, INF, 7.0
        truth[7], low[7], mine[7] = INF, INF, -INF
        truth[8], low[8], mine[8] = NAN, NAN, NAN
        truth[9], low[9], mine[9] = 2.0, INF, 2.0
        truth[10], low[10], mine[10] = 2.0, INF, INF
        truth[11], low[11], mine[11] = 2.0, 2.0, NAN
        truth[12], low[12], mine[12] = 1e30, 1e30, 1e30
    return low, truth, mine

for count, dtype, special, rtol, atol in (
    (1, torch.float32, False, 0.0, 0.0),
    (64, torch.float32, True, 0.0, 0.0),
    (777, torch.float32, True, 0.0, 0.0),
    (777, torch.float16, True, 0.0, 0.0),
    (500, torch.float64, False, 1e-3, 1e-3),
    (500, torch.float64, True, 0.0, 0.0),
    (777, torch.float32, True, 1e-3, 1e-3),
    (777, torch.float16, True, 1e-2, 0.0),
    (777, torch.float16, False, 0.0, 1e-2),
):
    low, truth, mine = data(count, dtype, special)
    name = str(dtype).removeprefix("torch.")
    tolerance = DEFAULT_TOLERANCES[name].model_copy(update={"rtol": rtol, "atol": atol})
    eps = torch.finfo(dtype).eps
    fused = oracle._tally_fused(low, truth, mine, tolerance, 1e-3, eps)
    plain = oracle._tally_with_torch(low, truth, mine, tolerance, 1e-3, eps)
    rounding = oracle._rounding(dtype)
    print(json.dumps({
        "case": f"{name} {count} {special}" + (f" {rtol:g} {atol:g}" if rtol or atol else ""),
        "tally": [vars(fused), vars(plain)],
        "scale": [gpu_compare.scale_sums(low, truth, rounding), oracle._scale_with_torch(low, truth, rounding)],
    }))
"""


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_tally_is_the_same(results: list[dict[str, Any]]) -> None:
    for result in results:
        fused, plain = result["tally"]
        for field in ("bad", "first", "special", "worst_at"):
            assert fused[field] == plain[field], (result["case"], field)
        for field in ("worst", "error_square", "bound_square"):
            assert fused[field] == pytest.approx(plain[field]), (result["case"], field)


def test_the_scale_is_the_same(results: list[dict[str, Any]]) -> None:
    for result in results:
        fused, plain = result["scale"]
        assert fused == pytest.approx(plain), result["case"]


def test_something_was_compared(results: list[dict[str, Any]]) -> None:
    by_case = {result["case"]: result["tally"][0] for result in results}

    assert by_case["float32 777 True"]["bad"] > 10
    assert by_case["float32 777 True"]["first"] < 12
    assert by_case["float64 500 False 0.001 0.001"]["bad"] >= 2
    assert by_case["float32 777 True 0.001 0.001"]["bound_square"] > 0
