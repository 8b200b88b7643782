"""From a call in the worker to the judge's word on its device work, with records made up in the driver's place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from triton.runtime.jit import JITFunction

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import conduct as conducting
from kernelevolve.evaluation.judge.channel import Channel
from kernelevolve.evaluation.judge.check import Desk
from kernelevolve.evaluation.judge.conduct import Conduct
from kernelevolve.evaluation.judge.handle import WorkerHandle
from kernelevolve.evaluation.judge.own_work import muted
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.judge.worker import _Worker
from kernelevolve.evaluation.language import Artifact, EntryPoint
from kernelevolve.evaluation.tasks.loading import load_task

SPIN = "spin_kernel(long)"
LARGEST = 8 * 96
"""Elements of the larger case of `scale_task`."""


class MadeUp:
    """Lets a call run, and records the kernels it names in `ran`."""

    def __init__(self, ran: list[str]) -> None:
        self.ran = ran

    def record(self, call: Callable[[], Any]) -> list[Any]:
        self.ran.clear()
        call()
        kernels, at = [], 510.0
        for name in self.ran:
            name, _colon, us = name.partition(": ")
            kernels.append([name, 7, at, at + float(us or 1)])
            at += float(us or 1)
        return [[SPIN, 7, 0.0, 1.0], [SPIN, 7, 2.0, 500.0], *kernels, [SPIN, 7, 900.0, 901.0]]


class Here:
    """A worker in this process."""

    def __init__(self, entry: Callable[..., Any], ran: list[str]) -> None:
        self.worker = _Worker(cast(Channel, None), "cpu")
        self.worker._artifact = Artifact(language="triton", entry=EntryPoint.FUNCTION, writes_outputs=False)
        self.worker._entry = entry
        self.worker._recorder = cast(Any, MadeUp(ran))

    def ask(self, do: str, limit_s: float, descriptors: Any = (), **arguments: Any) -> dict[str, Any]:
        # A worker has descriptors of its own, which it closes.
        return self.worker.handle({"do": do, **arguments}, tuple(map(os.dup, descriptors)))

    def close(self) -> None:
        self.worker._muting.close()


@pytest.fixture
def state(scale_task: Path) -> TaskState:
    return TaskState(load_task(str(scale_task)), "cpu", b"s" * 32, 1 << 20)


def judged(state: TaskState, make: Callable[[list[str]], Callable[..., Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is said of a candidate whose calls name their kernels, once it was warmed up."""
    ran: list[str] = []
    monkeypatch.setattr(conducting, "Recorder", lambda device: MadeUp(ran))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    here = Here(make(ran), ran)
    worker, desk = cast(WorkerHandle, here), Desk("cpu")
    notes: list[str] = []
    conduct = Conduct(state, desk, worker, 5.0, frozenset({"scale"}), True, notes)
    case = state.task.cases[0]
    try:
        inputs, expected = state.inputs_and_expected(case, "float32", "timed")
        placed = conducting.checking.lay_out(state, desk, worker, inputs, "float32", conducting.Layout.CONTIGUOUS, 5.0)
        form = conducting.checking.output_form(expected)
        here.ask("prepare", 5.0, inputs=placed.description, outputs=form, copies=2)
        return conduct.device_work(case, "float32", 1.0, lambda: ran.extend(["at::native::mul", "at::native::add"]))
    finally:
        desk.close()


def honest(ran: list[str]) -> Callable[..., Any]:
    def kernel(x: torch.Tensor) -> torch.Tensor:
        ran.append("scale")
        return 2.0 * x + 1.0

    return kernel


def cached(ran: list[str]) -> Callable[..., Any]:
    known: dict[float, torch.Tensor] = {}

    def kernel(x: torch.Tensor) -> torch.Tensor:
        ran.append("checksum")
        key = float(x.sum())
        if key not in known:
            ran.append("scale")
            known[key] = 2.0 * x + 1.0
        return known[key]

    return kernel


def found_on_the_device(ran: list[str]) -> Callable[..., Any]:
    known: set[float] = set()

    def kernel(x: torch.Tensor) -> torch.Tensor:
        key = float(x.sum())
        ran.append("scale: 3" if key in known else "scale: 9")
        known.add(key)
        return 2.0 * x + 1.0

    return kernel


def stale(ran: list[str]) -> Callable[..., Any]:
    known: list[torch.Tensor] = []

    def kernel(x: torch.Tensor) -> torch.Tensor:
        ran.append("scale")
        known.append(2.0 * x + 1.0)
        return known[0]

    return kernel


def torch_alone(ran: list[str]) -> Callable[..., Any]:
    def kernel(x: torch.Tensor) -> torch.Tensor:
        ran.extend(["at::native::mul", "at::native::add"])
        return 2.0 * x + 1.0

    return kernel


