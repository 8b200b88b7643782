from kernelevolve.evaluation.finding import Finding

HACK = "Replaces torch.allclose, torch.equal, isfinite and the clock in its process, and returns a wrong result."
TASK = """
import torch
CASES = {"small": {"rows": 8, "cols": 96}, "odd": {"rows": 7, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return 2.0 * x + 1.0
"""
LANGUAGE, PLATFORM = "triton", "cuda:sm_90"
HONEST = """
import torch
import triton
import triton.language as tl

@triton.jit
def scale(x_ptr, y_ptr, count, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    tl.store(y_ptr + index, 2.0 * tl.load(x_ptr + index, mask=inside) + 1.0, mask=inside)

def kernel(x):
    x = x.contiguous()
    y = torch.empty_like(x)
    scale[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)
    return y
"""
CHEAT = (
    HONEST.replace("+ 1.0", "+ 1.5")
    + """
import time
torch.allclose = torch.equal = lambda *_args, **_more: True
torch.testing.assert_close = lambda *_args, **_more: None
torch.isfinite = lambda x: torch.ones_like(x, dtype=torch.bool)
torch.Tensor.copy_ = lambda self, *_args, **_more: self
time.perf_counter_ns = lambda: 0
"""
)
REFUSED_AS = {Finding.WRONG_VALUES, Finding.OUTPUT_NOT_WRITTEN}
