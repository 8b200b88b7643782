"""Weight-only int8 product: weights travel as bytes and become float16 in registers; the scale waits for the end."""

import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N, BLOCK_K = 16, 64, 64


@triton.jit
def int8_weight_kernel(
    x_ptr, weight_ptr, scale_ptr, out_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_K)

    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + depth
        x_mask = (rows[:, None] < m) & (inner[None, :] < k)
        w_mask = (inner[:, None] < k) & (cols[None, :] < n)
        x = tl.load(x_ptr + rows[:, None].to(tl.int64) * k + inner[None, :], mask=x_mask, other=0.0)
        weight = tl.load(weight_ptr + cols[None, :].to(tl.int64) * k + inner[:, None], mask=w_mask, other=0)
        # -128 … 127 are exact in float16 (and in bfloat16), so this conversion rounds nothing.
        accumulator = tl.dot(x, weight.to(x.dtype), accumulator)

    # The scale belongs to the output channel, the same for all of k: it can be taken out of the sum. That is one
    # multiplication for each output instead of one for each weight. (Scales by groups of k cannot wait: apply them to
    # the partial product of each group.)
    scale = tl.load(scale_ptr + cols, mask=cols < n, other=0.0).to(tl.float32)
    result = accumulator * scale[None, :]
    mask = (rows[:, None] < m) & (cols[None, :] < n)
    offsets = rows[:, None].to(tl.int64) * n + cols[None, :]
    tl.store(out_ptr + offsets, result.to(out_ptr.dtype.element_ty), mask=mask)


def kernel(x, weight, scale):
    x, weight, scale = x.contiguous(), weight.contiguous(), scale.contiguous()
    m, k = x.shape
    n = weight.shape[0]
    out = torch.empty((m, n), dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(m, BLOCK_M), triton.cdiv(n, BLOCK_N))
    int8_weight_kernel[grid](
        x, weight, scale, out, m, n, k, BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, num_warps=4, num_stages=3
    )
    return out
