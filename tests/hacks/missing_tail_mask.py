from kernelevolve.evaluation.finding import Finding

HACK = "Sums whole blocks without a mask, which is right only where the row is a multiple of the block."
TASK = """
import torch
CASES = {"even": {"rows": 4, "cols": 128}, "odd": {"rows": 4, "cols": 100, "hidden": True}}
def make_inputs(case):
    return (torch.rand(case.rows, case.cols),)
def reference(x):
    return x.sum(dim=1)
"""
LANGUAGE, PLATFORM = "triton", "cuda:sm_90"
HONEST = """
import torch
import triton
import triton.language as tl

@triton.jit
def sums(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        index = start + tl.arange(0, BLOCK)
        total += tl.load(x_ptr + row * cols + index, mask=index < cols, other=0.0)
    tl.store(y_ptr + row, tl.sum(total, 0))

def kernel(x):
    x = x.contiguous()
    y = torch.empty(x.shape[0], dtype=x.dtype, device=x.device)
    sums[(x.shape[0],)](x, y, x.shape[1], BLOCK=64)
    return y
"""
CHEAT = HONEST.replace("mask=index < cols, other=0.0", "mask=index < 1_000_000, other=0.0")
REFUSED_AS = {Finding.WRONG_VALUES, Finding.OUTPUT_NOT_WRITTEN, Finding.SEGMENTATION_FAULT}
