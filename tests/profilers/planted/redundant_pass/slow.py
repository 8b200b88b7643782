"""Planted: three loops read the row three times. All rows in flight together do not fit into L2."""

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(x_ptr, out_ptr, cols, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * cols
    col = tl.arange(0, BLOCK)

    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        total += tl.load(x_ptr + row + start + col, mask=start + col < cols, other=0.0)
    mean = tl.sum(total, axis=0) / cols

    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        x = tl.load(x_ptr + row + start + col, mask=start + col < cols, other=mean)
        squares += (x - mean) * (x - mean)
    scale = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / cols + eps)

    for start in range(0, cols, BLOCK):
        x = tl.load(x_ptr + row + start + col, mask=start + col < cols, other=0.0)
        tl.store(out_ptr + row + start + col, (x - mean) * scale, mask=start + col < cols)


def kernel(x, eps):
    rows, cols = x.shape
    out = torch.empty_like(x)
    layer_norm_kernel[(rows,)](x, out, cols, eps, BLOCK=2048, num_warps=4)
    return out
