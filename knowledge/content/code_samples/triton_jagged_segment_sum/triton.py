"""Sum of jagged segments by offsets: one program owns one segment × one block of columns, so no atomics are needed."""

import torch
import triton
import triton.language as tl

BLOCK_ROWS = 16


@triton.jit
def segment_sum_kernel(values_ptr, offsets_ptr, out_ptr, dim, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    segment = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)
    # The bounds are read on the device. Reading them on the host would wait for the GPU, and a dense padded copy
    # would read memory that holds nothing.
    begin = tl.load(offsets_ptr + segment)
    end = tl.load(offsets_ptr + segment + 1)

    # Several rows a step keep more loads in flight than one at a time; their sum waits until after the loop.
    sums = tl.zeros((BLOCK_ROWS, BLOCK_COLS), tl.float32)
    for start in range(begin, end, BLOCK_ROWS):
        rows = start + tl.arange(0, BLOCK_ROWS)
        mask = (rows[:, None] < end) & (columns[None, :] < dim)
        sums += tl.load(values_ptr + rows[:, None] * dim + columns[None, :], mask=mask, other=0.0).to(tl.float32)

    # An empty segment never enters the loop and stores zeros, so the output needs no memset.
    result = tl.sum(sums, axis=0).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + segment * dim + columns, result, mask=columns < dim)


def kernel(values, offsets):
    values, offsets = values.contiguous(), offsets.contiguous()
    segments, dim = offsets.numel() - 1, values.shape[1]
    out = torch.empty((segments, dim), dtype=values.dtype, device=values.device)
    block_cols = min(128, triton.next_power_of_2(dim))
    # Segments lie in dimension 0 of the grid: on CUDA it is the only one that may be larger than 65535.
    segment_sum_kernel[(segments, triton.cdiv(dim, block_cols))](
        values, offsets, out, dim, BLOCK_ROWS=BLOCK_ROWS, BLOCK_COLS=block_cols, num_warps=4
    )
    return out
