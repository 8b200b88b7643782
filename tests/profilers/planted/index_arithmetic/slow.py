"""Planted: every element finds its place by 64-bit divisions and remainders by sizes known only at run time."""

import torch
import triton
import triton.language as tl


@triton.jit
def split_kernel(x_ptr, out_ptr, count, batches, length, heads, depth, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    column = index % depth
    rest = index // depth
    position = rest % length
    rest = rest // length
    head = rest % heads
    rest = rest // heads
    batch = rest % batches
    which = rest // batches
    source = (((batch * length + position) * 3 + which) * heads + head) * depth + column
    tl.store(out_ptr + index, tl.load(x_ptr + source, mask=inside, other=0.0), mask=inside)


def kernel(x):
    batches, length, _, heads, depth = x.shape
    out = torch.empty((3, batches, heads, length, depth), dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(x.numel(), 256),)
    split_kernel[grid](x, out, x.numel(), batches, length, heads, depth, BLOCK=256, num_warps=8)
    return out
