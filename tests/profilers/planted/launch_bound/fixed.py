"""Mended: one launch, and the steps are a loop over values in registers."""

import torch
import triton
import triton.language as tl


@triton.jit
def chain_kernel(x_ptr, scale_ptr, shift_ptr, out_ptr, count, steps, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    x = tl.load(x_ptr + index, mask=inside, other=0.0)
    for step in range(steps):
        x = x * tl.load(scale_ptr + step) + tl.load(shift_ptr + step)
        x = tl.where(x > 0.0, x, 0.1 * x)
    tl.store(out_ptr + index, x, mask=inside)


def kernel(x, scale, shift):
    out = torch.empty_like(x)
    grid = (triton.cdiv(x.numel(), 256),)
    chain_kernel[grid](x, scale, shift, out, x.numel(), scale.numel(), BLOCK=256, num_warps=4)
    return out
