"""Mended: the row is read once and stays in registers."""

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(x_ptr, out_ptr, cols, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * cols
    col = tl.arange(0, BLOCK)
    inside = col < cols

    x = tl.load(x_ptr + row + col, mask=inside, other=0.0)
    mean = tl.sum(x, axis=0) / cols
    shifted = tl.where(inside, x - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(shifted * shifted, axis=0) / cols + eps)
    tl.store(out_ptr + row + col, shifted * scale, mask=inside)


def kernel(x, eps):
    rows, cols = x.shape
    out = torch.empty_like(x)
    layer_norm_kernel[(rows,)](x, out, cols, eps, BLOCK=triton.next_power_of_2(cols), num_warps=16)
    return out
