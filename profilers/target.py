"""The profiled process: makes the inputs of one case, confines itself, loads the candidate, calls it under a tool.

`python -m kernelevolve.profilers.target SPECIFICATION` writes `result.json` beside the specification. Whatever it says
is a claim of the candidate's process: it explains, and decides nothing.
"""

from __future__ import annotations

import bisect
import ctypes
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from kernelevolve.evaluation.judge.intervals import covered

# Here, because once the walls stand this process may read its own packages no more.
from kernelevolve.profilers.perf_control import PerfControl

WARM_UP_S = 0.3
"""Seconds of calls before anything is recorded, so that clocks have risen."""
_WARM_UP_CALLS = 50
_MAX_EVENTS = 10_000
_RUN = "kernelevolve.run"
_CALL = "kernelevolve.call"


class Target:
    """The candidate with the inputs of one case, ready to be called.

    Args:
        specification: see `Subject.run`.
    """

    def __init__(self, specification: dict[str, Any]) -> None:
        import torch

        from kernelevolve.evaluation.judge import sandbox
        from kernelevolve.evaluation.judge.protection import chosen
        from kernelevolve.evaluation.judge.task_state import TaskState
        from kernelevolve.evaluation.judge.timing import Stopwatch
        from kernelevolve.evaluation.language import Artifact, EntryPoint, get_language
        from kernelevolve.evaluation.tasks.loading import load_task
        from kernelevolve.evaluation.tasks.program import seeded

        scratch = Path(specification["scratch"])
        self.folder = Path(specification["folder"])
        self.device: str = specification["device"]
        artifact = Artifact.model_validate(specification["artifact"])
        os.environ["TRITON_CACHE_DIR"] = str(scratch / "triton")
        # torch hands its folder on to what it starts, and that one can't be written to.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / "inductor")
        for name in ("HOME", "XDG_CACHE_HOME"):
            os.environ[name] = str(scratch)
        tempfile.tempdir = str(scratch)
        if self.device != "cpu":
            torch.cuda.set_device(self.device)
            torch.cuda.init()
        # Threads that torch starts for a reference would stay outside of the walls, so it has to do with one.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        program = load_task(specification["task"])
        state = TaskState(program, self.device, os.urandom(32), 0)
        case = next(entry for entry in program.task.cases if entry.name == specification["case"])
        inputs = state.make_inputs(case, specification["dtype"], self.device, state.seed(case.name))
        extra = state.extra(specification["dtype"]) if artifact.entry is EntryPoint.FUNCTION else []
        outputs: list[torch.Tensor] = []
        if artifact.writes_outputs:
            with torch.no_grad():
                expected = state.reference(specification["dtype"])(*inputs.args, **inputs.kwargs)
            outputs = [leaf for leaf in torch.utils._pytree.tree_leaves(expected) if isinstance(leaf, torch.Tensor)]
        self.stopwatch = Stopwatch(self.device)
        walls = sandbox.program_walls(scratch, self.device != "cpu", chosen(), specification["enclosed"])
        self.protection = list(sandbox.raise_walls(walls))
        os.chdir(self.folder)  # An enclosure has a root of its own.
        torch.set_num_threads(threads)
        entry = get_language(artifact.language).load(artifact, False)
        if artifact.entry is EntryPoint.MODULE:
            with seeded(state.weight_seed):
                entry = entry(*program.init_inputs())
            if isinstance(entry, torch.nn.Module):
                entry = entry.to(self.device)
        leaves = [leaf for leaf in torch.utils._pytree.tree_leaves((inputs.args, inputs.kwargs)) if leaf is not None]

        def call() -> Any:
            with torch.no_grad():
                if artifact.writes_outputs:
                    return entry(*leaves, *extra, *[torch.empty_like(output) for output in outputs])
                return entry(*inputs.args, *extra, **inputs.kwargs)

        self.call: Callable[[], Any] = call

    def warm_up(self) -> None:
        """Call until code is compiled, tuned and cached, and clocks have risen."""
        began = time.perf_counter()
        for number in range(_WARM_UP_CALLS):
            self.call()
            self.stopwatch.synchronize()
            if number >= 2 and time.perf_counter() - began > WARM_UP_S:
                break


