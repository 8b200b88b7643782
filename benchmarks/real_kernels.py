"""Does the judge refuse honest kernels? `python benchmarks/real_kernels.py` judges those of other projects.

For each entry of `third_party/` it writes a task (inputs, and the reference in PyTorch) and a candidate (a wrapper that
imports the package's kernel), and judges it: executed on `--platform cuda:…`, in Triton's interpreter on `cpu`. The
packages must be installed where the judge's sandbox shows them to candidates: in the interpreter's own site-packages.
Nothing of them is in this repository.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from third_party import flaggems, liger
from third_party.kernel import Kernel

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Verdict

PACKAGES = {"liger": ("liger_kernel", "liger-kernel", liger), "flaggems": ("flag_gems", "flag-gems", flaggems)}


def chosen_kernels(pattern: str) -> list[Kernel]:
    """Entries whose package is installed and whose name has `pattern` in it."""
    found: list[Kernel] = []
    for folder, distribution, table in PACKAGES.values():
        if importlib.util.find_spec(folder) is None:
            print(f"{distribution} is not installed: its kernels are left out", flush=True)
            continue
        found += [kernel for kernel in table.KERNELS if pattern in kernel.name]
    return found


def request(kernel: Kernel, folder: Path, platform: str, calls: int) -> JudgeRequest:
    """Write the task and ask for a verdict on the candidate."""
    task = folder / f"{kernel.name.replace('/', '_')}.py"
    gpu = platform != "cpu"
    task.write_text(kernel.task(gpu))
    preamble = PACKAGES[kernel.package][2].PREAMBLE
    return JudgeRequest(
        task=str(task),
        candidate=Candidate(language="triton", source=kernel.candidate(preamble), name=kernel.name),
        platforms=(platform,),
        timed_calls=calls if gpu else 0,
        timing_budget_s=1.0,
    )


def row(kernel: Kernel, verdict: Verdict | KernelEvolveError, wall_s: float) -> dict[str, Any]:
    """What is kept of a verdict."""
    if isinstance(verdict, KernelEvolveError):
        refusal = {"finding": verdict.finding, "summary": verdict.summary, "log": verdict.log}
        return {"kernel": kernel.name, "status": "harness_error", "level": None, "checks": 0, "refusal": refusal,
                "wall_s": round(wall_s, 2)}  # fmt: skip
    entry = verdict.platforms[0]
    diagnosis = entry.diagnosis
    return {
        "kernel": kernel.name,
        "status": entry.status,
        "level": entry.level,
        "checks": entry.checks,
        "refusal": diagnosis.model_dump(mode="json", exclude_defaults=True) if diagnosis else None,
        "timings": [
            {"case": timing.case, "candidate_ms": timing.candidate_ms, "baseline_ms": timing.baseline_ms}
            for timing in entry.timings
        ],
        "speed": [speed.model_dump(mode="json") for speed in entry.speeds],
        "relaxed": kernel.why or None,
        "notes": entry.notes,
        "wall_s": round(wall_s, 2),
        "receipt": verdict.receipt.receipt_hash,
    }


def report(entry: dict[str, Any], verbose: bool) -> None:
    """One line for an accepted kernel, a few for a refused one."""
    print(f"{entry['kernel']:36} {entry['status']:14} {entry['level'] or '-':12} {entry['checks']:3} checks "
          f"{entry['wall_s']:6.1f} s", flush=True)  # fmt: skip
    if entry["refusal"]:
        refusal = entry["refusal"]
        print(f"    {refusal['finding']}: {refusal['summary']} {refusal.get('where', '')}", flush=True)
        if verbose and refusal.get("log"):
            print("    " + refusal["log"].replace("\n", "\n    "), flush=True)


def main() -> int:
    """Judge them all; the exit status is 1 when one is refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", default="cpu", help="cpu (Triton's interpreter) or cuda:sm_90")
    parser.add_argument("--only", default="", help="part of a kernel's name")
    parser.add_argument("--calls", type=int, default=30, help="timed calls on each side (GPU)")
    parser.add_argument("--judges", type=int, default=1, help="how many at a time; they take turns on a device")
    parser.add_argument("--limit", type=float, default=0, help="seconds after which no further kernel is begun")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--verbose", action="store_true", help="also print the tracebacks of refused kernels")
    options = parser.parse_args()
    gpu = options.platform != "cpu"
    kernels = [kernel for kernel in chosen_kernels(options.only) if gpu or kernel.interpreted]
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    waiting, turn = iter(kernels), threading.Lock()

    def ours(judge: Judge, folder: Path) -> None:
        """What one judge does: the next kernel that nobody has, until there is none."""
        while not options.limit or time.monotonic() - began <= options.limit:
            with turn:
                kernel = next(waiting, None)
            if kernel is None:
                return
            started = time.monotonic()
            answer: Verdict | KernelEvolveError
            try:
                answer = judge.judge(request(kernel, folder, options.platform, options.calls))
            except KernelEvolveError as error:
                answer = error
            entry = row(kernel, answer, time.monotonic() - started)
            with turn:
                rows.append(entry)
                report(entry, options.verbose)
                if options.json:
                    write(options.json, options.platform, rows, len(kernels))

    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as open_judges:
        folder = Path(name)
        judges = [
            open_judges.enter_context(Judge(folder / "state", use_warm_host=False, many_triton=True))
            for _ in range(options.judges)
        ]
        with ThreadPoolExecutor(len(judges)) as pool:
            for done in [pool.submit(ours, judge, folder) for judge in judges]:
                done.result()
    accepted = sum(entry["status"] == "correct" for entry in rows)
    print(f"{accepted} of {len(rows)} accepted; {len(kernels) - len(rows)} not reached; "
          f"{time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    return 0 if accepted == len(kernels) else 1


def write(path: Path, platform: str, rows: list[dict[str, Any]], planned: int) -> None:
    """The results so far, so that a run that is cut off is not lost."""
    packages = {name: version(name) for folder, name, _ in PACKAGES.values() if importlib.util.find_spec(folder)}
    accepted = sum(entry["status"] == "correct" for entry in rows)
    result = {"platform": platform, "packages": packages, "planned": planned, "judged": len(rows),
              "accepted": accepted, "kernels": rows}  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
