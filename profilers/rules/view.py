"""What a rule sees, and how it says what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernelevolve.evaluation.platform import SpecSheet
from kernelevolve.profilers.report import (
    Bottleneck,
    BottleneckKind,
    Evidence,
    GlobalAccess,
    KernelMeasurement,
    ProfileReport,
    SourceLine,
    StaticKernel,
)

LOOP_WEIGHT = 16.0
"""Times that a loop's body is taken to run where its count is not known."""


@dataclass(frozen=True)
class KernelView:
    """One kernel as rules see it: its code, its counters, and how much of the time is its."""

    name: str
    weight: float
    """Its share of the candidate's device time, 0 to 1."""
    code: StaticKernel | None
    measured: KernelMeasurement | None
    report: ProfileReport
    sheet: SpecSheet

    def metric(self, name: str) -> float | None:
        """A counter's value, if it was collected."""
        found = self.measured.metrics.get(name) if self.measured else None
        return found.value if found else None

    def number(self, name: str) -> float:
        """The same, 0 where it was not collected."""
        return self.metric(name) or 0.0

    @property
    def counted(self) -> bool:
        """Whether hardware counters were read, all of those that the rules weigh against each other."""
        return all(self.metric(name) is not None for name in ("memory_share", "global_loads", "global_load_sectors"))

    @property
    def idle_share(self) -> float:
        """Share of the kernel's time in which its busiest resource is idle."""
        busiest = max(self.number("compute_share"), self.number("memory_share"), self.number("dram_share"))
        return max(0.0, 1.0 - busiest)

    @property
    def atomic_share(self) -> float:
        """Atomics among the accesses to device memory, by counters."""
        atomics = self.number("global_atomics") + self.number("global_atomic_returns")
        requests = atomics + self.number("global_loads") + self.number("global_stores")
        return atomics / requests if requests else 0.0

    @property
    def weights(self) -> list[tuple[GlobalAccess, float]]:
        """Accesses with the bytes that each stands for: a block's bytes times the runs of the loops around it."""
        accesses = self.code.accesses if self.code else ()
        return [(entry, (entry.bytes_per_block or 1) * LOOP_WEIGHT**entry.loop_depth) for entry in accesses]

    def sm_count(self) -> float | None:
        """Multiprocessors or compute units of the chip."""
        fact = self.sheet.facts.get("sm_count") or self.sheet.facts.get("compute_units")
        return fact.value if fact else None


Rule = Callable[[KernelView], Iterator[Bottleneck]]


def seen(
    metric: str,
    value: float,
    threshold: float,
    source: str,
    relation: str = ">",
    unit: str = "",
    where: SourceLine | None = None,
) -> Evidence:
    """One observation, held against its threshold."""
    return Evidence(
        metric=metric,
        value=round(value, 6),
        threshold=threshold,
        relation=relation,
        source=source,
        unit=unit,
        where=where,
    )


def found(
    view: KernelView | None, kind: BottleneckKind, share: float, summary: str, advice: str, *evidence: Evidence
) -> Bottleneck:
    """A bottleneck of one kernel, or of the whole candidate where there is no view.

    Args:
        view: the kernel.
        kind: what it is.
        share: share of the kernel's time that mending it would save; cut to 0 to 1.
        summary: what is wrong, with numbers.
        advice: what to try.
        evidence: why.
    """
    return Bottleneck(
        kind=kind,
        kernel=view.name if view else "",
        share=max(0.0, min(1.0, share)),
        summary=summary,
        advice=advice,
        evidence=tuple(evidence),
    )


def line_of(where: SourceLine | None) -> str:
    """` (line N)`, or nothing."""
    return f" (line {where.line})" if where else ""
