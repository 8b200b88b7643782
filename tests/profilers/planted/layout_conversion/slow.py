"""Planted: the kernel wants channels last, so the host transposes the input before it and the output after it."""

import torch
import triton
import triton.language as tl


@triton.jit
def scale_shift_silu_kernel(
    x_ptr, scale_ptr, shift_ptr, out_ptr, rows, channels, BLOCK_ROWS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr
):
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    channel = tl.arange(0, BLOCK_CHANNELS)
    inside = (row[:, None] < rows) & (channel[None, :] < channels)
    place = row[:, None] * channels + channel[None, :]
    scale = tl.load(scale_ptr + channel, mask=channel < channels, other=0.0)
    shift = tl.load(shift_ptr + channel, mask=channel < channels, other=0.0)
    x = tl.load(x_ptr + place, mask=inside, other=0.0) * scale[None, :] + shift[None, :]
    tl.store(out_ptr + place, x / (1.0 + tl.exp(-x)), mask=inside)


def kernel(x, scale, shift):
    batch, channels, length = x.shape
    channels_last = x.permute(0, 2, 1).contiguous()
    out = torch.empty_like(channels_last)
    rows, block_channels = batch * length, triton.next_power_of_2(channels)
    block_rows = max(1, 2048 // block_channels)
    scale_shift_silu_kernel[(triton.cdiv(rows, block_rows),)](
        channels_last, scale, shift, out, rows, channels,
        BLOCK_ROWS=block_rows, BLOCK_CHANNELS=block_channels, num_warps=4,
    )  # fmt: skip
    return out.permute(0, 2, 1).contiguous()
