"""A profiler: one source of evidence about a candidate. Built-in ones and plug-ins look the same."""

from __future__ import annotations

import abc
from functools import cache

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.platform import Platform
from kernelevolve.evaluation.plug_ins import load_plug_ins
from kernelevolve.profilers.report import KernelMeasurement, PartState, StaticKernel, Timeline
from kernelevolve.profilers.subject import Subject


class Observation(Contract):
    """What one profiler saw."""

    state: PartState = PartState.DONE
    """How it went."""
    why: str = ""
    """What is missing and what to do about it; empty when done."""
    static: tuple[StaticKernel, ...] = ()
    """What the code says."""
    kernels: tuple[KernelMeasurement, ...] = ()
    """What was measured, kernel by kernel."""
    timeline: Timeline | None = None
    """Launches, gaps, copies."""
    notes: tuple[str, ...] = Field(default=(), max_length=100)
    """What a reader should know."""


class Profiler(abc.ABC):
    """A profiler plug-in, registered under the entry point group `kernelevolve.profilers`.

    `profilers/conformance.py` has the tests that every plug-in must pass.
    """

    name: str
    """The part of the report that it fills, e.g. `counters`."""
    families: tuple[str, ...]
    """Platform families for which it makes sense at all, e.g. `("cuda",)`; `("*",)` for every one."""
    runs_candidate: bool = True
    """Whether it runs the candidate. Then only correct candidates are handed to it, and it holds the device."""

    @abc.abstractmethod
    def missing(self, platform: Platform) -> str:
        """Why it can't be used for a platform on this machine, and what to do about it; empty where it can.

        Must be quick and must not touch the device.
        """

    @abc.abstractmethod
    def observe(self, subject: Subject) -> Observation:
        """Look at a candidate.

        What cannot be had is no error: it is said in `state` and `why`, and what was seen is kept.

        Raises:
            KernelEvolveError: the candidate itself failed, e.g. it crashed.
        """


_BUILT_IN = {
    "static": "kernelevolve.profilers.static.profiler:StaticProfiler",
    "timeline": "kernelevolve.profilers.timeline:TimelineProfiler",
    "proton": "kernelevolve.profilers.proton:ProtonProfiler",
    "counters": "kernelevolve.profilers.counters:CountersProfiler",
    "rocprof": "kernelevolve.profilers.rocprof:RocprofProfiler",
    "perf": "kernelevolve.profilers.perf:PerfProfiler",
    "import": "kernelevolve.profilers.json_import:ImportedProfiler",
}


@cache
def profilers() -> dict[str, type[Profiler]]:
    """Name → plug-in class."""
    return load_plug_ins("kernelevolve.profilers", _BUILT_IN)


def get_profiler(name: str) -> Profiler:
    """Find a profiler by name.

    Raises:
        PlatformError: no such profiler; the text lists those there are.
    """
    found = profilers().get(name)
    if found is None:
        raise PlatformError(
            Finding.UNKNOWN_PLATFORM, f"There is no profiler {name!r}.", f"Known: {', '.join(profilers())}."
        )
    return found()
