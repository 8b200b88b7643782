"""One program for each row: a pass for the sum of squares, then a pass over both halves."""

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def rmsnorm_swiglu_kernel(x_ptr, weight_ptr, out_ptr, cols, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    half = cols // 2
    x_ptr += row * cols
    out_ptr += row * half
    lanes = tl.arange(0, BLOCK)

    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        offsets = start + lanes
        x = tl.load(x_ptr + offsets, mask=offsets < cols, other=0.0).to(tl.float32)
        squares += x * x
    scale = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / cols + eps)

    for start in range(0, half, BLOCK):
        offsets = start + lanes
        mask = offsets < half
        gate = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        gate = gate * scale * tl.load(weight_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        up = tl.load(x_ptr + half + offsets, mask=mask, other=0.0).to(tl.float32)
        up = up * scale * tl.load(weight_ptr + half + offsets, mask=mask, other=0.0).to(tl.float32)
        tl.store(out_ptr + offsets, gate / (1.0 + tl.exp(-gate)) * up, mask=mask)


def kernel(x, weight, eps):
    x, weight = x.contiguous(), weight.contiguous()
    rows, cols = x.shape
    out = torch.empty((rows, cols // 2), dtype=x.dtype, device=x.device)
    rmsnorm_swiglu_kernel[(rows,)](x, weight, out, cols, eps, BLOCK=BLOCK, num_warps=4)
    return out
