"""Mended: each dimension has an axis of the grid or of the tile, so that nothing is divided."""

import torch
import triton
import triton.language as tl


@triton.jit
def split_kernel(x_ptr, out_ptr, batches, length, heads, depth, BLOCK_LENGTH: tl.constexpr, BLOCK_DEPTH: tl.constexpr):
    position = tl.program_id(0) * BLOCK_LENGTH + tl.arange(0, BLOCK_LENGTH)[:, None]
    head = tl.program_id(1)
    batch = tl.program_id(2)
    column = tl.arange(0, BLOCK_DEPTH)[None, :]
    inside = (position < length) & (column < depth)
    for which in tl.static_range(3):
        source = (((batch * length + position) * 3 + which) * heads + head) * depth + column
        target = (((which * batches + batch) * heads + head) * length + position) * depth + column
        tl.store(out_ptr + target, tl.load(x_ptr + source, mask=inside, other=0.0), mask=inside)


def kernel(x):
    batches, length, _, heads, depth = x.shape
    out = torch.empty((3, batches, heads, length, depth), dtype=x.dtype, device=x.device)
    block_depth = triton.next_power_of_2(depth)
    block_length = max(1, 1024 // block_depth)
    grid = (triton.cdiv(length, block_length), heads, batches)
    split_kernel[grid](
        x, out, batches, length, heads, depth, BLOCK_LENGTH=block_length, BLOCK_DEPTH=block_depth, num_warps=4
    )
    return out
