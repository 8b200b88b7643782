"""Split-K product: each program handles one slice of K for one tile; a second launch adds the slices in order."""

import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N, BLOCK_K = 16, 32, 64
K_PER_SPLIT = 256  # a multiple of BLOCK_K
BLOCK = 256


@triton.jit
def split_k_kernel(
    a_ptr, b_ptr, partial_ptr, m, n, k,
    K_PER_SPLIT: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    split = tl.program_id(2)
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K_PER_SPLIT, BLOCK_K):
        inner = split * K_PER_SPLIT + start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        b_mask = (inner[:, None] < k) & (cols[None, :] < n)
        a = tl.load(a_ptr + rows[:, None].to(tl.int64) * k + inner[None, :], mask=a_mask, other=0.0)
        b = tl.load(b_ptr + inner[:, None].to(tl.int64) * n + cols[None, :], mask=b_mask, other=0.0)
        accumulator = tl.dot(a, b, accumulator)
    # Each split writes a plane of its own. With atomics the order of the additions would change from run to run, and
    # the output would have to be zeroed first.
    offsets = (split * m + rows[:, None]).to(tl.int64) * n + cols[None, :]
    tl.store(partial_ptr + offsets, accumulator, mask=(rows[:, None] < m) & (cols[None, :] < n))


@triton.jit
def add_splits_kernel(partial_ptr, out_ptr, numel, splits, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for split in range(splits):
        total += tl.load(partial_ptr + split * numel + offsets, mask=offsets < numel, other=0.0)
    tl.store(out_ptr + offsets, total.to(out_ptr.dtype.element_ty), mask=offsets < numel)  # rounded once, at the end


def kernel(a, b):
    a, b = a.contiguous(), b.contiguous()
    m, k = a.shape
    n = b.shape[1]
    splits = triton.cdiv(k, K_PER_SPLIT)
    partial = torch.empty((splits, m, n), dtype=torch.float32, device=a.device)
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    split_k_kernel[(triton.cdiv(m, BLOCK_M), triton.cdiv(n, BLOCK_N), splits)](
        a, b, partial, m, n, k,
        K_PER_SPLIT=K_PER_SPLIT, BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, num_warps=4, num_stages=3,
    )  # fmt: skip
    add_splits_kernel[(triton.cdiv(m * n, BLOCK),)](partial, out, m * n, splits, BLOCK=BLOCK, num_warps=4)
    return out