def counters(target: Target) -> dict[str, Any]:
    """One call between `cudaProfilerStart` and `cudaProfilerStop`, which Nsight Compute waits for."""
    import torch

    target.warm_up()
    runtime: Any = torch.cuda.cudart()
    target.stopwatch.flush()
    target.stopwatch.synchronize()
    runtime.cudaProfilerStart()
    target.call()
    target.stopwatch.synchronize()
    runtime.cudaProfilerStop()
    return {}


def timeline(target: Target, runs: int = 5) -> dict[str, Any]:
    """Some calls under torch's profiler, each with a cold cache and waited for.

    Returns:
        `runs`: what `_runs` makes of each; `times_ms`: device times of more calls, without the profiler.
    """
    from torch.profiler import ProfilerActivity, profile, record_function

    target.warm_up()
    activities = [ProfilerActivity.CPU] if target.device == "cpu" else [ProfilerActivity.CPU, ProfilerActivity.CUDA]

    def trace(count: int) -> list[dict[str, Any]]:
        # A first profile pays for starting CUPTI, so one is thrown away.
        with profile(activities=activities, acc_events=True) as profiler:
            for _ in range(count):
                target.stopwatch.flush()
                target.stopwatch.synchronize()
                with record_function(_RUN):
                    with record_function(_CALL):
                        target.call()
                    target.stopwatch.synchronize()
        return _runs(profiler.profiler.kineto_results.events())

    first = trace(1)
    events = sum(len(run["events"]) + run["dropped"] for run in first)
    # Where one run has very many events, more of them say nothing new and fill the memory.
    traced = trace(runs) if events * runs < 20 * _MAX_EVENTS else first
    times = target.stopwatch.time_calls(lambda _index: target.call(), 20)[0] if events < _MAX_EVENTS else []
    return {"runs": traced, "times_ms": times, "median_ms": median(times) if times else None}


def _runs(events: list[Any]) -> list[dict[str, Any]]:
    """Sort a trace's events into the runs that they belong to, and sum each run up before events are left out."""
    spans: dict[str, list[tuple[int, int]]] = {_RUN: [], _CALL: []}
    for event in events:
        if event.name() in spans and event.device_type().name == "CPU":
            spans[event.name()].append((event.start_ns(), event.start_ns() + event.duration_ns()))
    operators = {event.correlation_id(): event.name() for event in events if event.name().startswith("aten::")}
    starts = [start for start, _end in sorted(spans[_RUN])]
    found: list[list[list[Any]]] = [[] for _ in starts]
    for event in sorted(events, key=lambda event: event.start_ns()):
        kind, index = _kind(event), bisect.bisect_right(starts, event.start_ns()) - 1
        if kind is None or index < 0:
            continue
        on_device = event.device_type().name != "CPU"
        found[index].append([
            event.name()[:300], kind, (event.start_ns() - starts[index]) / 1e3, event.duration_ns() / 1e3,
            f"stream {event.device_resource_id()}" if on_device else "host",
            int(event.nbytes()) if kind == "memcpy" and event.nbytes() > 0 else None,
            int(event.correlation_id()),
            operators.get(event.linked_correlation_id(), "") if on_device else "",
        ])  # fmt: skip
    runs = []
    for index, ((start, end), (call_start, call_end)) in enumerate(
        zip(sorted(spans[_RUN]), sorted(spans[_CALL]), strict=True)
    ):
        # What the cache flush did before the run still lies before its start; what belongs to the next, after its end.
        inside = [event for event in found[index] if event[2] <= (end - start) / 1e3]
        call_us = (call_end - call_start) / 1e3
        runs.append({"wall_us": (end - start) / 1e3, "call_us": call_us, **_summary(inside, call_us), **_kept(inside)})
    return runs


def _summary(events: list[list[Any]], call_us: float) -> dict[str, Any]:
    """Counts and times of one run: `[name, kind, start, duration, track, bytes, correlation, operator]` each."""
    device = [event for event in events if event[1] in ("kernel", "memcpy", "memset")]
    spans = [(event[2], event[2] + event[3]) for event in device]
    busy = covered(spans)
    kernels: dict[str, list[float]] = {}
    for event in device:
        if event[1] == "kernel":
            kernels.setdefault(event[0], []).append(event[3])
    moving = [event for event in device if event[1] == "memcpy" or event[7] in _MOVING]
    across = [event for event in device if event[1] == "memcpy" and ("HtoD" in event[0] or "DtoH" in event[0])]
    return {
        "busy_us": busy,
        "span_us": max((end for _start, end in spans), default=0.0)
        - min((start for start, _end in spans), default=0.0),
        "launches": sum(event[1] == "kernel" for event in device),
        # The wait at the end of the run is ours.
        "synchronizations": sum(event[1] == "sync" and event[2] < call_us for event in events),
        "host_copies": len(across),
        "device_copies": len(moving) - sum(event in across for event in moving),
        "copy_us": sum(event[3] for event in moving),
        "conversions": sorted({event[0] for event in moving if event not in across})[:20],
        "kernels": {name: [len(times), median(times), sum(times)] for name, times in list(kernels.items())[:200]},
    }


