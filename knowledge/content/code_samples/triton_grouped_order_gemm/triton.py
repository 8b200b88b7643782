"""Matrix product whose programs walk the tiles in narrow groups of rows, so that neighbours share data in the L2."""

import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N, BLOCK_K = 64, 64, 32
GROUP_M = 8


@triton.jit
def grouped_order(tile, tiles_m, tiles_n, GROUP_M: tl.constexpr):
    """Number of a tile → its row and column: GROUP_M rows are finished, column by column, before the next ones."""
    tiles_in_group = GROUP_M * tiles_n
    first_row = (tile // tiles_in_group) * GROUP_M
    height = tl.minimum(tiles_m - first_row, GROUP_M)  # the last group may be lower
    within = tile % tiles_in_group
    return first_row + within % height, within // height


@triton.jit
def gemm_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    # A one-dimensional grid: programs start roughly in the order of their ids, so those that run together are the
    # ones with neighbouring ids. With grid (tiles_m, tiles_n) they would share one factor only.
    tile_m, tile_n = grouped_order(tl.program_id(0), tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N), GROUP_M)
    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_K)
    # Rows and columns beyond the edge wrap around: loads stay in bounds without a mask, what they give is not stored.
    a_ptrs = a_ptr + (rows % m)[:, None].to(tl.int64) * k + depth[None, :]
    b_ptrs = b_ptr + depth[:, None].to(tl.int64) * n + (cols % n)[None, :]

    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, k, BLOCK_K):
        a = tl.load(a_ptrs, mask=depth[None, :] < k - start, other=0.0)
        b = tl.load(b_ptrs, mask=depth[:, None] < k - start, other=0.0)
        accumulator = tl.dot(a, b, accumulator)
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K * n

    mask = (rows[:, None] < m) & (cols[None, :] < n)
    offsets = rows[:, None].to(tl.int64) * n + cols[None, :]
    tl.store(out_ptr + offsets, accumulator.to(out_ptr.dtype.element_ty), mask=mask)


def kernel(a, b):
    a, b = a.contiguous(), b.contiguous()
    m, k = a.shape
    n = b.shape[1]
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    grid = (triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N),)
    gemm_kernel[grid](
        a, b, out, m, n, k,
        BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, GROUP_M=GROUP_M, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out
