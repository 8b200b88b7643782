"""Transposed copy by square tiles: loads run along rows of the input, stores along rows of the output."""

import torch
import triton
import triton.language as tl

BLOCK = 64


@triton.jit
def transpose_kernel(x_ptr, out_ptr, rows, cols, BLOCK: tl.constexpr):
    # 64-bit offsets: the matrix may have more than 2^31 elements.
    lines = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    columns = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)

    # The last dimension of the tile is contiguous in memory, so the compiler spreads lanes along it: wide loads.
    mask = (lines[:, None] < rows) & (columns[None, :] < cols)
    tile = tl.load(x_ptr + lines[:, None] * cols + columns[None, :], mask=mask)

    # Without this the store's lanes would walk down a column, each touching a line of its own. `tl.trans` costs
    # nothing itself; the store then asks for another layout, and the exchange goes through shared memory.
    tile = tl.trans(tile)

    mask = (columns[:, None] < cols) & (lines[None, :] < rows)
    tl.store(out_ptr + columns[:, None] * rows + lines[None, :], tile, mask=mask)


def kernel(x):
    x = x.contiguous()
    rows, cols = x.shape
    out = torch.empty((cols, rows), dtype=x.dtype, device=x.device)
    # On CUDA dimensions 1 and 2 of a grid end at 65535 blocks. For wider matrices number the tiles in dimension 0.
    grid = (triton.cdiv(rows, BLOCK), triton.cdiv(cols, BLOCK))
    transpose_kernel[grid](x, out, rows, cols, BLOCK=BLOCK, num_warps=8)
    return out
