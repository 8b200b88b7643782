"""Is the judge's word on speed true? `python benchmarks/honest_speed.py [--platform cuda:sm_90] [--json FILE]`.

The rival and the candidate are one kernel: a loop `y = y/2 + x` that starts at its fixed point 2x, so that the number
of iterations decides the work and not the result. The rival makes 1000. A/A: the candidate makes 1000 too, and the
judge must say `same`. Known differences: it makes 2 %, 5 % or 20 % more (`slower`) or that many fewer (`faster`).
On a CPU both are C++ (the rival's library is loaded by the task), on a GPU both are Triton. What is printed for a
difference is the power: the share of verdicts that named it.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.language import get_language
from kernelevolve.evaluation.platform import get_platform
from kernelevolve.evaluation.verdict import Verdict

ITERATIONS = 1000
DIFFERENCES = (0.02, 0.05, 0.20)
CPP = """void kernel(TensorView x, TensorView out) {{
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  const int64_t count = x.numel();
  for (int64_t start = 0; start < count; start += 64) {{
    float y[64];
    for (int64_t i = 0; i < 64; ++i) y[i] = 2.0f * from[start + i];
    for (int64_t pass = 0; pass < {iterations}; ++pass)
      for (int64_t i = 0; i < 64; ++i) y[i] = 0.5f * y[i] + from[start + i];
    for (int64_t i = 0; i < 64; ++i) to[start + i] = y[i];
  }}
}}
"""
CPP_TASK = """
import torch
import tvm_ffi

CASES = {{"only": {{"count": 4096}}}}
LAYOUTS = ("contiguous",)
rival = tvm_ffi.load_module({library!r}).kernel

def make_inputs(case):
    return (torch.randn(case.count),)

def reference(x):
    if x.dtype == torch.float64:
        return 2 * x
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    rival(x, out)
    return out
"""
TRITON = """import torch
import triton
import triton.language as tl

@triton.jit
def loop(x_ptr, y_ptr, count, iterations, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + index, mask=index < count)
    y = 2.0 * x
    for _ in range(iterations):
        y = 0.5 * y + x
    tl.store(y_ptr + index, y, mask=index < count)

def {entry}(x):
    y = torch.empty_like(x)
    loop[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), {iterations}, BLOCK=1024)
    return y
"""
TRITON_TASK = """
CASES = {"only": {"count": 1 << 22}}
LAYOUTS = ("contiguous",)

def make_inputs(case):
    return (torch.randn(case.count),)
"""


def source(platform: str, iterations: int, entry: str = "kernel") -> str:
    """The kernel with a number of iterations."""
    text = CPP if platform == "cpu" else TRITON
    return text.format(iterations=iterations, entry=entry)


def write_task(platform: str, folder: Path) -> Path:
    """A task whose reference is the kernel itself."""
    path = folder / "loop.py"
    if platform == "cpu":
        language = get_language("cpp")
        os.environ["KERNELEVOLVE_CACHE_DIR"] = str(folder / "native")
        candidate = Candidate(language="cpp", source=source(platform, ITERATIONS))
        artifact = language.build(candidate, get_platform("cpu"), folder, 60.0)
        path.write_text(CPP_TASK.format(library=str(artifact.library)))
    else:
        path.write_text(source(platform, ITERATIONS, entry="reference") + TRITON_TASK)
    return path


def request(platform: str, task: Path, iterations: int, options: argparse.Namespace) -> JudgeRequest:
    """A request for a candidate that makes this many iterations."""
    language = "cpp" if platform == "cpu" else "triton"
    candidate = Candidate(language=language, source=source(platform, iterations))
    return JudgeRequest(
        task=str(task), candidate=candidate, platforms=(platform,), trials=1,
        timed_calls=options.calls, timing_budget_s=options.budget,
    )  # fmt: skip


def measure(
    judge: Judge, name: str, iterations: int, count: int, task: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Verdicts of one candidate, again and again."""
    began = time.monotonic()
    asked = [request(options.platform, task, iterations, options)] * count
    verdicts = list(judge.judge_many(asked))
    words = collections.Counter(_word(verdict) for verdict in verdicts)
    speeds = [verdict.platforms[0].speeds[0] for verdict in verdicts if verdict.platforms[0].speeds]
    ratios = sorted(speed.speedup for speed in speeds)
    result = {
        "name": name,
        "iterations": iterations,
        "true_speedup": ITERATIONS / iterations,
        "runs": count,
        "words": dict(words),
        "median_speedup": ratios[len(ratios) // 2] if ratios else None,
        "least_speedup": ratios[0] if ratios else None,
        "largest_speedup": ratios[-1] if ratios else None,
        "speeds": [speed.model_dump(mode="json") for speed in speeds],
        "candidate_ms": [verdict.platforms[0].timings[0].candidate_ms for verdict in verdicts
                         if verdict.platforms[0].timings],
        "rounds": [verdict.platforms[0].timings[0].interval.rounds for verdict in verdicts
                   if verdict.platforms[0].timings],
        "wall_s": round(time.monotonic() - began, 1),
    }  # fmt: skip
    shown = ", ".join(f"{word} {times}" for word, times in words.most_common())
    print(f"{name:14} true {result['true_speedup']:.3f}: {shown}; median {result['median_speedup'] or 0:.4f}, "
          f"{result['wall_s']} s", flush=True)  # fmt: skip
    return result


def _word(verdict: Verdict) -> str:
    entry = verdict.platforms[0]
    if entry.speeds:
        return entry.speeds[0].speed.value
    return entry.diagnosis.finding.value if entry.diagnosis else "untimed"


def main() -> int:
    """Measure all; the exit status is 1 when A/A is not `same` often enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", default="cpu")
    parser.add_argument("--runs", type=int, default=200, help="A/A runs")
    parser.add_argument("--power-runs", type=int, default=20, help="runs for each difference and direction")
    parser.add_argument("--calls", type=int, default=50, help="timed calls on each side")
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of timing for each side")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = write_task(options.platform, folder)
        with Judge(folder / "state", use_warm_host=False, many_triton=options.platform != "cpu") as judge:
            results = [measure(judge, "same kernel", ITERATIONS, options.runs, task, options)]
            for share in DIFFERENCES:
                for word, iterations in (
                    ("slower", round(ITERATIONS * (1 + share))),
                    ("faster", round(ITERATIONS / (1 + share))),
                ):
                    label = f"{share:.0%} {word}"
                    entry = measure(judge, label, iterations, options.power_runs, task, options)
                    entry["power"] = entry["words"].get(word, 0) / options.power_runs
                    results.append(entry)
    same = results[0]["words"].get("same", 0) / options.runs
    print(f"A/A: same in {same:.1%} of {options.runs}; power: "
          + ", ".join(f"{entry['name']} {entry['power']:.0%}" for entry in results[1:]))  # fmt: skip
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        settings = {"calls": options.calls, "budget_s": options.budget, "platform": options.platform}
        options.json.write_text(json.dumps({**settings, "same_share": same, "results": results}, indent=1) + "\n")
    return 0 if same >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
