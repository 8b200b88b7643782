"""Task files for the tests of `evaluation/tasks`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

FUNCTION = """
import torch

CASES = {"small": {"rows": 4, "cols": 6}, "big": {"rows": 300, "cols": 500, "weight": 2.0, "hidden": True}}

def make_inputs(case):
    return torch.rand(case.rows, case["cols"]), torch.randint(0, 5, (case.rows,)), 2.0

def reference(x, index, factor):
    return x * factor + index[:, None]
"""

MODULE = """
import torch

class Model(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = torch.nn.Linear(features, 3)
        self.register_buffer("steps", torch.zeros(2, dtype=torch.int64))
        self.hidden = torch.randn(3)

    def forward(self, x):
        return self.linear(x) + self.hidden

def get_inputs():
    return [torch.rand(40, 8)]

def get_init_inputs():
    return [8]
"""


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    """Write a task file; extra lines go to its end."""

    def write(text: str = FUNCTION, extra: str = "", name: str = "scale.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n" + textwrap.dedent(extra), encoding="utf-8")
        return path

    return write


@pytest.fixture
def function_text() -> str:
    return FUNCTION


@pytest.fixture
def module_text() -> str:
    return MODULE
