"""One program for each tile of output channels × positions of one sample; a small matrix product for each tap."""

import torch
import triton
import triton.language as tl

BLOCK_COUT = 32
BLOCK_LENGTH = 256
BLOCK_CIN = 32


@triton.jit
def conv1d_kernel(
    x_ptr, filters_ptr, bias_ptr, out_ptr, cin, cout, length, positions, taps,
    BLOCK_COUT: tl.constexpr, BLOCK_LENGTH: tl.constexpr, BLOCK_CIN: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * BLOCK_COUT + tl.arange(0, BLOCK_COUT)
    where = tl.program_id(2) * BLOCK_LENGTH + tl.arange(0, BLOCK_LENGTH)
    depth = tl.arange(0, BLOCK_CIN)
    x_ptr += sample * cin * length
    out_ptr += sample * cout * positions

    accumulator = tl.zeros((BLOCK_COUT, BLOCK_LENGTH), tl.float32)
    for start in range(0, cin, BLOCK_CIN):
        inner = start + depth
        filter_mask = (channels[:, None] < cout) & (inner[None, :] < cin)
        x_mask = (inner[:, None] < cin) & (where[None, :] < positions)
        for tap in range(taps):
            filter_offsets = (channels[:, None] * cin + inner[None, :]) * taps + tap
            filters = tl.load(filters_ptr + filter_offsets, mask=filter_mask, other=0.0, eviction_policy="evict_first")
            x = tl.load(x_ptr + inner[:, None] * length + where[None, :] + tap, mask=x_mask, other=0.0)
            # "ieee" keeps float32 exact (the default on NVIDIA is TF32) and changes nothing for 16 bits.
            accumulator = tl.dot(filters, x, accumulator, input_precision="ieee")

    bias = tl.load(bias_ptr + channels, mask=channels < cout, other=0.0).to(tl.float32)
    mask = (channels[:, None] < cout) & (where[None, :] < positions)
    tl.store(out_ptr + channels[:, None] * positions + where[None, :], accumulator + bias[:, None], mask=mask)


def kernel(x, filters, bias):
    x, filters, bias = x.contiguous(), filters.contiguous(), bias.contiguous()
    batch, cin, length = x.shape
    cout, _, taps = filters.shape
    positions = length - taps + 1
    out = torch.empty((batch, cout, positions), dtype=x.dtype, device=x.device)
    grid = (batch, triton.cdiv(cout, BLOCK_COUT), triton.cdiv(positions, BLOCK_LENGTH))
    conv1d_kernel[grid](
        x, filters, bias, out, cin, cout, length, positions, taps,
        BLOCK_COUT=BLOCK_COUT, BLOCK_LENGTH=BLOCK_LENGTH, BLOCK_CIN=BLOCK_CIN, num_warps=2, num_stages=2,
    )  # fmt: skip
    return out
