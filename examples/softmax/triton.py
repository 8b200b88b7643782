"""One program for each row, three passes over it: maximum, sum of exponentials, result."""

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def softmax_kernel(x_ptr, out_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * cols
    out_ptr += row * cols
    lanes = tl.arange(0, BLOCK)

    # `tl.maximum` may pass over a NaN. That does no harm: exp(NaN - maximum) is NaN, and so are the sum and the row.
    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    for start in range(0, cols, BLOCK):
        offsets = start + lanes
        x = tl.load(x_ptr + offsets, mask=offsets < cols, other=float("-inf")).to(tl.float32)
        largest = tl.maximum(largest, x)
    maximum = tl.max(largest, axis=0)

    sums = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        offsets = start + lanes
        x = tl.load(x_ptr + offsets, mask=offsets < cols, other=float("-inf")).to(tl.float32)
        sums += tl.exp(x - maximum)
    total = tl.sum(sums, axis=0)

    for start in range(0, cols, BLOCK):
        offsets = start + lanes
        x = tl.load(x_ptr + offsets, mask=offsets < cols, other=float("-inf")).to(tl.float32)
        tl.store(out_ptr + offsets, tl.exp(x - maximum) / total, mask=offsets < cols)


def kernel(x):
    x = x.contiguous()
    rows, cols = x.shape
    out = torch.empty_like(x)
    softmax_kernel[(rows,)](x, out, cols, BLOCK=BLOCK, num_warps=4)
    return out
