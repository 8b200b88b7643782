"""The table of hacks on the GPU that is here: `make hacks-gpu` prints it and writes `benchmarks/results/<device>/`.

Every cheat must be refused as its `hack.toml` says, and every honest twin accepted; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.errors import KernelEvolveError, PlatformError
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platforms.nvml import nvml_devices
from tests.hacks.zoo import GPU, Hack, hacks

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"


def judged(judge: Judge, what: JudgeRequest) -> dict[str, Any]:
    """One verdict, with everything that explains it."""
    began = time.perf_counter()
    try:
        verdict = judge.judge(what)
    except KernelEvolveError as error:
        return {"status": "harness_error", "finding": error.finding.value, "summary": error.summary, "log": error.log}
    entry = verdict.platforms[0]
    diagnosis = entry.diagnosis
    return {
        "status": entry.status.value,
        "finding": diagnosis.finding.value if diagnosis else None,
        "summary": diagnosis.summary if diagnosis else None,
        "log": diagnosis.log[-2000:] if diagnosis else None,
        "notes": list(entry.notes),
        "candidate_ms": {timing.case: timing.candidate_ms for timing in entry.timings},
        "speedups": {speed.baseline: speed.speedup for speed in entry.speeds},
        "phases_ms": entry.phases_ms,
        "receipt": verdict.receipt.receipt_hash,
        "wall_s": round(time.perf_counter() - began, 2),
    }


def row(
    judge: Judge, hack: Hack, platform: str, twins: dict[tuple[Any, ...], dict[str, Any]]
) -> dict[str, Any]:
    """Judge a cheat, and its twin unless that was judged for another hack."""
    cheat = judged(judge, hack.request(hack.cheat, platform))
    if hack.twin not in twins:
        twins[hack.twin] = judged(judge, hack.request(hack.honest, platform))
    refused = cheat["finding"] in {finding.value for finding in hack.refused_as}
    return {
        "hack": hack.name,
        "rows": list(hack.rows),
        "text": hack.hack,
        "language": hack.language,
        "caught_by": hack.caught_by,
        "open": hack.open or None,
        "refused": refused,
        "accepted": twins[hack.twin]["status"] == Status.CORRECT.value,
        "cheat": cheat,
        "honest": twins[hack.twin],
    }


def show(entry: dict[str, Any]) -> None:
    """A line, and whatever explains a surprise."""
    cheat, honest = entry["cheat"], entry["honest"]
    rows = ",".join(map(str, entry["rows"]))
    mark = "ok  " if entry["refused"] and entry["accepted"] else "OPEN" if entry["open"] and entry["accepted"] else "FAIL"
    print(f"{mark} {entry['hack']:26} {rows:>6}  {cheat['status']}/{cheat['finding']:22} "
          if cheat["finding"] else f"{mark} {entry['hack']:26} {rows:>6}  {cheat['status']:34} ",
          f"{entry['caught_by']:52} {honest['status']}", flush=True)  # fmt: skip
    if not entry["refused"]:
        print(f"     open: {entry['open']}") if entry["open"] else None
        print("     cheat:", json.dumps(cheat), flush=True)
    if not entry["accepted"]:
        print("     honest:", json.dumps(honest), flush=True)


def main() -> int:
    """Judge everything and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--only", nargs="*", help="names of hacks")
    parser.add_argument("--list", action="store_true", help="list the hacks and judge nothing")
    options = parser.parse_args()
    chosen = [hack for hack in hacks(GPU) if not options.only or hack.name in options.only]
    if options.list:
        for hack in chosen:
            print(f"{hack.name:26} {','.join(map(str, hack.rows)):>6}  {hack.language:7} {hack.hack}")
        return 0
    try:
        device = nvml_devices()[0]
    except PlatformError as error:
        print(f"These hacks need an NVIDIA GPU: {error.summary} `--list` lists them.", file=sys.stderr)
        return 2
    platform = f"cuda:sm_{device.compute_capability[0]}{device.compute_capability[1]}"
    began = time.perf_counter()
    twins: dict[tuple[Any, ...], dict[str, Any]] = {}
    entries = []
    with tempfile.TemporaryDirectory() as folder, Judge(Path(folder), many_triton=True) as judge:
        for hack in chosen:
            entries.append(row(judge, hack, platform, twins))
            show(entries[-1])
    wall_s = time.perf_counter() - began
    refused, accepted = sum(entry["refused"] for entry in entries), sum(entry["accepted"] for entry in entries)
    known = sum(bool(entry["open"]) and not entry["refused"] for entry in entries)
    print(f"{refused} of {len(entries)} cheats refused as they must be, {known} open, twins of {accepted} accepted, in "
          f"{wall_s:.0f} s")  # fmt: skip
    results = {
        "device": device.name, "driver": device.driver, "platform": platform, "wall_s": round(wall_s, 1),
        "cheats": len(entries), "refused": refused, "open": known, "twins_accepted": accepted, "hacks": entries,
    }  # fmt: skip
    short = re.sub(r"[^a-z0-9]+", "", device.name.lower().replace("nvidia", ""))
    path = options.output / short / "hacks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {path}")
    return 0 if refused == accepted == len(entries) else 1


if __name__ == "__main__":
    sys.exit(main())
