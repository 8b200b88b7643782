"""Softmax of long rows in two passes: maximum and sum of exponentials together (online), then the result."""

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def online_softmax_kernel(x_ptr, out_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)  # 64 bits: row * cols may pass 2^31
    x_ptr += row * cols
    out_ptr += row * cols
    lanes = tl.arange(0, BLOCK)

    # Each lane keeps a maximum and a sum of its own, so the loop has no reduction across lanes and no barrier.
    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        offsets = start + lanes
        x = tl.load(x_ptr + offsets, mask=offsets < cols, other=float("-inf")).to(tl.float32)
        new = tl.maximum(largest, x)
        # As long as a lane has seen nothing but -inf, `new` is -inf, and -inf - -inf would be NaN.
        shift = tl.where(new == float("-inf"), 0.0, new)
        # What was summed so far was relative to the old maximum: rescale it to the new one.
        total = total * tl.exp(largest - shift) + tl.exp(x - shift)
        largest = new

    # The lanes' sums are relative to different maxima. One rescaling brings them together, once for each row.
    maximum = tl.max(largest, axis=0)
    denominator = tl.sum(total * tl.exp(largest - maximum), axis=0)

    # The second pass goes backwards: what the first read last is the likeliest to be in a cache still.
    for block in range(tl.cdiv(cols, BLOCK) - 1, -1, -1):
        offsets = block * BLOCK + lanes
        mask = offsets < cols
        x = tl.load(x_ptr + offsets, mask=mask, other=float("-inf")).to(tl.float32)
        tl.store(out_ptr + offsets, tl.exp(x - maximum) / denominator, mask=mask)


def kernel(x):
    x = x.contiguous()
    rows, cols = x.shape
    out = torch.empty_like(x)
    online_softmax_kernel[(rows,)](x, out, cols, BLOCK=BLOCK, num_warps=4)
    return out
