"""What judging costs on a GPU, and whether it holds: `make bench-gpu` writes `benchmarks/results/<device>/judge.json`.

Measured: wall time of one full verdict (5 correctness trials, 100 timed calls, both sides) for KernelBench's level-1
sizes, device busy share over a stream of 20 candidates, agreement of repeated verdicts, cheats refused, two servers on
one device. With `--kernelbench FOLDER` (a checkout of KernelBench) its own harness judges a candidate in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platforms.nvml import nvml_devices
from kernelevolve.evaluation.verdict import Verdict

HERE = Path(__file__).resolve().parent
OPERATORS = ("relu", "sigmoid", "swish")
STREAM_LENGTH = 20


class BusyMeter:
    """Samples the driver's own utilisation (share of time with a kernel running) ten times a second."""

    def __enter__(self) -> BusyMeter:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.samples: list[int] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.samples.append(int(line))

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join(2)

    @property
    def share(self) -> float:
        """Mean utilisation, 0 to 1."""
        return sum(self.samples) / len(self.samples) / 100 if self.samples else float("nan")


def request(operator: str, platform: str, source: str | None = None, **changes: Any) -> JudgeRequest:
    """A request for one of the KernelBench-sized operators."""
    folder = HERE / "kernelbench"
    text = source or (folder / f"{operator}_triton.py").read_text()
    candidate = Candidate(language="triton", source=text, name=f"{operator}_triton.py")
    return JudgeRequest(task=str(folder / f"{operator}.py"), candidate=candidate, platforms=(platform,), **changes)


def variants(operator: str, count: int) -> list[str]:
    """Different sources of one candidate: other block sizes, as a search would hand them in."""
    source = (HERE / "kernelbench" / f"{operator}_triton.py").read_text()
    found = re.search(r"BLOCK\w* = (\d+)", source)
    assert found is not None
    sizes = [1024, 2048, 4096, 8192, 512, 16384, 256]
    return [
        source[: found.start(1)] + str(sizes[number % len(sizes)]) + source[found.end(1) :] for number in range(count)
    ]


def summary(verdict: Verdict, wall_s: float) -> dict[str, Any]:
    """The figures of one verdict."""
    entry = verdict.platforms[0]
    return {
        "status": verdict.status,
        "finding": entry.diagnosis.finding if entry.diagnosis else None,
        "summary": entry.diagnosis.summary if entry.diagnosis else None,
        "log": entry.diagnosis.log[-1500:] if entry.diagnosis else None,
        "level": entry.level,
        "wall_s": round(wall_s, 3),
        "phases_ms": entry.phases_ms,
        "timings": [timing.model_dump(mode="json") for timing in entry.timings],
        "resources": [resources.model_dump(mode="json") for resources in entry.resources],
        "notes": entry.notes,
        "checks": entry.checks,
        "receipt": verdict.receipt.receipt_hash,
        "protection": verdict.receipt.protection,
    }


def timed(judge: Judge, what: JudgeRequest) -> dict[str, Any]:
    """Judge and take the wall time."""
    began = time.perf_counter()
    verdict = judge.judge(what)
    return summary(verdict, time.perf_counter() - began)


def measure_single(judge: Judge, platform: str) -> dict[str, Any]:
    """Full verdicts of each operator: the first, which warms up, and three more."""
    result = {}
    for operator in OPERATORS:
        first = timed(judge, request(operator, platform))
        again = [timed(judge, request(operator, platform)) for _ in range(3)]
        result[operator] = {"first": first, "after_warm_up": again}
        walls = [entry["wall_s"] for entry in again]
        print(f"{operator}: first {first['wall_s']} s, then {walls} s, {again[-1]['status']} {again[-1]['finding']} "
              f"{again[-1]['phases_ms']}", flush=True)  # fmt: skip
        if again[-1]["status"] != "correct":
            print(again[-1]["summary"], again[-1]["log"], again[-1]["notes"], flush=True)
    return result


def measure_stream(judge: Judge, platform: str) -> dict[str, Any]:
    """A stream of candidates, the next one prepared while the device works."""
    sources = [(operator, source) for operator in OPERATORS for source in variants(operator, STREAM_LENGTH)]
    chosen = sources[:: len(OPERATORS)][:STREAM_LENGTH]
    requests = [request(operator, platform, source) for operator, source in chosen]
    with BusyMeter() as meter:
        began = time.perf_counter()
        verdicts = list(judge.judge_many(requests))
        wall_s = time.perf_counter() - began
    statuses = [verdict.status.value for verdict in verdicts]
    print(f"stream: {len(verdicts)} candidates in {wall_s:.1f} s, busy {meter.share:.0%}, {set(statuses)}", flush=True)
    return {
        "candidates": len(verdicts),
        "wall_s": round(wall_s, 3),
        "seconds_per_candidate": round(wall_s / len(verdicts), 3),
        "busy_share": round(meter.share, 3),
        "busy_samples": meter.samples,
        "statuses": statuses,
        "phases_ms": [verdict.platforms[0].phases_ms for verdict in verdicts],
    }


