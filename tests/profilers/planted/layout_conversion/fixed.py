"""Mended: the kernel reads and writes the layout in which the tensors lie."""

import torch
import triton
import triton.language as tl


@triton.jit
def scale_shift_silu_kernel(x_ptr, scale_ptr, shift_ptr, out_ptr, channels, length, BLOCK: tl.constexpr):
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.program_id(1)
    inside = position < length
    place = (tl.program_id(2) * channels + channel) * length + position
    x = tl.load(x_ptr + place, mask=inside, other=0.0) * tl.load(scale_ptr + channel) + tl.load(shift_ptr + channel)
    tl.store(out_ptr + place, x / (1.0 + tl.exp(-x)), mask=inside)


def kernel(x, scale, shift):
    batch, channels, length = x.shape
    out = torch.empty_like(x)
    grid = (triton.cdiv(length, 2048), channels, batch)
    scale_shift_silu_kernel[grid](x, scale, shift, out, channels, length, BLOCK=2048, num_warps=4)
    return out
