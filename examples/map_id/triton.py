"""Binary search for a block of ids at a time, with a fixed number of steps, so that no lane waits for another."""

import torch
import triton
import triton.language as tl

BLOCK = 256
STEPS = 20  # enough for tables of 2**20 entries


@triton.jit
def map_id_kernel(ids_ptr, table_ptr, out_ptr, count, entries, BLOCK: tl.constexpr, STEPS: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < count
    ids = tl.load(ids_ptr + offsets, mask=mask, other=0)

    # The first entry that is not below the id lies in [low, high]; every step halves that range.
    low = tl.zeros((BLOCK,), tl.int32)
    high = tl.zeros((BLOCK,), tl.int32) + (entries - 1)
    for _ in range(STEPS):
        middle = (low + high) // 2
        below = tl.load(table_ptr + middle) < ids
        low = tl.where(below, tl.minimum(middle + 1, high), low)
        high = tl.where(below, high, middle)

    found = tl.load(table_ptr + low) == ids
    tl.store(out_ptr + offsets, tl.where(found, low + 1, 0).to(tl.int64), mask=mask)


def kernel(ids, table):
    ids, table = ids.contiguous(), table.contiguous()
    count = ids.numel()
    out = torch.empty_like(ids)
    map_id_kernel[(triton.cdiv(count, BLOCK),)](
        ids, table, out, count, table.numel(), BLOCK=BLOCK, STEPS=STEPS, num_warps=4
    )
    return out
