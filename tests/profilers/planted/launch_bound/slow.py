"""Planted: one launch for each step, each a microsecond of work."""

import torch
import triton
import triton.language as tl


@triton.jit(do_not_specialize=["step"])
def step_kernel(x_ptr, scale_ptr, shift_ptr, out_ptr, count, step, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    x = tl.load(x_ptr + index, mask=inside, other=0.0)
    x = x * tl.load(scale_ptr + step) + tl.load(shift_ptr + step)
    tl.store(out_ptr + index, tl.where(x > 0.0, x, 0.1 * x), mask=inside)


def kernel(x, scale, shift):
    out = torch.empty_like(x)
    grid = (triton.cdiv(x.numel(), 256),)
    for step in range(scale.numel()):
        step_kernel[grid](x if step == 0 else out, scale, shift, out, x.numel(), step, BLOCK=256, num_warps=4)
    return out