def measure_repeatability(judge: Judge, platform: str) -> dict[str, Any]:
    """Six verdicts of one kernel: how far their times lie apart."""
    times = [timed(judge, request("relu", platform))["timings"][0]["candidate_ms"] for _ in range(6)]
    pairs = [abs(left / right - 1) for left, right in itertools.pairwise(times)]
    print(f"repeatability: {times} ms, largest difference of two verdicts {max(pairs):.2%}", flush=True)
    return {
        "candidate_ms": times,
        "largest_neighbour_difference": max(pairs),
        "largest_difference": max(times) / min(times) - 1,
    }


def measure_cheats(judge: Judge, platform: str) -> dict[str, Any]:
    """All zeros for a softmax of KernelBench's size, and the wrong answers of the self-test there."""
    zeros = timed(judge, request("softmax", platform, (HERE / "kernelbench" / "softmax_zeros.py").read_text()))
    honest = timed(judge, request("softmax", platform))
    print(f"softmax: zeros {zeros['status']} ({zeros['finding']}), honest {honest['status']} {honest['wall_s']} s "
          f"{honest['summary']}", flush=True)  # fmt: skip
    tests = {}
    for operator in (*OPERATORS, "softmax"):
        tests[operator] = judge.check_task(str(HERE / "kernelbench" / f"{operator}.py"), platform)["check"]
        print(f"self-test {operator}: refused {tests[operator]['refused']}, accepted {tests[operator]['accepted']}")
    return {"zeros": zeros, "honest": honest, "self_tests": tests}


def measure_two_servers(platform: str, alone_ms: float) -> dict[str, Any]:
    """Two judges with state folders of their own, at once, on one device."""
    results: dict[int, list[dict[str, Any]]] = {0: [], 1: []}

    def work(number: int) -> None:
        with tempfile.TemporaryDirectory() as folder, Judge(Path(folder), many_triton=True) as judge:
            for _ in range(3):
                results[number].append(timed(judge, request("relu", platform)))

    threads = [threading.Thread(target=work, args=(number,)) for number in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [entry for entries in results.values() for entry in entries]
    times = [entry["timings"][0]["candidate_ms"] for entry in every if entry["timings"]]
    off = max(abs(value / alone_ms - 1) for value in times) if times else None
    print(f"two servers: {[entry['status'] for entry in every]}, {times} ms against {alone_ms} ms alone", flush=True)
    return {"verdicts": every, "alone_ms": alone_ms, "largest_difference_from_alone": off}


def measure_kernelbench(folder: Path) -> dict[str, Any]:
    """KernelBench's own harness on the same candidate, in a fresh process, with the same trials."""
    script = """
import sys, time, json
began = time.perf_counter()
sys.path.insert(0, sys.argv[1] + "/src")
import importlib.util, unittest.mock
for name in ("litellm", "openai", "dotenv", "datasets"):  # used to call models, not to evaluate
    if importlib.util.find_spec(name) is None:
        sys.modules[name] = unittest.mock.MagicMock()
import torch
from kernelbench.eval import eval_kernel_against_ref
task, candidate = open(sys.argv[2]).read(), open(sys.argv[3]).read()
result = eval_kernel_against_ref(task, candidate, num_correct_trials=5, num_perf_trials=100, measure_performance=True,
                                 device=torch.device("cuda:0"), backend="triton")
print(json.dumps({"wall_s": time.perf_counter() - began, "correct": result.correctness, "runtime": result.runtime}))
"""
    kernels = HERE / "kernelbench"
    command = [sys.executable, "-c", script, str(folder), str(kernels / "relu.py"), str(kernels / "relu_triton.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        print("KernelBench failed:", done.stderr[-1500:], flush=True)
        return {"failed": done.stderr[-1500:]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"KernelBench: {result}", flush=True)
    return result


def main() -> None:
    """Run everything and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for the results")
    parser.add_argument("--kernelbench", type=Path, help="a checkout of KernelBench, for the comparison")
    parser.add_argument("--only", nargs="*", help="parts to run: single stream repeat cheats servers")
    options = parser.parse_args()
    device = nvml_devices()[0]
    platform = f"cuda:sm_{device.compute_capability[0]}{device.compute_capability[1]}"
    wanted = set(options.only or ("single", "stream", "repeat", "cheats", "servers"))
    results: dict[str, Any] = {"device": device.name, "driver": device.driver, "platform": platform}
    with tempfile.TemporaryDirectory() as folder:
        with Judge(Path(folder), many_triton=True) as judge:
            if "single" in wanted:
                results["single"] = measure_single(judge, platform)
            if "stream" in wanted:
                results["stream"] = measure_stream(judge, platform)
            if "repeat" in wanted:
                results["repeatability"] = measure_repeatability(judge, platform)
            if "cheats" in wanted:
                results["cheats"] = measure_cheats(judge, platform)
            last = judge.judge(request("relu", platform))
            results["receipt_of_last"] = last.receipt.model_dump(mode="json", exclude={"samples"})
        if "servers" in wanted:
            alone = last.platforms[0].timings[0].candidate_ms
            results["two_servers"] = measure_two_servers(platform, alone)
    if options.kernelbench is not None:
        results["kernelbench"] = measure_kernelbench(options.kernelbench)
    short = re.sub(r"[^a-z0-9]+", "", device.name.lower().replace("nvidia", ""))
    path = options.output / short / "judge.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
