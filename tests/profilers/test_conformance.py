"""The conformance kit: what it finds wrong with a profiler, and that built-in ones and plug-ins pass it."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.platform import Platform, get_platform
from kernelevolve.profilers.conformance import check_observation, check_profiler
from kernelevolve.profilers.json_import import ImportedProfiler
from kernelevolve.profilers.profiler import Observation, Profiler, get_profiler, profilers
from kernelevolve.profilers.report import (
    BottleneckKind,
    DeviceEvent,
    KernelMeasurement,
    Metric,
    PartState,
    Scope,
    Timeline,
)
from kernelevolve.profilers.subject import Subject, TargetRun
from kernelevolve.profilers.timeline import failure
from tests.conftest import SCALE_CPP

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "profiling.md").read_text(encoding="utf-8")
NAMES = ("counters", "import", "perf", "proton", "rocprof", "static", "timeline")


class Good(Profiler):
    """A profiler that conforms; each of the others breaks one thing."""

    name = "good"
    families: Any = ("cpu",)
    runs_candidate: Any = True

    def missing(self, platform: Platform) -> Any:
        return "" if platform.family == "cpu" else f"It looks at the CPU, not at {platform.name}."

    def observe(self, subject: Subject) -> Any:
        ended = subject.run("loop")
        if why := failure(ended):
            return Observation(state=PartState.FAILED, why=why)
        return self.read(ended)

    def read(self, ended: TargetRun) -> Any:
        return Observation(kernels=(measured(),))


def measured(**more: Any) -> KernelMeasurement:
    return KernelMeasurement(kernel="kernel", **more)


def metric(value: float, unit: str = "", source: str = "good") -> Metric:
    return Metric(value=value, unit=unit, source=source)


# -- those that conform -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_built_in_ones_conform(name: str) -> None:
    assert check_profiler(get_profiler(name)) == []


@pytest.mark.parametrize("profiler", [Good(), ImportedProfiler(Path(__file__))])
def test_others_conform(profiler: Profiler) -> None:
    assert check_profiler(profiler) == []


# -- what a profiler says of itself -----------------------------------------------------------------------------------


class Shouting(Good):
    name = "Good Profiler"


class Homeless(Good):
    families = ("",)[1:]


class OneFamily(Good):
    families = "cpu"


class Undecided(Good):
    runs_candidate = "yes"


class Demanding(Good):
    def __init__(self, needed: int) -> None:
        self.needed = needed


class Everywhere(Good):
    def missing(self, platform: Platform) -> Any:
        return ""


class Fragile(Good):
    def missing(self, platform: Platform) -> Any:
        return {"cpu": ""}[platform.family]


class Mute(Good):
    def missing(self, platform: Platform) -> Any:
        return None


class Loud(Good):
    def missing(self, platform: Platform) -> Any:
        return "" if platform.family == "cpu" else "no " * 1_000


class Careless(Good):
    def observe(self, subject: Subject) -> Any:
        return Observation(kernels=(measured(calls=int(subject.run("loop").result["calls"])),))


class Gullible(Good):
    def read(self, ended: TargetRun) -> Any:
        return Observation(kernels=(measured(calls=int(ended.result["calls"])),))


class Cheerful(Good):
    def observe(self, subject: Subject) -> Any:
        subject.run("loop")
        return Observation()


class Secret(Good):
    runs_candidate = False


class Idle(Good):
    def observe(self, subject: Subject) -> Any:
        return self.read(TargetRun({}, subject.folder, "", 0, False, 0.0))


class Wordy(Good):
    def observe(self, subject: Subject) -> Any:
        return "done"


class Silent(Good):
    def observe(self, subject: Subject) -> Any:
        subject.run("loop")
        return Observation(state=PartState.FAILED)


@pytest.mark.parametrize(
    ("profiler", "word"),
    [
        (object(), "no subclass"),
        (Shouting(), "`name` is 'Good Profiler'"),
        (Homeless(), "`families` is ()"),
        (OneFamily(), "`families` is 'cpu'"),
        (Undecided(), "`runs_candidate` is 'yes'"),
        (Demanding(3), "can't be made without arguments"),
        (Everywhere(), "missing(unheard_of) is empty"),
        (Fragile(), "missing(cuda:sm_90) raises KeyError"),
        (Mute(), "missing(cpu) returns None"),
        (Loud(), "missing(cuda:sm_90) has 3,000 characters"),
        (Careless(), "a candidate that dies, observe raises KeyError"),
        (Gullible(), "a candidate that answers with nonsense, observe raises ValueError"),
        (Cheerful(), "a candidate that takes too long the state is done"),
        (Secret(), "runs the candidate and says that it does not"),
        (Idle(), "without Subject.run"),
        (Wordy(), "returns str, not an Observation"),
        (Silent(), "`why` is ''"),
    ],
    ids=lambda entry: type(entry).__name__ if not isinstance(entry, str) else "",
)
def test_what_breaks_the_contract_is_found(profiler: Any, word: str) -> None:
    problems = check_profiler(profiler)
    assert any(word in problem for problem in problems), problems


def test_what_is_slow_to_say_whether_it_can_be_used_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("kernelevolve.profilers.conformance.time.monotonic", lambda: float(next(clock)) * 1.5)
    assert any("takes 1.5 s" in problem for problem in check_profiler(Good()))


def test_what_wakes_the_device_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    awake: list[str] = []

    class Waking(Good):
        def missing(self, platform: Platform) -> Any:
            awake.append(platform.name)
            return super().missing(platform)

    monkeypatch.setattr("kernelevolve.profilers.conformance._device_is_up", lambda: bool(awake))
    assert any("initialises the device" in problem for problem in check_profiler(Waking()))


def test_a_candidate_s_own_failure_may_be_raised() -> None:
    class Raising(Good):
        def observe(self, subject: Subject) -> Any:
            raise CandidateError(Finding.COMPILER_ERROR, "It does not compile.")

    assert check_profiler(Raising()) == []


# -- what it saw ------------------------------------------------------------------------------------------------------


def timeline(**more: Any) -> Timeline:
    values = {
        "runs": 1, "wall_us": 10, "busy_us": 5, "launches": 1, "gaps_us": 0, "synchronizations": 0, "host_copies": 0,
        "device_copies": 0, "copy_us": 0, **more,
    }  # fmt: skip
    return Timeline.model_validate(values)


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        ({"kernels": (measured(metrics={"occupancy": metric(1.5)}),)}, "it is 0 to 1"),
        ({"kernels": (measured(metrics={"waves": metric(-1.0)}),)}, "it is ≥ 0"),
        ({"kernels": (measured(metrics={"occupancy": metric(float("nan"))}),)}, "the value is nan"),
        ({"kernels": (measured(metrics={"my_own": metric(float("inf"))}),)}, "the value is inf"),
        ({"kernels": (measured(metrics={"occupancy": metric(0.5, "%")}),)}, "by docs/profiling.md it is ''"),
        ({"kernels": (measured(metrics={"my_own": metric(5, "MB")}),)}, "no base unit"),
        ({"kernels": (measured(metrics={"my own": metric(5)}),)}, "no name"),
        ({"kernels": (measured(metrics={"occupancy": metric(0.5, source="ncu")}),)}, "the source is 'ncu'"),
        ({"kernels": (measured(time_s=metric(5, "us")),)}, "it is 's'"),
        ({"kernels": (measured(calls=0),)}, "0 calls"),
        ({"kernels": (measured(lines={3: 0.7, 4: 0.7}),)}, "together they are at most 1"),
        ({"kernels": (measured(lines={0: 0.7}),)}, "from 1"),
        ({"kernels": (measured(scopes=(Scope(name="a", cycles=5, share=3),)),)}, "the share is from 0 to 1"),
        ({"kernels": (measured(grid=(4, 0)),)}, "sizes of grid and block"),
        ({"kernels": (measured(), measured())}, "there twice"),
        ({"kernels": (measured().model_copy(update={"kernel": " "}),)}, "has no name"),
        ({"why": "something is missing"}, "is empty when all is done"),
        ({"state": PartState.PARTIAL, "why": "x" * 2_000}, "at most 1,000 are shown"),
        ({"timeline": timeline(busy_us=-1)}, "busy_us: -1"),
        ({"timeline": timeline(events=(
            DeviceEvent(name="a", kind="dance", start_us=0, duration_us=1, track="host"),
        ))}, "of the kind dance"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_found(seen: dict[str, Any], word: str) -> None:
    problems = check_observation(Observation(**seen), "good")
    assert len(problems) == 1, problems
    assert word in problems[0]


def test_a_share_may_exceed_one_by_rounding() -> None:
    assert check_observation(Observation(kernels=(measured(metrics={"occupancy": metric(1.01)}),)), "good") == []


# -- a plug-in, as the guide has it -----------------------------------------------------------------------------------


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The guide's example, installed as a package of its own."""
    code, test = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (point,) = re.findall(r"```toml\n\[project.entry-points.\"(.*?)\"\]\n(.*?) = \"(.*?)\"", GUIDE)
    (tmp_path / "call_times.py").write_text(code)
    (tmp_path / "test_call_times.py").write_text("from call_times import CallTimesProfiler\n" + test)
    information = tmp_path / "call_times-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: call-times\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{point[0]}]\n{point[1]} = {point[2]}\n")
    monkeypatch.syspath_prepend(tmp_path)
    profilers.cache_clear()
    yield tmp_path
    profilers.cache_clear()
    for module in ("call_times", "test_call_times"):
        sys.modules.pop(module, None)


