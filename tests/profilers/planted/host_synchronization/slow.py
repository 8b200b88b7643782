"""Planted: the host fetches every maximum, so that the device waits for the host between the rounds."""

import torch
import triton
import triton.language as tl


@triton.jit
def largest_kernel(x_ptr, largest_ptr, count, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + index, mask=index < count, other=0.0)
    tl.atomic_max(largest_ptr, tl.max(tl.abs(x), axis=0), sem="relaxed")


@triton.jit
def round_kernel(x_ptr, out_ptr, largest, next_largest_ptr, count, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    y = tl.load(x_ptr + index, mask=inside, other=0.0) / largest
    y = y * (1.25 - 0.5 * y * y)
    tl.store(out_ptr + index, y, mask=inside)
    tl.atomic_max(next_largest_ptr, tl.max(tl.abs(y), axis=0), sem="relaxed")


def kernel(x, rounds):
    out = torch.empty_like(x)
    # One maximum for each round, a line of the cache apart.
    largest = torch.zeros((rounds + 1, 32), dtype=x.dtype, device=x.device)[:, 0].unbind()
    grid = (triton.cdiv(x.numel(), 4096),)
    largest_kernel[grid](x, largest[0], x.numel(), BLOCK=4096, num_warps=8)
    for number in range(rounds):
        source = x if number == 0 else out
        divisor = largest[number].item()
        round_kernel[grid](source, out, divisor, largest[number + 1], x.numel(), BLOCK=4096, num_warps=8)
    return out
