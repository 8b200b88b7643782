"""Mended: one block for each row of a window; a place is found once for all of its elements."""

import torch
import triton
import triton.language as tl

WINDOW = 8


@triton.jit
def window_kernel(
    x_ptr,
    out_ptr,
    height,
    width,
    across,
    CHANNELS: tl.constexpr,
    SHIFT: tl.constexpr,
    WINDOW: tl.constexpr,
    BLOCK: tl.constexpr,
):
    window = tl.program_id(0)
    row = tl.program_id(1)
    batch = tl.program_id(2)
    y = (window // across * WINDOW + row + SHIFT) % height
    first = window % across * WINDOW + SHIFT
    columns = tl.arange(0, WINDOW)
    lanes = tl.arange(0, BLOCK)
    # Only the last window of a row wraps around.
    x = tl.where(first + columns < width, first + columns, first + columns - width)
    source = ((batch.to(tl.int64) * height + y) * width + x[:, None]) * CHANNELS + lanes[None, :]
    inside = (lanes < CHANNELS)[None, :]
    windows = tl.num_programs(0)
    target = (((batch.to(tl.int64) * windows + window) * WINDOW + row) * WINDOW + columns[:, None]) * CHANNELS
    tl.store(out_ptr + target + lanes[None, :], tl.load(x_ptr + source, mask=inside, other=0.0), mask=inside)


def kernel(x):
    batch, height, width, channels = x.shape
    across, down = width // WINDOW, height // WINDOW
    out = torch.empty((batch * across * down, WINDOW, WINDOW, channels), dtype=x.dtype, device=x.device)
    window_kernel[(across * down, WINDOW, batch)](
        x, out, height, width, across, CHANNELS=channels, SHIFT=WINDOW // 2, WINDOW=WINDOW,
        BLOCK=triton.next_power_of_2(channels), num_warps=4,
    )  # fmt: skip
    return out
