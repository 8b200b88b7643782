"""Grouped product in one launch: each program finds its group and tile from the offsets, on the device."""

import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N, BLOCK_K = 32, 64, 32


@triton.jit
def grouped_gemm_kernel(
    x_ptr, weights_ptr, offsets_ptr, out_ptr, groups, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # Tiles are counted group by group, each group rounded up to whole tiles. This walk is over a handful of numbers
    # that all programs read, so it comes out of the cache.
    tile = tl.program_id(0)
    group = 0
    begin = tl.load(offsets_ptr)
    end = tl.load(offsets_ptr + 1)
    tiles = tl.cdiv(end - begin, BLOCK_M)
    while (tile >= tiles) & (group + 1 < groups):
        tile -= tiles.to(tl.int32)
        group += 1
        begin = end
        end = tl.load(offsets_ptr + group + 1)
        tiles = tl.cdiv(end - begin, BLOCK_M)
    if tile < tiles:  # the grid is an upper bound: a few programs have nothing to do
        rows = begin + tile * BLOCK_M + tl.arange(0, BLOCK_M)
        cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
        weight_ptr = weights_ptr + tl.cast(group, tl.int64) * k * n
        accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for start in range(0, k, BLOCK_K):
            inner = start + tl.arange(0, BLOCK_K)
            # Rows end with the group, not with the tile: the next group's rows need another weight.
            x_mask = (rows[:, None] < end) & (inner[None, :] < k)
            w_mask = (inner[:, None] < k) & (cols[None, :] < n)
            x = tl.load(x_ptr + rows[:, None] * k + inner[None, :], mask=x_mask, other=0.0)
            weight = tl.load(weight_ptr + inner[:, None] * n + cols[None, :], mask=w_mask, other=0.0)
            accumulator = tl.dot(x, weight, accumulator)
        mask = (rows[:, None] < end) & (cols[None, :] < n)
        result = accumulator.to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + rows[:, None] * n + cols[None, :], result, mask=mask)


def kernel(x, weights, offsets):
    x, weights, offsets = x.contiguous(), weights.contiguous(), offsets.contiguous()
    groups, k, n = weights.shape
    total = x.shape[0]
    out = torch.empty((total, n), dtype=x.dtype, device=x.device)
    # The lengths stay on the device. Each group rounds up by less than one tile, which bounds the number of tiles
    # without asking for them.
    most_tiles = total // BLOCK_M + groups
    grouped_gemm_kernel[(most_tiles, triton.cdiv(n, BLOCK_N))](
        x, weights, offsets, out, groups, n, k,
        BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out