@pytest.mark.usefixtures("plug_in")
def test_a_plug_in_is_found_beside_the_built_in_ones() -> None:
    assert {*NAMES, "call_times"} <= set(profilers())
    assert get_profiler("call_times").families == ("cpu",)


def test_the_guide_s_test_passes(plug_in: Path) -> None:
    space: dict[str, Any] = {}
    exec(compile((plug_in / "test_call_times.py").read_text(), "test_call_times.py", "exec"), space)
    space["test_it_conforms"]()


@pytest.mark.usefixtures("plug_in")
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not here")
def test_the_guide_s_profiler_measures_a_candidate(
    tmp_path: Path, scale_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(
        task=str(scale_task),
        candidate=Candidate(language="cpp", source=SCALE_CPP),
        platform=get_platform("cpu"),
        case="small",
        dtype="float32",
        folder=tmp_path / "profile",
        compile_code=list,
    )
    profiler = get_profiler("call_times")
    observe, seen = profiler.observe, []

    def watched(subject: Subject) -> Observation:
        seen.append(observe(subject))
        return seen[-1]

    monkeypatch.setattr(profiler, "observe", watched)
    assert check_profiler(profiler, subject) == []
    (kernel,) = seen[-1].kernels
    assert 0.0 < kernel.metrics["call_time.least"].value <= kernel.metrics["call_time.most"].value


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not here")
def test_a_subject_of_which_nothing_is_seen_is_found(tmp_path: Path, scale_task: Path) -> None:
    class Confused(Good):
        def observe(self, subject: Subject) -> Any:
            return Observation(state=PartState.FAILED, why=failure(subject.run("dance")) or "nothing")

    subject = Subject(
        task=str(scale_task),
        candidate=Candidate(language="cpp", source=SCALE_CPP),
        platform=get_platform("cpu"),
        case="small",
        dtype="float32",
        folder=tmp_path / "profile",
        compile_code=list,
    )
    (problem,) = check_profiler(Confused(), subject)
    assert problem.startswith("It sees nothing of the subject: The profiled process failed")


# -- the guide's table of bottlenecks ---------------------------------------------------------------------------------


def evidence_of_rules() -> set[tuple[str, str, str]]:
    """(bottleneck, metric, `< 0.6`) for every threshold that stands in the rules as a number other than 0."""
    found: set[tuple[str, str, str]] = set()
    for file in (ROOT / "profilers" / "rules").glob("*.py"):
        for function in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(function, ast.FunctionDef):
                found |= evidence_of_rule(function)
    return found


def evidence_of_rule(function: ast.FunctionDef) -> set[tuple[str, str, str]]:
    everywhere = {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Kind"
    }
    inside: dict[ast.Call, set[str]] = {}
    for call in calls(function, "found"):
        kind = call.args[1]
        for seen in calls(call, "seen"):
            inside[seen] = {kind.attr} if isinstance(kind, ast.Attribute) else {"MEMORY_BOUND", "COMPUTE_BOUND"}
    found = set()
    for seen in calls(function, "seen"):
        name, threshold = seen.args[0], seen.args[2]
        if isinstance(threshold, ast.Constant) and threshold.value:
            relation = ast.literal_eval(seen.args[4]) if len(seen.args) > 4 else ">"
            text = name.value if isinstance(name, ast.Constant) else ast.unparse(name)[2:-1].replace("{", "<")
            held = f"{relation} {threshold.value:g}"
            found |= {(kind.lower(), text.replace("}", ">"), held) for kind in inside.get(seen, everywhere)}
    return found


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def table() -> dict[str, str]:
    section = GUIDE.partition("## What a report says")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[2] for row in rows}


def test_the_guide_s_table_has_every_bottleneck_once() -> None:
    assert sorted(table()) == sorted(kind.value for kind in BottleneckKind)
    assert GUIDE.count("| `engine_stalls` |") == 1


def test_the_guide_s_thresholds_are_those_of_the_rules() -> None:
    expected = evidence_of_rules()
    assert ("uncoalesced_access", "sector_use", "< 0.6") in expected
    assert ("engine_stalls", "engine_stall_share.<engine>", "> 0.2") in expected
    rows = table()
    assert {entry for entry in expected if f"`{entry[1]}` {entry[2]}" not in rows[entry[0]]} == set()
    written = {
        (kind, *found) for kind, row in rows.items() for found in re.findall(r"`([^`]+)` ([<>] [\d.]+\d|[<>] \d)", row)
    }
    assert written - expected == set()
