"""What a call does on a GPU, as the driver's activity records tell it. Judge and worker each have a recorder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.integrity import shadows

_LEAD_CYCLES = 4_000_000
"""Clock cycles for which the stream is held while a call is launched: about two milliseconds, since the profiler makes
launches of graphs dear, and what the host takes longer shows as time of the call."""

Record = list[Any]
"""Name, stream, beginning and end in microseconds."""


class Recorder:
    """Records the device work of single calls, with a marker before and behind each on the measured stream.

    What it uses is bound when it is made, before any candidate code is loaded. The markers are `spin` kernels: the
    first two tell the measured stream and hold it until the host has launched everything, so that work on a stream
    which does not wait for it begins too early; the last begins only when the measured stream has come to it, so that
    work which nobody waits for ends too late. `device_activity.dissect` reads them.

    Args:
        device: `cuda:N`.
    """

    def __init__(self, device: str) -> None:
        from torch.profiler import ProfilerActivity, profile

        self._profile: Any = profile
        self._activity = ProfilerActivity.CUDA
        self._sleep = torch.cuda._sleep
        self._shadows = shadows
        self._synchronize = torch.cuda.synchronize
        self._set_stream = torch.cuda.set_stream
        self.stream = torch.cuda.current_stream(device)
        """The stream that calls are measured on."""

    def record(self, call: Callable[[], Any]) -> list[Record]:
        """Everything that ran on the device from before a call until nothing was left to run, markers included.

        Raises:
            CandidateError: the call put something of its own in the place of the profiler.
        """
        self._synchronize()
        with self._profile(activities=[self._activity], acc_events=True) as profiler:
            self._set_stream(self.stream)
            inner = profiler.profiler
            self._sleep(1)
            self._sleep(_LEAD_CYCLES)
            call()
            # A candidate that looks up the stack finds this very profiler.
            replaced = self._shadows(profiler, inner)
            if profiler.profiler is not inner:
                profiler.profiler = inner  # It has yet to be stopped.
                replaced.append("inside")
            if replaced:
                raise CandidateError(
                    Finding.HARNESS_CHANGED,
                    f"The candidate put something in the place of the profiler's {', '.join(replaced)}.",
                    "Leave the profiler alone.",
                )
            self._set_stream(self.stream)
            self._sleep(1)
            self._synchronize()
        return [
            [event.name, int(event.device_resource_id), event.time_range.start, event.time_range.end]
            for event in profiler.events()
            if event.device_type.name == "CUDA"
        ]
