"""Linear layer whose bias and GELU are applied to the float32 accumulator: no second kernel, one rounding."""

import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N, BLOCK_K = 64, 64, 32


@triton.jit
def linear_gelu_kernel(
    x_ptr, weight_ptr, bias_ptr, out_ptr, m, n, k, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_K)

    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + depth
        x_mask = (rows[:, None] < m) & (inner[None, :] < k)
        w_mask = (inner[:, None] < k) & (cols[None, :] < n)
        x = tl.load(x_ptr + rows[:, None].to(tl.int64) * k + inner[None, :], mask=x_mask, other=0.0)
        # The weight lies as (n, k), as torch.nn.Linear keeps it. Swapping the index expressions reads it transposed;
        # the fast dimension of the tile is now k, and so is that of memory: loads stay wide.
        weight = tl.load(weight_ptr + cols[None, :].to(tl.int64) * k + inner[:, None], mask=w_mask, other=0.0)
        accumulator = tl.dot(x, weight, accumulator)

    # Only now is the bias read: loaded before the loop it would hold registers all the way through.
    bias = tl.load(bias_ptr + cols, mask=cols < n, other=0.0).to(tl.float32)
    z = accumulator + bias[None, :]
    result = 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))  # the exact GELU, not the tanh approximation

    mask = (rows[:, None] < m) & (cols[None, :] < n)
    offsets = rows[:, None].to(tl.int64) * n + cols[None, :]
    tl.store(out_ptr + offsets, result.to(out_ptr.dtype.element_ty), mask=mask)


def kernel(x, weight, bias):
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    m, k = x.shape
    n = weight.shape[0]
    out = torch.empty((m, n), dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(m, BLOCK_M), triton.cdiv(n, BLOCK_N))
    linear_gelu_kernel[grid](
        x, weight, bias, out, m, n, k, BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, num_warps=4, num_stages=3
    )
    return out
