"""What honest kernels use and Triton's interpreter does not do as its compiler does."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelevolve.evaluation.finding import Finding, Status
from tests.conftest import Give

TASK = """
import torch
CASES = {"even": {"count": 256}, "odd": {"count": 77}}
SPECIAL_VALUES = False
LAYOUTS = ("contiguous",)
def make_inputs(case):
    return (torch.randn(case.count),)
def reference(x):
    return FORMULA
"""
KERNEL = """import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

@triton.jit
def each(x_ptr, y_ptr, count, factor, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = MASK
    x = tl.load(x_ptr + index, mask=mask, other=0.0)
    tl.store(y_ptr + index, VALUE, mask=mask)

def kernel(x):
    y = torch.empty_like(x)
    each[(triton.cdiv(x.numel(), 64),)](x, y, x.numel(), 0.1, BLOCK=64)
    return y
"""
CASES = {
    "and": ("x", "(index >= 0) and (index < count)", "x"),
    "or and not": ("x", "not ((index < 0) or (index >= count))", "x"),
    "a float with .to": ("0.1 * x", "index < count", "factor.to(tl.float32) * x"),
    "tanh": ("torch.tanh(x)", "index < count", "libdevice.tanh(x)"),
    "pow": ("torch.pow(x.abs(), 1.5)", "index < count", "libdevice.pow(tl.abs(x), 1.5)"),
    "isnan": ("torch.zeros_like(x)", "index < count", "tl.where(libdevice.isnan(x), 1.0, 0.0)"),
}


def judged(give: Give, folder: Path, formula: str, mask: str, value: str):  # type: ignore[no-untyped-def]
    task = folder / "task.py"
    task.write_text(TASK.replace("FORMULA", formula))
    return give(KERNEL.replace("MASK", mask).replace("VALUE", value), "triton", task=task).platforms[0]


@pytest.mark.parametrize("name", CASES)
def test_an_honest_kernel_is_accepted(give: Give, tmp_path: Path, name: str) -> None:
    formula, mask, value = CASES[name]
    entry = judged(give, tmp_path, formula, mask, value)
    assert entry.status is Status.CORRECT, entry.diagnosis


def test_a_function_that_is_missing_is_no_fault_of_the_candidate(give: Give, tmp_path: Path) -> None:
    entry = judged(give, tmp_path, "x", "index < count", "libdevice.rnorm3d(x, x, x)")
    assert entry.diagnosis is not None
    assert entry.diagnosis.finding is Finding.NOT_CHECKABLE
