"""Deep search: from a verdict to what its author should read."""

from __future__ import annotations

import pytest

from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.resources import KernelResources
from kernelevolve.evaluation.verdict import CaseTiming, Diagnosis, Interval, PlatformVerdict, Speed
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.deep_search import CHARACTERS_PER_TOKEN, deep_search
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.situation import Phase, Situation, bottlenecks_of, situation_of, topics_of
from kernelevolve.knowledge.vocabulary import ancestry

SOFTMAX = "def reference(x):\n    return torch.softmax(x, dim=-1)\n"


def correct(resources: tuple[KernelResources, ...] = (), floor: float | None = None) -> PlatformVerdict:
    interval = Interval(speedup=1.0, low=0.9, high=1.1, confidence=0.95, rounds=5)
    timing = CaseTiming(
        case="main", baseline="eager", weight=1.0, candidate_ms=1.0, baseline_ms=1.0, interval=interval,
        speed=Speed.SAME, calls=10, floor_ms=floor,
    )  # fmt: skip
    return PlatformVerdict(
        platform="cuda:sm_90", status=Status.CORRECT, level=Level.EXECUTED, timings=(timing,), resources=resources
    )  # fmt: skip


def failed(finding: Finding, summary: str = "", log: str = "") -> PlatformVerdict:
    diagnosis = Diagnosis(finding=finding, summary=summary, log=log)
    return PlatformVerdict(
        platform="cuda:sm_90", status=diagnosis.status, level=None, diagnosis=diagnosis
    )  # fmt: skip


def spilling() -> KernelResources:
    return KernelResources(
        kernel="k", target="cuda:sm_90", registers=255, spills=40, occupancy=0.125, occupancy_limiter="registers"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "bottlenecks"),
    [
        (correct((spilling(),)), ("registers", "occupancy")),
        (correct(floor=0.8), ("memory_bandwidth",)),
        (correct(floor=0.1), ("latency",)),
        (failed(Finding.COMPILER_ERROR), ("compile_error",)),
        (failed(Finding.WRONG_VALUES), ("wrong_result", "precision")),
        (failed(Finding.ILLEGAL_MEMORY_ACCESS), ("runtime_error",)),
        (failed(Finding.NO_DEVICE_WORK), ("rule_violation",)),
    ],
)
def test_a_verdict_names_its_bottlenecks(entry: PlatformVerdict, bottlenecks: tuple[str, ...]) -> None:
    assert bottlenecks_of(entry) == bottlenecks


@pytest.mark.parametrize(
    ("task", "topic"),
    [
        (SOFTMAX, "normalization"),
        ("return a @ b", "gemm"),
        ("F.conv1d(x, w)", "convolution"),
        ("aten::embedding", "embedding"),
        ("torch.topk(x, 5)", "sorting"),
        ("F.scaled_dot_product_attention(q, k, v)", "attention"),
        ("x.cumsum(0)", "reduction"),
    ],
)
def test_a_task_is_about_something(task: str, topic: str) -> None:
    assert topic in topics_of(task)


def test_a_first_version_gets_guidance_of_the_operator(base: KnowledgeBase) -> None:
    advice = deep_search(base, situation_of("cuda:sm_90", "triton", SOFTMAX, None))

    assert any("normalization" in passage.topics for passage in advice.passages[:3])


@pytest.mark.parametrize(
    ("entry", "bottleneck"),
    [(correct((spilling(),)), "registers"), (failed(Finding.WRONG_VALUES, "differs at the edge"), "wrong_result"),
     (failed(Finding.COMPILER_ERROR, log="numel (2097152) exceeds triton maximum tensor numel"), "compile_error")],
)  # fmt: skip
def test_a_diagnosis_steers_what_is_read(base: KnowledgeBase, entry: PlatformVerdict, bottleneck: str) -> None:
    situation = situation_of("cuda:sm_90", "triton", SOFTMAX, entry)

    advice = deep_search(base, situation)

    assert situation.phase is (Phase.TUNE if entry.status is Status.CORRECT else Phase.MEND)
    assert sum(bottleneck in passage.bottlenecks for passage in advice.passages) >= 2
    assert bottleneck.replace("_", " ") in advice.text


def test_the_text_of_a_compiler_error_finds_its_cause(base: KnowledgeBase) -> None:
    entry = failed(Finding.COMPILER_ERROR, log="numel (2097152) exceeds triton maximum tensor numel (1048576)")

    advice = deep_search(base, situation_of("cuda:sm_90", "triton", SOFTMAX, entry))

    assert "1,048,576" in advice.text or "1048576" in advice.text


@pytest.mark.parametrize("platform", ["cuda:sm_90", "hip:gfx942", "cpu", "MI355X"])
def test_other_platforms_are_left_out(base: KnowledgeBase, platform: str) -> None:
    (own,) = base.resolve([platform])

    advice = deep_search(base, Situation(platform=platform, topics=("gemm",), bottlenecks=("matrix_units_idle",)))

    vendors = {"nvidia", "amd", "cpu", "mtia"}
    assert advice.passages
    for passage in advice.passages:
        foreign = {ancestry(name)[-2] for name in passage.platforms if name != "*"}
        assert not foreign or ancestry(own)[-2] in foreign & vendors


@pytest.mark.parametrize("budget", [0, 60, 400, 1_500])
def test_the_text_fits_its_budget(base: KnowledgeBase, budget: int) -> None:
    advice = deep_search(base, situation_of("cuda:sm_90", "triton", SOFTMAX, None), budget)

    assert len(advice.text) <= budget * CHARACTERS_PER_TOKEN


def test_nothing_is_said_twice(base: KnowledgeBase) -> None:
    advice = deep_search(base, situation_of("cuda:sm_90", "triton", SOFTMAX, None), 4_000)

    names = [passage.passage.id for passage in advice.passages]
    assert len(names) == len(set(names)) > 3


def test_a_model_may_choose_among_the_finalists(base: KnowledgeBase) -> None:
    situation = situation_of("cuda:sm_90", "triton", SOFTMAX, None)
    seen: list[str] = []

    def refine(_: Situation, passages: object) -> list[int]:
        seen.extend(passage.passage.id for passage in passages)  # type: ignore[attr-defined]
        return [2, 0, 99, 2]

    advice = deep_search(base, situation, 4_000, refine)

    assert [passage.passage.id for passage in advice.passages] == [seen[2], seen[0]]


def test_an_unknown_platform_is_explained(base: KnowledgeBase) -> None:
    with pytest.raises(KnowledgeError, match="no platform"):
        deep_search(base, Situation(platform="cuda:sm_77"))