def _kept(events: list[list[Any]]) -> dict[str, Any]:
    """At most so many events; the host's operators are left out first."""
    if len(events) > _MAX_EVENTS:
        kept = [event for event in events if event[1] != "operator"][:_MAX_EVENTS]
        return {"events": kept, "dropped": len(events) - len(kept)}
    return {"events": events, "dropped": 0}


_MOVING = ("aten::copy_", "aten::clone", "aten::contiguous", "aten::_to_copy", "aten::cat")
"""Operators that move or convert data and compute nothing."""
_SYNCHRONIZING = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "hipStreamSynchronize",
                  "hipDeviceSynchronize", "hipEventSynchronize", "cuStreamSynchronize", "cuCtxSynchronize")  # fmt: skip


def _kind(event: Any) -> str | None:
    """What a raw event is, in the words of `DeviceEvent.kind`; None for what is not kept."""
    name = event.name()
    if name.startswith("kernelevolve."):
        return None
    if event.device_type().name != "CPU":
        if name.startswith("Memcpy"):
            return "memcpy"
        if name.startswith("Memset"):
            return "memset"
        return "kernel"
    if name in _SYNCHRONIZING:
        return "sync"
    if name.startswith(("cuda", "cu", "hip")) and any(word in name for word in ("Launch", "Memcpy", "Memset")):
        return "launch"
    return "operator" if name.startswith(("aten::", "triton")) else None


def proton(target: Target, backend: str, output: str, scoped: bool = False) -> dict[str, Any]:
    """Some calls under Triton's profiler, which writes a file of its own.

    Args:
        target: the candidate.
        backend: `cupti`, `roctracer`, or `instrumentation` for scopes inside kernels.
        output: name of the file, without suffix, in the run's folder.
        scoped: whether the source has been given scopes.
    """
    import triton.profiler as profiler

    path = str(target.folder / output)
    if backend == "instrumentation":
        # Kernels must be compiled with the instrumentation on, so it starts before the first call.
        profiler.start(path, backend="instrumentation", data="tree")
        target.call()
        target.stopwatch.synchronize()
        profiler.finalize()
        return {"output": output, "scoped": scoped}
    target.warm_up()
    profiler.start(path, backend=backend, context="shadow", data="tree")
    runs = 10
    for _ in range(runs):
        profiler.deactivate()
        target.stopwatch.flush()
        target.stopwatch.synchronize()
        profiler.activate()
        target.call()
        target.stopwatch.synchronize()
    profiler.finalize()
    return {"output": output, "runs": runs}


def loop(target: Target, seconds: float = 1.0) -> dict[str, Any]:
    """Call for some time, with the tool's counting on for just that stretch (Linux perf)."""
    target.warm_up()
    control = PerfControl.from_environment()
    calls = 0
    control.enable()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or calls < 3:
        target.call()
        calls += 1
    took = time.perf_counter() - began
    control.disable()
    return {"calls": calls, "seconds": took}


_MODES: dict[str, Callable[..., dict[str, Any]]] = {
    "counters": counters,
    "timeline": timeline,
    "proton": proton,
    "loop": loop,
}


def main() -> int:
    """Do what the specification says."""
    path = Path(sys.argv[1])
    specification = json.loads(path.read_text(encoding="utf-8"))
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL: whoever profiles is gone, so is this.
    try:
        target = Target(specification)
        result = {"protection": target.protection, **_MODES[specification["mode"]](target, **specification["options"])}
    except Exception as error:  # noqa: BLE001 - candidates may raise anything; whoever profiles must hear of it
        lines = str(error).strip().splitlines() or [""]
        result = {"failed": f"{type(error).__name__}: {lines[0]}"[:500], "log": traceback.format_exc()[-3000:]}
    path.with_name("result.json").write_text(json.dumps(result), encoding="utf-8")
    return 1 if "failed" in result else 0


if __name__ == "__main__":
    sys.exit(main())
