"""Planted: every element finds its place by 64-bit divisions and remainders by sizes known only at run time."""

import torch
import triton
import triton.language as tl

WINDOW = 8


@triton.jit
def window_kernel(x_ptr, out_ptr, count, height, width, channels, window, shift, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    channel = index % channels
    rest = index // channels
    column = rest % window
    rest = rest // window
    row = rest % window
    rest = rest // window
    across = rest % (width // window)
    rest = rest // (width // window)
    down = rest % (height // window)
    batch = rest // (height // window)
    y = (down * window + row + shift) % height
    x = (across * window + column + shift) % width
    source = ((batch * height + y) * width + x) * channels + channel
    tl.store(out_ptr + index, tl.load(x_ptr + source, mask=inside, other=0.0), mask=inside)


def kernel(x):
    _batch, height, width, channels = x.shape
    out = torch.empty(
        (x.numel() // (WINDOW * WINDOW * channels), WINDOW, WINDOW, channels), dtype=x.dtype, device=x.device
    )
    grid = (triton.cdiv(x.numel(), 256),)
    window_kernel[grid](x, out, x.numel(), height, width, channels, WINDOW, WINDOW // 2, BLOCK=256, num_warps=8)
    return out
