"""Mended: neighbouring lanes take neighbouring columns of one row."""

import torch
import triton
import triton.language as tl


@triton.jit
def silu_scale_kernel(x_ptr, scale_ptr, out_ptr, rows, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = col < cols
    place = row * cols + col
    x = tl.load(x_ptr + place, mask=inside, other=0.0)
    result = x / (1.0 + tl.exp(-x)) * tl.load(scale_ptr + col, mask=inside, other=0.0)
    tl.store(out_ptr + place, result, mask=inside)


def kernel(x, scale):
    rows, cols = x.shape
    out = torch.empty_like(x)
    grid = (rows, triton.cdiv(cols, 1024))
    silu_scale_kernel[grid](x, scale, out, rows, cols, BLOCK=1024, num_warps=4)
    return out
