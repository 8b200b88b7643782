"""The JSON format for what other profilers measured: what is read, what is refused, what is said of the rest."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.platform import Level, SpecSheet, get_platform
from kernelevolve.profilers import json_import
from kernelevolve.profilers.conformance import check_observation
from kernelevolve.profilers.counters import FIRST, MORE, PERCENT, STALLS
from kernelevolve.profilers.diagnosis import diagnose
from kernelevolve.profilers.json_import import (
    KNOWN_METRICS,
    UNITS,
    VARIABLE,
    ImportedEvent,
    ImportedKernel,
    ImportedMetric,
    ImportedProfile,
    ImportedProfiler,
    ImportedScope,
    ImportedTimeline,
    kind_of,
    read_profile,
)
from kernelevolve.profilers.profiler import Observation
from kernelevolve.profilers.report import BottleneckKind, PartState, ProfileReport

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "profiling.md").read_text(encoding="utf-8")


def example() -> dict[str, Any]:
    """The complete file of the guide."""
    (text,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    content: dict[str, Any] = json.loads(text)
    return content


def written(folder: Path, content: Any) -> Path:
    path = folder / "profile.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def kernel(**more: Any) -> dict[str, Any]:
    return {"format": "kernelevolve-profile", "version": 1, "profiler": "p", "device": "d", "kernels": [
        {"name": "work", **more}
    ]}  # fmt: skip


def report_of(observation: Observation) -> ProfileReport:
    return ProfileReport(
        task="t", candidate="c", language="triton", source_hash="0", platform="mtia:2i", level=Level.COMPILED, case="c",
        dtype="float16", parts=(), kernels=observation.kernels, timeline=observation.timeline,
    )  # fmt: skip


# -- what is read -----------------------------------------------------------------------------------------------------


def test_the_guide_s_example_is_read_in_base_units(tmp_path: Path) -> None:
    observation = read_profile(written(tmp_path, example()))
    assert observation.state is PartState.DONE
    (found,) = observation.kernels
    assert found.time_s is not None
    assert found.time_s.value == pytest.approx(84e-6)
    assert found.metrics["pe_utilisation"].value == pytest.approx(0.71)
    assert found.metrics["pe_utilisation"].raw == "PE_BUSY"
    assert found.metrics["pe_bandwidth.read"].value == pytest.approx(9.5e9)
    assert found.metrics["pe_bandwidth.read"].unit == "B/s"
    assert found.metrics["engine_stall_cycles.sfu"].unit == ""
    assert found.lines == {14: 0.6, 17: 0.3}
    assert found.grid == (8, 8)
    assert observation.notes[0] == "imported: measured by MTIA Insight on MTIA 2i"
    assert not any("no rule knows" in note for note in observation.notes)
    assert check_observation(observation, "import") == []


def test_an_engine_that_stalls_is_named_first(tmp_path: Path) -> None:
    observation = read_profile(written(tmp_path, example()))
    found = diagnose(report_of(observation), SpecSheet(chip="MTIA 2i"))
    assert found[0].kind is BottleneckKind.ENGINE_STALLS
    assert found[0].kernel == "layer_norm"
    assert found[0].share == pytest.approx(0.46)
    assert found[0].evidence[0].metric == "engine_stall_share.sfu"
    assert found[0].evidence[0].source == "import"


def test_without_the_stall_something_else_is_named(tmp_path: Path) -> None:
    content = example()
    content["kernels"][0]["metrics"]["engine_stall_share.sfu"]["value"] = 0.05
    content["kernels"][0]["metrics"]["pe_utilisation"]["value"] = 30
    found = diagnose(report_of(read_profile(written(tmp_path, content))), SpecSheet(chip="MTIA 2i"))
    assert found[0].kind is BottleneckKind.LOW_PARALLELISM
    assert all(entry.kind is not BottleneckKind.ENGINE_STALLS for entry in found)


def test_a_timeline_is_summed_up(tmp_path: Path) -> None:
    def event(name: str, kind: str, start: float, duration: float, **more: Any) -> dict[str, Any]:
        track = "host" if kind in ("launch", "sync") else "queue"
        return {"name": name, "kind": kind, "start_us": start, "duration_us": duration, "track": track, **more}

    content = kernel()
    content["timeline"] = {"events": [
        event("h2d", "memcpy", 0, 10, bytes=4096, with_host=True),
        event("a", "kernel", 15, 10, correlation=3),
        event("launch", "launch", 12, 2, correlation=3),
        event("wait", "sync", 14, 20),
        event("transpose", "kernel", 40, 20, only_moves=True),
        event("b", "kernel", 50, 10),
    ]}  # fmt: skip
    timeline = read_profile(written(tmp_path, content)).timeline
    assert timeline is not None
    assert (timeline.wall_us, timeline.busy_us, timeline.gaps_us) == (60, 40, 20)
    assert (timeline.launches, timeline.synchronizations) == (3, 1)
    assert (timeline.host_copies, timeline.device_copies, timeline.copy_us) == (1, 1, 30)
    assert timeline.conversions == ("transpose",)
    assert [entry.start_us for entry in timeline.events] == sorted(entry.start_us for entry in timeline.events)
    assert timeline.events[0].bytes == 4096


def test_names_that_are_not_known_are_kept_and_said(tmp_path: Path) -> None:
    content = kernel(metrics={"pe_utilization": {"value": 0.5}, "my.counter": {"value": -3, "unit": "MiB"}})
    observation = read_profile(written(tmp_path, content))
    assert observation.state is PartState.DONE
    assert observation.kernels[0].metrics["my.counter"].value == -3 * 2**20
    (note,) = [note for note in observation.notes if "no rule knows" in note]
    assert "my.counter" in note
    assert "did you mean pe_utilisation?" in note


# -- what is left out -------------------------------------------------------------------------------------------------


def test_of_too_many_kernels_the_longest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_import, "MOST_KERNELS", 2)
    content = kernel()
    content["kernels"] = [
        {"name": "short", "time": {"value": 5, "unit": "us"}},
        {"name": "often", "time": {"value": 2, "unit": "us"}, "calls": 50},
        {"name": "unknown"},
        {"name": "long", "time": {"value": 90, "unit": "us"}},
    ]
    observation = read_profile(written(tmp_path, content))
    assert {entry.kernel for entry in observation.kernels} == {"often", "long"}
    assert observation.state is PartState.PARTIAL
    assert "4 kernels" in observation.why
    assert "2 with 5 µs in all are left out" in observation.why


def test_of_too_many_events_the_first_are_kept_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_import, "MOST_EVENTS", 3)
    event = {"name": "k", "kind": "kernel", "duration_us": 1, "track": "q"}
    content = kernel()
    content["timeline"] = {"events": [{**event, "start_us": start} for start in (8, 6, 4, 2, 0)]}
    observation = read_profile(written(tmp_path, content))
    assert observation.timeline is not None
    assert [entry.start_us for entry in observation.timeline.events] == [0, 2, 4]
    assert observation.timeline.launches == 5
    assert observation.timeline.dropped == 2
    assert observation.state is PartState.PARTIAL
    assert "5 events" in observation.why


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, example())
    monkeypatch.setattr(json_import, "MOST_BYTES", path.stat().st_size)
    assert read_profile(path).kernels
    monkeypatch.setattr(json_import, "MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(PlatformError, match="at most"):
        read_profile(path)


def test_a_profile_of_nothing_says_so(tmp_path: Path) -> None:
    observation = read_profile(written(tmp_path, {**kernel(), "kernels": []}))
    assert observation.state is PartState.PARTIAL
    assert "neither kernels nor a timeline" in observation.why


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "path", "word"),
    [
        ({"metrics": {"pe_utilisation": {"value": 1.2}}}, "kernels[0].metrics.pe_utilisation.value", "0 to 1"),
        ({"metrics": {"pe_utilisation": {"value": 120, "unit": "%"}}}, "pe_utilisation.value: 120 %", "0 to 1"),
        ({"metrics": {"stall.barrier": {"value": -0.1}}}, "kernels[0].metrics.stall.barrier.value", "0 to 1"),
        ({"metrics": {"engine_stall_share.x": {"value": 7}}}, "metrics.engine_stall_share.x.value", "0 to 1"),
        ({"metrics": {"waves": {"value": -1}}}, "kernels[0].metrics.waves.value", "≥ 0"),
        ({"metrics": {"occupancy": {"value": 0.5, "unit": "s"}}}, "metrics.occupancy.unit", "a share"),
        ({"metrics": {"dram_read_bytes": {"value": 5}}}, "metrics.dram_read_bytes.unit", "'B'"),
        ({"metrics": {"x": {"value": 1, "unit": "furlong"}}}, "kernels[0].metrics.x.unit", "'furlong' is not known"),
        ({"metrics": {"x": {"value": "1"}}}, "kernels[0].metrics.x.value", "valid number"),
        ({"metrics": {"x": {"value": True}}}, "kernels[0].metrics.x.value", "valid number"),
        ({"metrics": {"a b": {"value": 1}}}, "kernels[0].metrics.a b", "pattern"),
        ({"time": {"value": 5, "unit": "B"}}, "kernels[0].time.unit", "'s'"),
        ({"time": {"value": -5, "unit": "s"}}, "kernels[0].time.value", "≥ 0"),
        ({"calls": 0}, "kernels[0].calls", "greater than 0"),
        ({"grid": [4, 0]}, "kernels[0].grid[1]", "greater than 0"),
        ({"lines": {"3": 1.5}}, "kernels[0].lines.3", "less than or equal to 1"),
        ({"lines": {"3": 0.7, "4": 0.7}}, "kernels[0].lines", "together 1.4"),
        ({"lines": {"three": 0.5}}, "kernels[0].lines.three", "integer"),
        ({"scopes": [{"name": "s", "cycles": 1, "share": 2}]}, "kernels[0].scopes[0].share", "less than or equal"),
        ({"metric": {}}, "kernels[0].metric", "not permitted"),
        ({"name": "two\nlines"}, "kernels[0].name", "pattern"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(tmp_path: Path, more: Any, path: str, word: str) -> None:
    with pytest.raises(PlatformError) as raised:
        read_profile(written(tmp_path, kernel(**more)))
    assert path in raised.value.summary
    assert word in raised.value.summary
    assert "docs/profiling.md" in raised.value.advice


def test_a_kernel_stands_there_once(tmp_path: Path) -> None:
    content = kernel()
    content["kernels"] *= 2
    with pytest.raises(PlatformError, match=r"kernels\[1\]\.name: 'work' is kernels\[0\] already"):
        read_profile(written(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "can't be read as JSON"),
        ("[1]", "kernelevolve-profile"),
        ('{"format": "other", "version": 1}', "kernelevolve-profile"),
        ('{"format": "kernelevolve-profile", "version": 2}', "version 2; version 1 is read"),
        ("[" * 100_000, "can't be read as JSON"),
        ('{"format": "kernelevolve-profile", "version": 1, "profiler": "p"}', "device: field required"),
    ],
)
def test_what_is_no_profile_is_told_apart(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(PlatformError) as raised:
        read_profile(written(tmp_path, text))
    assert word in raised.value.summary


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        text = json.dumps(kernel(metrics={"x": {"value": 0}})).replace('"value": 0', f'"value": {number}')
        with pytest.raises(PlatformError, match=r"metrics\.x\.value: input should be a finite number"):
            read_profile(written(tmp_path, text))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no such file"):
        read_profile(tmp_path / "nowhere.json")
    with pytest.raises(PlatformError, match="no such file"):
        read_profile(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlatformError, match="can't be read as JSON"):
        read_profile(tmp_path / "binary.json")


# -- the profiler -----------------------------------------------------------------------------------------------------


def test_it_reads_the_file_that_it_is_given_or_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    path = written(tmp_path, example())
    platform = get_platform("cpu")
    subject: Any = SimpleNamespace(platform=platform)  # Anything more would mean that the candidate is run.
    assert VARIABLE in ImportedProfiler().missing(platform)
    assert ImportedProfiler().observe(subject).state is PartState.MISSING
    assert ImportedProfiler(path).missing(platform) == ""
    assert ImportedProfiler(path).observe(subject).kernels[0].kernel == "layer_norm"
    monkeypatch.setenv(VARIABLE, str(path))
    assert ImportedProfiler().missing(platform) == ""
    assert ImportedProfiler().observe(subject).kernels[0].kernel == "layer_norm"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone.json"))
    assert "gone.json" in ImportedProfiler().missing(platform)


# -- names ------------------------------------------------------------------------------------------------------------


def test_every_counter_has_a_meaning_with_its_unit() -> None:
    for name, (_raw, unit, factor) in {**FIRST, **MORE}.items():
        assert name in KNOWN_METRICS
        assert KNOWN_METRICS[name].unit == unit, name
        assert (KNOWN_METRICS[name].most == 1.0) == (factor == PERCENT), name
    assert all(f"stall.{reason}" in KNOWN_METRICS for reason in STALLS)


def test_every_metric_that_a_rule_looks_at_has_a_meaning() -> None:
    asked = set()
    for file in (ROOT / "profilers" / "rules").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("metric", "number")):
                asked |= {
                    entry.value
                    for entry in node.args
                    if isinstance(entry, ast.Constant) and isinstance(entry.value, str)
                }
    assert {"memory_share", "dram_share", "pe_utilisation", "cache_miss_rate.llc"} <= asked
    assert {name for name in asked if kind_of(name) is None} == set()


def test_a_family_has_one_meaning_for_all_its_members() -> None:
    assert kind_of("engine_utilisation.dpe") is KNOWN_METRICS["engine_utilisation.<engine>"]
    assert kind_of("stall.barrier") is KNOWN_METRICS["stall.barrier"]
    assert kind_of("stall.of_another_chip") is KNOWN_METRICS["stall.<reason>"]
    assert kind_of("engine_utilisation") is None
    assert kind_of("engine_utilisation.") is None
    assert kind_of("cache_hit_rate.l9") is None


def test_units_lead_to_the_base_units() -> None:
    assert {base for base, _factor in UNITS.values()} == {"", "s", "B", "B/s", "FLOP/s", "1/s"}
    assert {kind.unit for kind in KNOWN_METRICS.values()} <= {base for base, _factor in UNITS.values()}


# -- the guide --------------------------------------------------------------------------------------------------------


def test_the_guide_s_table_of_metrics_is_the_code_s() -> None:
    section = GUIDE.partition("## Metrics")[2].partition("\n## ")[0]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in section.splitlines() if "| `" in line]
    assert rows == [(f"`{name}`", kind.unit, kind.range, kind.meaning) for name, kind in KNOWN_METRICS.items()]


def test_the_guide_names_every_field_and_every_unit() -> None:
    section = GUIDE.partition("## Import")[2].partition("\n## ")[0]
    models = (ImportedProfile, ImportedKernel, ImportedMetric, ImportedScope, ImportedTimeline, ImportedEvent)
    fields = {name for model in models for name in model.model_fields}
    assert {name for name in fields if f"`{name}`" not in section} == set()
    assert {unit for unit in UNITS if unit and f"`{unit}`" not in section} == set()
