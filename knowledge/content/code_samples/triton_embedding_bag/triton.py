"""Embedding bag: gather, scale and pool in one kernel, with many independent row loads in flight."""

import torch
import triton
import triton.language as tl

LOOKUPS = 16  # rows that are asked for at once


@triton.jit
def embedding_bag_kernel(
    table_ptr, indices_ptr, offsets_ptr, weights_ptr, out_ptr, dim, LOOKUPS: tl.constexpr, BLOCK_DIM: tl.constexpr
):
    bag = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_DIM + tl.arange(0, BLOCK_DIM)
    begin = tl.load(offsets_ptr + bag)
    end = tl.load(offsets_ptr + bag + 1)

    sums = tl.zeros((LOOKUPS, BLOCK_DIM), tl.float32)
    for start in range(begin, end, LOOKUPS):
        slots = start + tl.arange(0, LOOKUPS)
        valid = slots < end
        # A lookup is two dependent loads, index then row. Taking many indices at once makes that chain one per
        # LOOKUPS rows instead of one per row.
        index = tl.load(indices_ptr + slots, mask=valid, other=0).to(tl.int64)  # 64 bits: tables pass 2^31 values
        weight = tl.load(weights_ptr + slots, mask=valid, other=0.0).to(tl.float32)
        mask = valid[:, None] & (columns[None, :] < dim)
        # Neighbouring lanes read neighbouring columns of one row: random rows, yet whole cache lines.
        rows = tl.load(table_ptr + index[:, None] * dim + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        sums += rows * weight[:, None]

    pooled = tl.sum(sums, axis=0).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + bag * dim + columns, pooled, mask=columns < dim)


def kernel(table, indices, offsets, weights):
    table, indices = table.contiguous(), indices.contiguous()
    offsets, weights = offsets.contiguous(), weights.contiguous()
    bags, dim = offsets.numel() - 1, table.shape[1]
    out = torch.empty((bags, dim), dtype=table.dtype, device=table.device)
    block_dim = min(128, triton.next_power_of_2(dim))
    embedding_bag_kernel[(bags, triton.cdiv(dim, block_dim))](
        table, indices, offsets, weights, out, dim, LOOKUPS=LOOKUPS, BLOCK_DIM=block_dim, num_warps=4
    )
    return out
