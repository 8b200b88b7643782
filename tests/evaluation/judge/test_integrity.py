"""Replaced functions are named, and only those."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from kernelevolve.evaluation.judge.integrity import shadows, watch


class Measures:
    def now(self) -> int:
        return time.perf_counter_ns()


def test_nothing_was_replaced() -> None:
    changed = watch(Measures)
    torch.empty(3).clone().fill_(1)
    assert changed() == []


def test_replaced_functions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = watch(Measures)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 0)
    monkeypatch.setattr(Measures, "now", lambda self: 0)
    monkeypatch.setattr(torch.cuda.Event, "elapsed_time", lambda self, other: 1e-6)
    assert set(changed()) == {"time.perf_counter_ns", "Measures.now", "torch.cuda.Event.elapsed_time"}


def test_method_hidden_by_an_attribute_of_one_object_is_named() -> None:
    tool = Measures()
    changed = watch(Measures, tools=(tool,))
    assert changed() == []
    vars(tool)["now"] = lambda: 0
    assert changed() == ["Measures.now of one object"]


def test_replaced_attribute_of_one_object_is_named() -> None:
    tool = Measures()
    vars(tool)["elapsed"] = time.perf_counter_ns
    changed = watch(tools=(tool,))
    vars(tool)["elapsed"] = lambda: 0
    assert changed() == ["Measures.elapsed of one object"]
    del vars(tool)["elapsed"]
    assert changed() == ["Measures.elapsed of one object"]


def test_only_attributes_that_hide_a_method_are_named() -> None:
    tool = Measures()
    vars(tool)["value"] = 3
    assert shadows(tool) == []
    vars(tool)["now"] = lambda: 0
    assert shadows(Measures(), tool) == ["Measures.now of one object"]


def test_replaced_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = watch(Measures)

    def now(self: object) -> int:
        return 0

    monkeypatch.setattr(Measures.now, "__code__", now.__code__)
    assert changed() == ["Measures.now"]


def test_importing_a_compiler_replaces_nothing() -> None:
    script = (
        "from kernelevolve.evaluation.judge.integrity import shadows, watch\nimport torch\nchanged = watch()\n"
        "import torch._dynamo\nimport triton\n"
        "torch.compile(lambda x: x + 1, backend='eager')(torch.ones(3))\nassert changed() == [], changed()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
