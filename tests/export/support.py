"""Searches whose nodes the real judge judged, with times that a test decides, and a user who has no kernelevolve."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import CaseTiming, Interval, SpeedSummary, Verdict
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
from kernelevolve.tools.judges import JudgePool

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

ROWS_TASK = '''"""Scale each row, in two sizes."""
import torch
CASES = {
    "wide": {"rows": 4, "cols": 512},
    "tall": {"rows": 300, "cols": 16, "weight": 2.0},
    "odd": {"rows": 37, "cols": 33, "hidden": True},
}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols), torch.randn(case.cols), 0.5)
def reference(x, scale, shift=0.5):
    return x * scale + shift
'''
ROWS_CPP = """void kernel(TensorView x, TensorView scale, double shift, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* from = static_cast<const float*>(x.data_ptr());
  const float* by = static_cast<const float*>(scale.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      to[r * cols + c] = from[r * cols + c] * by[c] + static_cast<float>(shift);
}
"""
ROWS_TRITON = """import torch
import triton
import triton.language as tl

@triton.jit
def rows_kernel(x_ptr, scale_ptr, y_ptr, count, cols, shift, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    x = tl.load(x_ptr + index, mask=inside)
    y = x * tl.load(scale_ptr + index % cols, mask=inside) + shift
    tl.store(y_ptr + index, y, mask=inside)

def kernel(x, scale, shift):
    x, scale = x.contiguous(), scale.contiguous()
    y = torch.empty_like(x)
    rows_kernel[(triton.cdiv(x.numel(), 256),)](x, scale, y, x.numel(), x.shape[1], shift, BLOCK=256)
    return y
"""

Times = dict[str, tuple[float, float, float]]
"""Case → low end, speed-up, high end."""


@dataclass
class Shelf:
    """A state folder, its searches and its judges."""

    state: Path
    pool: JudgePool
    store: Store
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def search(self, task: Path | str, *candidates: tuple[Candidate, Times | None], platform: str = "cpu") -> str:
        """A search that holds these candidates, in order; None leaves one untimed."""
        points = [candidate for candidate, _times in candidates]
        given = OptimizeOptions()
        search_id = self.store.create_search(str(task), platform, points, given, "greedy", "mutator")
        for candidate, times in candidates:
            verdict = self.judged(task, candidate, platform)
            self.store.add_node(search_id, candidate, timed(verdict, platform, times), (), "")
        return search_id

    def judged(self, task: Path | str, candidate: Candidate, platform: str) -> Verdict:
        """The judge's verdict, untimed."""
        key = f"{task}{platform}{candidate.source_hash}"
        if key not in self.verdicts:
            request = JudgeRequest(
                task=str(task), candidate=candidate, platforms=(platform,), timed_calls=0, limit_s=120.0
            )
            with self.pool.lend() as judge:
                self.verdicts[key] = judge.judge(request)
        return self.verdicts[key]


def timed(verdict: Verdict, platform: str, times: Times | None) -> Verdict:
    """The same verdict with these speed-ups against eager."""
    if times is None:
        return verdict
    rows = []
    for case, (low, middle, high) in times.items():
        interval = Interval(speedup=middle, low=low, high=high, confidence=0.95, rounds=10)
        rows.append(
            CaseTiming(
                case=case, baseline="eager", weight=1.0, candidate_ms=1.0 / middle, baseline_ms=1.0, interval=interval,
                speed=interval.verdict(0.02), calls=100,
            )
        )  # fmt: skip
    update = {"timings": tuple(rows), "speeds": (SpeedSummary.of(rows, 0.02),)}
    entries = tuple(
        entry.model_copy(update=update) if entry.platform == platform else entry for entry in verdict.platforms
    )
    return verdict.model_copy(update={"platforms": entries})


BLOCKED = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "kernelevolve":
            raise ImportError("kernelevolve is not installed here")
sys.meta_path.insert(0, Blocked())
"""


def run_apart(folder: Path, program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process that cannot import kernelevolve, with an empty cache for built kernels."""
    given: dict[str, Any] = {**os.environ, "KERNELEVOLVE_EXPORT_CACHE": str(folder / "cache"), **environment}
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + program, *words], cwd=folder, env=given, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
