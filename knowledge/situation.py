"""What an author is in the middle of, in the words of the knowledge base: platform, operator, phase, bottlenecks."""

from __future__ import annotations

import re
from enum import StrEnum

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.verdict import PlatformVerdict

_LOW_OCCUPANCY = 0.5
_NEAR_THE_LIMIT = 0.6
"""Share of the roofline's rate from which a kernel counts as bound by memory or arithmetic, not by latency."""
_LOG = 300

_OPERATORS: dict[str, str] = {
    "normalization": r"softmax|layer_?norm|rms_?norm|group_?norm|batch_?norm|normalize|logsumexp",
    "attention": r"attention|scaled_dot_product|\bsdpa\b|flash",
    "gemm": r"matmul|\bmm\b|\bbmm\b|\baddmm\b|linear|einsum|gemm|\S @ \S",
    "convolution": r"conv\dd|\bconv\b|convolution",
    "embedding": r"embedding|gather|index_select|index_add|scatter|\btake\b|lookup|map_?id",
    "jagged": r"jagged|ragged|offsets|segment|nested|truncate",
    "sorting": r"\bsort|argsort|top_?k|histogram|bincount|unique",
    "reduction": r"\.sum\(|\.mean\(|\.amax\(|\.max\(|cumsum|reduce|torch\.sum|torch\.mean|\.norm\(|var\(",
    "random": r"dropout|\brand",
    "low_precision": r"quanti[sz]e|int8|fp8|float8|int4",
    "elementwise": r"relu|gelu|silu|sigmoid|tanh|swish|add|mul|exp",
}
_FROM_FINDING: dict[Finding, tuple[str, ...]] = {
    Finding.OUT_OF_MEMORY: ("runtime_error", "memory_bandwidth"),
    Finding.OUTPUT_NOT_WRITTEN: ("wrong_result",),
    Finding.WRONG_VALUES: ("wrong_result", "precision"),
    Finding.WRONG_SPECIAL_VALUES: ("wrong_result", "precision"),
    Finding.NOT_DETERMINISTIC: ("synchronization", "wrong_result"),
    Finding.WRONG_AFTER_TIMING: ("synchronization", "wrong_result"),
}
_FROM_STATUS: dict[Status, tuple[str, ...]] = {
    Status.WRONG: ("wrong_result",),
    Status.COMPILE_ERROR: ("compile_error",),
    Status.RUNTIME_ERROR: ("runtime_error",),
    Status.TIMEOUT: ("timeout",),
    Status.RULE_VIOLATION: ("rule_violation",),
    Status.REWARD_HACK: ("rule_violation",),
}
_FROM_LIMITER = {"registers": "registers", "shared memory": "shared_memory"}


class Phase(StrEnum):
    """What the author is to do next."""

    WRITE = "write"
    """A first version."""
    MEND = "mend"
    """Make it right."""
    TUNE = "tune"
    """Make it faster."""


class Situation(Contract):
    """Steers deep search."""

    platform: str
    """As people call it: `cuda:sm_90`, `H100`, `cpu`."""
    language: str = ""
    phase: Phase = Phase.WRITE
    topics: tuple[str, ...] = ()
    """What the operator is about."""
    bottlenecks: tuple[str, ...] = ()
    """The diagnosis, the most important first."""
    words: str = ""
    """More of it in plain words: an error's text, the operator's name."""


def topics_of(task: str) -> tuple[str, ...]:
    """What an operator is about, from its source or name."""
    text = task.lower()
    return tuple(topic for topic, pattern in _OPERATORS.items() if re.search(pattern, text))[:4]


def situation_of(platform: str, language: str, task: str, entry: PlatformVerdict | None, words: str = "") -> Situation:
    """Where an author stands after a verdict.

    Args:
        platform: what it is for.
        language: the candidate's.
        task: source or name of the task.
        entry: the verdict on the candidate to build on; `None` before the first.
        words: the operator in plain words.
    """
    topics = topics_of(task)
    if entry is None:
        return Situation(platform=platform, language=language, topics=topics, words=words)
    found = bottlenecks_of(entry)
    phase = Phase.TUNE if entry.status is Status.CORRECT else Phase.MEND
    diagnosis = entry.diagnosis
    if diagnosis is not None:
        words = f"{diagnosis.finding.value.replace('_', ' ')}: {diagnosis.summary} {diagnosis.log[:_LOG]}".strip()
    return Situation(platform=platform, language=language, phase=phase, topics=topics, bottlenecks=found, words=words)


def bottlenecks_of(entry: PlatformVerdict) -> tuple[str, ...]:
    """What a verdict says is in the way, the most important first."""
    if entry.status is not Status.CORRECT:
        finding = entry.diagnosis.finding if entry.diagnosis is not None else None
        if finding in _FROM_FINDING:
            return _FROM_FINDING[finding]
        return _FROM_STATUS.get(entry.status, ())
    found: list[str] = []
    for kernel in entry.resources:
        if kernel.spills:
            found.append("registers")
        if kernel.occupancy is not None and kernel.occupancy < _LOW_OCCUPANCY:
            found.append(_FROM_LIMITER.get(kernel.occupancy_limiter or "", "occupancy"))
            found.append("occupancy")
    shares = [timing.floor_ms / timing.candidate_ms for timing in entry.timings if timing.floor_ms]
    if shares:
        found.append("memory_bandwidth" if max(shares) >= _NEAR_THE_LIMIT else "latency")
    return tuple(dict.fromkeys(found))
