"""Prefix sum over many blocks, reduce-then-scan: sums of blocks, a scan of those sums, then the scan of each block."""

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def block_sums_kernel(x_ptr, sums_ptr, numel, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < numel, other=0)
    tl.store(sums_ptr + tl.program_id(0), tl.sum(x, axis=0))


@triton.jit
def scan_sums_kernel(sums_ptr, blocks, BLOCK: tl.constexpr):
    # One program is enough: there are BLOCK times fewer sums than elements. It works in place and carries on.
    lanes = tl.arange(0, BLOCK)
    carry = tl.zeros((), tl.int64)
    for start in range(0, blocks, BLOCK):
        mask = start + lanes < blocks
        sums = tl.load(sums_ptr + start + lanes, mask=mask, other=0)
        # Inclusive minus the element itself is exclusive: exact for integers, not for floats.
        tl.store(sums_ptr + start + lanes, carry + tl.cumsum(sums, axis=0) - sums, mask=mask)
        carry += tl.sum(sums, axis=0)


@triton.jit
def scan_blocks_kernel(x_ptr, sums_ptr, out_ptr, numel, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < numel, other=0)
    before = tl.load(sums_ptr + tl.program_id(0))
    # Written one place further on, the inclusive scan is the exclusive one, with the total in the last entry.
    tl.store(out_ptr + 1 + offsets, before + tl.cumsum(x, axis=0), mask=offsets < numel)
    tl.store(out_ptr + offsets, tl.zeros((BLOCK,), tl.int64), mask=offsets == 0)


def kernel(lengths):
    lengths = lengths.contiguous()
    numel = lengths.numel()
    blocks = triton.cdiv(numel, BLOCK)
    sums = torch.empty((blocks,), dtype=torch.int64, device=lengths.device)
    out = torch.empty((numel + 1,), dtype=torch.int64, device=lengths.device)
    # Three launches in one stream: each begins when the one before has ended, so no block ever waits for another.
    block_sums_kernel[(blocks,)](lengths, sums, numel, BLOCK=BLOCK, num_warps=4)
    scan_sums_kernel[(1,)](sums, blocks, BLOCK=BLOCK, num_warps=4)
    scan_blocks_kernel[(blocks,)](lengths, sums, out, numel, BLOCK=BLOCK, num_warps=4)
    return out