@pytest.mark.parametrize(
    ("make", "finding"),
    [
        (honest, None),
        (cached, Finding.KERNELS_CHANGE),
        (found_on_the_device, Finding.ANSWER_REUSED),
        (stale, Finding.WRONG_AFTER_TIMING),
        (torch_alone, Finding.BORROWED_KERNELS),
    ],
)
def test_what_is_said(
    state: TaskState, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any], finding: Finding | None
) -> None:
    diagnosis = judged(state, make, monkeypatch)
    assert (diagnosis.finding if diagnosis is not None else None) is finding, diagnosis


def test_machine_that_shows_nothing_is_no_excuse(state: TaskState, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(MadeUp):
        def record(self, call: Callable[[], Any]) -> list[Any]:
            return []

    monkeypatch.setattr(conducting, "Recorder", lambda device: Blind([]))
    conduct = Conduct(state, Desk("cpu"), cast(WorkerHandle, None), 5.0, None, False, [])
    diagnosis = conduct.device_work(state.task.cases[0], "float32", 1.0, lambda: None)
    assert diagnosis is not None
    assert diagnosis.finding is Finding.NOT_CHECKABLE


def launched(ran: list[str], name: str) -> bool:
    """What a launch by Triton does: nothing where launches are left out."""
    if JITFunction.run.__name__ == "nothing":
        return False
    ran.append(name)
    return True


def launches(ran: list[str]) -> Callable[..., Any]:
    def kernel(x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x + 1.0 if launched(ran, "scale") else torch.zeros_like(x)

    return kernel


def decorates(ran: list[str]) -> Callable[..., Any]:
    def kernel(x: torch.Tensor) -> torch.Tensor:
        launched(ran, "scale")
        return 2.0 * x + 1.0

    return kernel


def decorates_where_it_is_large(ran: list[str]) -> Callable[..., Any]:
    def kernel(x: torch.Tensor) -> torch.Tensor:
        ran_it = launched(ran, "scale")
        return 2.0 * x + 1.0 if ran_it or x.numel() == LARGEST else torch.zeros_like(x)

    return kernel


def replays(ran: list[str], works: bool = True) -> Callable[..., Any]:
    """A graph that holds a kernel of its own, unless that was left out when it was made."""
    graph: list[bool] = []

    def kernel(x: torch.Tensor) -> torch.Tensor:
        if not graph:
            graph.append(launched([], "scale"))
        ran.extend(["scale"] * graph[0])
        return 2.0 * x + 1.0 if graph[0] or not works else torch.zeros_like(x)

    return kernel


def replays_decoration(ran: list[str]) -> Callable[..., Any]:
    return replays(ran, works=False)


def named_like_its_own(ran: list[str]) -> Callable[..., Any]:
    def kernel(x: torch.Tensor) -> torch.Tensor:
        ran.append("scale")  # A library's, which Triton did not launch.
        return 2.0 * x + 1.0

    return kernel


@pytest.mark.parametrize(
    ("make", "finding"),
    [
        (launches, None),
        (decorates, Finding.BORROWED_KERNELS),
        (decorates_where_it_is_large, Finding.BORROWED_KERNELS),
        (replays, None),
        (replays_decoration, Finding.BORROWED_KERNELS),
        (named_like_its_own, Finding.BORROWED_KERNELS),
    ],
)
def test_whether_kernels_matter(
    state: TaskState, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any], finding: Finding | None
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(Conduct, "_can_be_muted", lambda self: True)
    ran: list[str] = []

    def muted_worker() -> WorkerHandle:
        other = Here(make(ran), ran)
        other.worker._muting.enter_context(muted())
        return cast(WorkerHandle, other)

    here, desk = Here(make(ran), ran), Desk("cpu")
    here.worker._entry(torch.ones(3))  # type: ignore[misc]  # As the calls before have: a graph is made.
    own = frozenset({"scale"})
    conduct = Conduct(state, desk, cast(WorkerHandle, here), 5.0, own, True, [], muted_worker)
    try:
        diagnosis = conduct.kernels_matter(state.task.cases, "float32")
    finally:
        desk.close()
    assert (diagnosis.finding if diagnosis is not None else None) is finding, diagnosis
    assert JITFunction.run.__name__ != "nothing"


def test_no_other_process_is_no_excuse(state: TaskState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(Conduct, "_can_be_muted", lambda self: True)
    ran: list[str] = []
    here, desk = Here(named_like_its_own(ran), ran), Desk("cpu")
    conduct = Conduct(state, desk, cast(WorkerHandle, here), 5.0, frozenset({"scale"}), True, [])
    try:
        with pytest.raises(PlatformError):
            conduct.kernels_matter(state.task.cases, "float32")
    finally:
        desk.close()
