"""Profiles of kernels with planted bottlenecks on a GPU: does the diagnosis name what was planted?

`make bench-gpu-profiles` judges every kernel of `tests/profilers/planted/` and its mended twin, profiles the slow one,
and writes for each what was planted, what was named, and by how much mending it helped. For some kernels it also
compares the counters with those that Nsight Compute's own command line prints in a run of its own, and the kernel times
of all profilers with the judge's. The reports go to `reports.json`; the recordings of the tests are made from them.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platform import get_platform
from kernelevolve.evaluation.platforms.nvml import nvml_devices
from kernelevolve.profilers.ceilings import calibrate
from kernelevolve.profilers.counters import FIRST, PERCENT
from kernelevolve.profilers.diagnosis import diagnose
from kernelevolve.profilers.profile import ProfileRequest, profile
from kernelevolve.profilers.report import ProfileReport
from kernelevolve.profilers.subject import Subject, scratch_folder
from kernelevolve.profilers.text import profile_text

HERE = Path(__file__).resolve().parent
PLANTED = HERE.parent / "tests" / "profilers" / "planted"
_LEAST_US = 150.0
"""Kernels that run for less are not compared with the judge: its events also see the launch."""


def main() -> None:
    """Judge, profile, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="these folders alone")
    parser.add_argument(
        "--agreement", nargs="*", default=["redundant_pass", "no_matrix_units"], help="compared closely"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for the results")
    parser.add_argument(
        "--merge", action="store_true", help="keep the recordings of kernels that are not run now, diagnosed anew"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no kernel after that")
    given = parser.parse_args()
    device = nvml_devices()[0]
    name = f"cuda:sm_{device.compute_capability[0]}{device.compute_capability[1]}"
    short = re.sub(r"[^a-z0-9]+", "", device.name.lower().replace("nvidia", ""))
    folder = given.output / short
    folder.mkdir(parents=True, exist_ok=True)
    kept = _recorded(HERE / "results" / short, name) if given.merge else ({}, {})
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    reports: dict[str, Any] = {}
    agreement: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as state_name:
        state = Path(state_name)
        ceilings = calibrate(get_platform(name), state)
        with Judge(state, many_triton=True) as judge:
            for place in sorted(PLANTED.iterdir()):
                if not (place / "task.py").is_file():
                    continue
                if given.only and place.name not in given.only:
                    if place.name in kept[0]:
                        rows.append(kept[0][place.name])
                        reports[place.name] = kept[1][place.name]
                    continue
                if time.perf_counter() - began > 60 * given.minutes:
                    rows.append({"planted": place.name, "error": "the time was up"})
                    continue
                row, report = _one(judge, place, name, state, place.name in given.agreement)
                rows.append(row)
                if report is not None:
                    reports[place.name] = report.model_dump(mode="json", exclude={"timeline": {"events"}})
                    print(f"--- {place.name}\n{profile_text(report)}\n", flush=True)
            for kind in given.agreement:
                if kind in reports:
                    agreement.append(_agreement(ProfileReport.model_validate(reports[kind]), PLANTED / kind, state))
    first = sum(row.get("first") == row["planted"] for row in rows)
    figures = {
        "device": device.name,
        "driver": device.driver,
        "ceilings": ceilings.model_dump(mode="json"),
        "named_first": first,
        "of": len(rows),
        "kernels": rows,
        "agreement": agreement,
        "wall_s": round(time.perf_counter() - began, 1),
    }
    (folder / "profiles.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (folder / "reports.json").write_text(json.dumps(reports) + "\n", encoding="utf-8")
    for row in rows:
        print(row)
    for entry in agreement:
        print(entry)
    print(f"named first: {first} of {len(rows)}; wrote {folder}")


def _candidate(place: Path, stem: str) -> Candidate:
    return Candidate.from_file(next(path for path in place.glob(f"{stem}.*") if path.suffix in (".py", ".cu")))


def _recorded(folder: Path, platform: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows and reports of earlier runs, with the diagnosis that the rules of today come to."""
    figures = json.loads((folder / "profiles.json").read_text(encoding="utf-8"))
    reports = json.loads((folder / "reports.json").read_text(encoding="utf-8"))
    sheet = get_platform(platform).spec_sheet()
    rows = {}
    for row in figures["kernels"]:
        if row["planted"] in reports:
            report = ProfileReport.model_validate(reports[row["planted"]])
            report = report.model_copy(update={"bottlenecks": diagnose(report, sheet)})
            reports[row["planted"]] = report.model_dump(mode="json")
            rows[row["planted"]] = {**row, **_named(report)}
    return rows, reports


def _named(report: ProfileReport) -> dict[str, Any]:
    return {
        "first": report.bottlenecks[0].kind.value if report.bottlenecks else None,
        "all": [f"{entry.kind.value} {entry.share:.2f}" for entry in report.bottlenecks],
    }


def _one(
    judge: Judge, place: Path, platform: str, state: Path, closely: bool
) -> tuple[dict[str, Any], ProfileReport | None]:
    task = str(place / "task.py")
    row: dict[str, Any] = {"planted": place.name, "measured": datetime.now(UTC).isoformat(timespec="minutes")}
    parts = ("static", "timeline", *(("proton",) if closely else ()), "counters")
    try:
        began = time.perf_counter()
        request = ProfileRequest(task=task, candidate=_candidate(place, "slow"), platform=platform, parts=parts)
        report = profile(judge, request, state)
        row["profile_s"] = round(time.perf_counter() - began, 1)
        row["parts_s"] = {part.name: part.took_s for part in report.parts}
        row["not_done"] = {part.name: f"{part.state.value}: {part.why}" for part in report.parts if part.why}
        row |= _named(report)
        row["slow_ms"] = report.candidate_ms
        asked = JudgeRequest(task=task, candidate=_candidate(place, "fixed"), platforms=(platform,), timed_calls=40)
        mended = judge.judge(asked).of(platform)
        row["fixed"] = mended.status.value
        if mended.diagnosis is not None:
            row["fixed_why"] = f"{mended.diagnosis.summary} {mended.diagnosis.where}"
        fixed_ms = next((timing.candidate_ms for timing in mended.timings if timing.case == report.case), None)
        if fixed_ms and report.candidate_ms:
            row["fixed_ms"], row["mending_helps"] = fixed_ms, round(report.candidate_ms / fixed_ms, 2)
    except KernelEvolveError as error:
        row["error"] = f"{error} {error.log[-600:]}"
        return row, None
    return row, report


def _agreement(report: ProfileReport, place: Path, state: Path) -> dict[str, Any]:
    """Times of one kernel by every profiler, and its counters by ours and by ncu's own command line."""
    kernel = report.kernels[0]
    found: dict[str, Any] = {
        "kernel": place.name,
        "judge_ms": report.candidate_ms,
        "launches": report.timeline.launches if report.timeline else None,
        "times_ms": {
            name.removeprefix("time."): metric.value * 1e3
            for name, metric in kernel.metrics.items()
            if name.startswith("time.")
        },
        "scopes": [scope.model_dump() for scope in kernel.scopes],
        "lines": dict(list(kernel.lines.items())[:5]),
        "states": {part.name: f"{part.state.value} {part.why}" for part in report.parts},
    }
    if report.candidate_ms and report.candidate_ms * 1e3 > _LEAST_US and found["launches"] == 1:
        judged = report.candidate_ms
        found["time_over_judge"] = {name: round(value / judged, 4) for name, value in found["times_ms"].items()}
    with scratch_folder(state) as folder:
        subject = Subject(
            task=str(place / "task.py"), candidate=_candidate(place, "slow"), platform=get_platform(report.platform),
            case=report.case, dtype=report.dtype, folder=folder, compile_code=list,
        )  # fmt: skip
        names = [raw for raw, _unit, _factor in FIRST.values()]
        ended = subject.run(
            "counters",
            [
                "ncu", "--profile-from-start", "off", "--clock-control", "none", "--csv", "--page", "raw",
                "--print-units", "base", "--metrics", ",".join(names),
            ],
        )  # fmt: skip
        printed = _csv_metrics((ended.folder / "output.log").read_text(encoding="utf-8", errors="replace"))
    ours = {metric.raw: metric.value for metric in kernel.metrics.values() if metric.source == "counters"}
    factors = {raw: factor for raw, _unit, factor in FIRST.values()}
    pairs = {raw: (ours[raw], value * factors[raw]) for raw, value in printed.items() if raw in ours and raw in factors}
    # Shares (factor of a per cent) may differ by a hundredth, everything else by three per cent.
    found["counters_compared"] = len(pairs)
    found["counters_off"] = {
        raw: pair
        for raw, pair in pairs.items()
        if abs(pair[0] - pair[1]) > (0.01 if factors[raw] == PERCENT else 0.03 * abs(pair[1]))
    }
    return found


def _csv_metrics(output: str) -> dict[str, float]:
    """Metric → value of the first kernel in ncu's CSV: names, units, then a row for each kernel."""
    lines = [line for line in output.splitlines() if line.startswith('"')]
    rows = list(csv.reader(io.StringIO("\n".join(lines))))
    if len(rows) < 3:
        return {}
    values: dict[str, float] = {}
    for name, text in zip(rows[0], rows[2], strict=False):
        try:
            values[name] = float(text.replace(",", ""))
        except ValueError:
            continue
    return values


if __name__ == "__main__":
    main()
