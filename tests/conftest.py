"""Fixtures for every test: one warm judge for the whole run, small tasks, a state folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Verdict

SCALE_TASK = '''"""Scale and shift: y = 2x + 1."""
import torch
CASES = {"small": {"rows": 8, "cols": 96}, "odd": {"rows": 7, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return 2.0 * x + 1.0
'''
SCALE_CPP = """void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < x.numel(); ++i) to[i] = 2.0f * from[i] + 1.0f;
}
"""
SCALE_TRITON = """import torch
import triton
import triton.language as tl

@triton.jit
def scale(x_ptr, y_ptr, count, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    tl.store(y_ptr + index, 2.0 * tl.load(x_ptr + index, mask=inside) + 1.0, mask=inside)

def kernel(x):
    x = x.contiguous()
    y = torch.empty_like(x)
    scale[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)
    return y
"""


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of the shared judge."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def judge(state: Path) -> Iterator[Judge]:
    """A judge that all tests share: a candidate must not be able to harm the next one's."""
    with Judge(state, many_triton=True) as shared:
        yield shared


@pytest.fixture(scope="session")
def scale_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest task."""
    path = tmp_path_factory.mktemp("tasks") / "scale.py"
    path.write_text(SCALE_TASK)
    return path


Give = Callable[..., Verdict]


@pytest.fixture(scope="session")
def give(judge: Judge, scale_task: Path) -> Give:
    """Judge a source for the scale task, untimed unless said otherwise."""

    def run(source: str, language: str = "cpp", task: Path | str | None = None, platform: str = "cpu", **more: object):  # type: ignore[no-untyped-def]
        options = {"timed_calls": 0, "limit_s": 20.0, **more}
        candidate = Candidate(language=language, source=source)
        request = JudgeRequest(task=str(task or scale_task), candidate=candidate, platforms=(platform,), **options)
        return judge.judge(request)

    return run
