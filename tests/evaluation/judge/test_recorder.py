"""A call cannot put something of its own in the place of the profiler that records it (torch's own, on a processor)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.integrity import shadows
from kernelevolve.evaluation.judge.recorder import Recorder


@pytest.fixture
def recorder() -> Recorder:
    made = cast(Any, object.__new__(Recorder))
    made._profile, made._activity, made._shadows = profile, ProfilerActivity.CPU, shadows
    made._sleep = made._set_stream = lambda _value: None
    made._synchronize = lambda: None
    made.stream = None
    return cast(Recorder, made)


def profiler_on_the_stack() -> Any:
    frame = sys._getframe()
    while frame.f_code.co_name != "record":
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_locals["profiler"]


def outer() -> None:
    profiler_on_the_stack().events = list


def inner() -> None:
    profiler_on_the_stack().profiler.export_chrome_trace = list


def whole() -> None:
    profiler_on_the_stack().profiler = object()


def test_honest_call_is_recorded(recorder: Recorder) -> None:
    assert recorder.record(lambda: torch.ones(3).add(1)) == [], "nothing ran on a GPU"


@pytest.mark.parametrize("call", [outer, inner, whole])
def test_profiler_with_something_else_in_it_is_found(recorder: Recorder, call: Callable[[], None]) -> None:
    with pytest.raises(CandidateError) as raised:
        recorder.record(call)
    assert raised.value.finding is Finding.HARNESS_CHANGED
