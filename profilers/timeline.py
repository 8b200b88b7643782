"""Launches, gaps, waits and copies: a few runs of the candidate under torch's profiler (Kineto: CUPTI, rocprofiler)."""

from __future__ import annotations

from statistics import median
from typing import Any

from kernelevolve.evaluation.platform import Platform
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import DeviceEvent, KernelMeasurement, Metric, PartState, Timeline
from kernelevolve.profilers.subject import Subject, TargetRun


class TimelineProfiler(Profiler):
    """`torch.profiler`, on GPUs."""

    name = "timeline"
    families = ("cuda", "hip")

    def missing(self, platform: Platform) -> str:
        """It needs the device."""
        if platform.device_kind == "cpu":
            return "On a CPU there are no launches to look at; `perf` has the counters."
        if platform.availability().device is None:
            return f"There is no {platform.name} device here. {' '.join(platform.availability().missing)}"
        return ""

    def observe(self, subject: Subject) -> Observation:
        """Trace five runs, each from a cold cache and waited for."""
        ended = subject.run("timeline", runs=5)
        if why := failure(ended):
            return Observation(state=PartState.FAILED, why=why)
        try:
            return _read(ended.result)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            return Observation(
                state=PartState.FAILED, why=f"The trace makes no sense ({type(error).__name__}: {error})."
            )


def failure(ended: TargetRun) -> str:
    """Why a run of the profiled process gave nothing; empty where it gave something."""
    if ended.timed_out:
        return f"It took longer than {ended.took_s:.0f} s and was ended; ask for more time with --limit."
    if "failed" in ended.result:
        return f"The profiled process failed: {ended.result['failed']}"
    if not ended.result:
        last = ended.output.splitlines()[-1] if ended.output else "it said nothing"
        return f"The profiled process ended with code {ended.code}: {last[:300]}"
    return ""


def _read(result: dict[str, Any]) -> Observation:
    runs = result["runs"]
    if not any(run["launches"] for run in runs):
        return Observation(state=PartState.PARTIAL, why="The candidate launched no kernel.")
    first = runs[0]

    def middle(name: str) -> float:
        return float(median(run[name] for run in runs))

    timeline = Timeline(
        runs=len(runs),
        wall_us=middle("wall_us"),
        busy_us=middle("busy_us"),
        launches=middle("launches"),
        gaps_us=float(median(run["span_us"] - run["busy_us"] for run in runs)),
        synchronizations=middle("synchronizations"),
        host_copies=middle("host_copies"),
        device_copies=middle("device_copies"),
        copy_us=middle("copy_us"),
        conversions=tuple(first["conversions"]),
        events=tuple(_event(entry) for entry in first["events"]),
        dropped=first["dropped"],
    )
    names = sorted(first["kernels"], key=lambda name: -first["kernels"][name][2])
    kernels = [
        KernelMeasurement(
            kernel=name,
            calls=int(first["kernels"][name][0]),
            time_s=Metric(
                value=float(median(run["kernels"].get(name, first["kernels"][name])[1] for run in runs)) * 1e-6,
                unit="s",
                source="timeline",
            ),
        )
        for name in names
    ]
    if first["dropped"]:
        kept = len(first["events"])
        why = f"One run has {kept + first['dropped']:,} events; the first {kept:,} are kept."
        return Observation(state=PartState.PARTIAL, why=why, timeline=timeline, kernels=tuple(kernels))
    return Observation(timeline=timeline, kernels=tuple(kernels))


def _event(entry: list[Any]) -> DeviceEvent:
    name, kind, start, duration, track, moved, correlation, _operator = entry
    return DeviceEvent(
        name=name, kind=kind, start_us=start, duration_us=duration, track=track, bytes=moved, correlation=correlation
    )
