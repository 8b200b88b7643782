"""One program for each row, three passes over it: mean, variance, result."""

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, cols, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * cols
    out_ptr += row * cols
    lanes = tl.arange(0, BLOCK)

    sums = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        offsets = start + lanes
        sums += tl.load(x_ptr + offsets, mask=offsets < cols, other=0.0).to(tl.float32)
    mean = tl.sum(sums, axis=0) / cols

    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        offsets = start + lanes
        x = tl.load(x_ptr + offsets, mask=offsets < cols, other=0.0).to(tl.float32)
        centred = tl.where(offsets < cols, x - mean, 0.0)
        squares += centred * centred
    scale = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / cols + eps)

    for start in range(0, cols, BLOCK):
        offsets = start + lanes
        mask = offsets < cols
        x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        tl.store(out_ptr + offsets, (x - mean) * scale * weight + bias, mask=mask)


def kernel(x, weight, bias, eps):
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    rows, cols = x.shape
    out = torch.empty_like(x)
    layer_norm_kernel[(rows,)](x, weight, bias, out, cols, eps, BLOCK=BLOCK, num_warps=4)
    return out
