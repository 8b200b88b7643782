"""Histogram with privatised counts: each program counts by itself first, then adds what it has with few atomics."""

import torch
import triton
import triton.language as tl

BLOCK = 1024
BLOCKS_PER_PROGRAM = 4


@triton.jit
def histogram_kernel(
    ids_ptr, counts_ptr, numel, bins, BINS: tl.constexpr, BLOCK: tl.constexpr, BLOCKS_PER_PROGRAM: tl.constexpr
):
    first = tl.program_id(0).to(tl.int64) * BLOCK * BLOCKS_PER_PROGRAM
    counts = tl.zeros((BINS,), tl.int32)
    for step in range(BLOCKS_PER_PROGRAM):
        offsets = first + step * BLOCK + tl.arange(0, BLOCK)
        # Lanes beyond the end count into a bin that nobody stores. BINS is greater than `bins`, so there is one.
        ids = tl.load(ids_ptr + offsets, mask=offsets < numel, other=BINS - 1)
        counts += tl.histogram(ids.to(tl.int32), BINS)

    # One atomic for each bin and program instead of one for each id. Bins that are zero are left out. Integer addition
    # gives the same result in any order, so this is deterministic; with floats it would not be.
    bin_ids = tl.arange(0, BINS)
    tl.atomic_add(counts_ptr + bin_ids, counts, mask=(bin_ids < bins) & (counts > 0), sem="relaxed")


def kernel(ids, bins):
    ids = ids.contiguous()
    counts = torch.zeros((bins,), dtype=torch.int32, device=ids.device)  # atomics add to what is there
    block_bins = triton.next_power_of_2(bins + 1)
    grid = (triton.cdiv(ids.numel(), BLOCK * BLOCKS_PER_PROGRAM),)
    histogram_kernel[grid](
        ids, counts, ids.numel(), bins,
        BINS=block_bins, BLOCK=BLOCK, BLOCKS_PER_PROGRAM=BLOCKS_PER_PROGRAM, num_warps=4,
    )  # fmt: skip
    return counts
