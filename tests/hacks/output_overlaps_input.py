from kernelevolve.evaluation.finding import Finding

HACK = "Returns a view that starts inside the input's memory, not at its first element."
TASK = """
import torch
LAYOUTS = ["contiguous"]
SPECIAL_VALUES = []
CASES = {"small": {"rows": 8, "cols": 96}, "odd": {"rows": 7, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return x[1:].clone()
"""
LANGUAGE, PLATFORM = "triton", "cuda:sm_90"
HONEST = """
import torch
import triton
import triton.language as tl

@triton.jit
def copy(x_ptr, y_ptr, count, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    tl.store(y_ptr + index, tl.load(x_ptr + index, mask=inside), mask=inside)

def kernel(x):
    rows = x[1:]
    y = torch.empty_like(rows)
    copy[(triton.cdiv(y.numel(), 256),)](rows, y, y.numel(), BLOCK=256)
    return y
"""
CHEAT = HONEST.replace("return y", "return rows")
REFUSED_AS = {Finding.OUTPUT_ALIASES_INPUT}
