"""Mended: each block counts for itself and adds 32 numbers to device memory at its end."""

import torch
import triton
import triton.language as tl


@triton.jit
def histogram_kernel(x_ptr, out_ptr, count, BLOCK: tl.constexpr):
    stride = tl.num_programs(0) * BLOCK
    mine = tl.zeros((32,), tl.int32)
    for start in range(tl.program_id(0) * BLOCK, count, stride):
        index = start + tl.arange(0, BLOCK)
        inside = index < count
        value = tl.load(x_ptr + index, mask=inside, other=0)
        mine += tl.histogram(value, 32, mask=inside)
    tl.atomic_add(out_ptr + tl.arange(0, 32), mine, sem="relaxed")


def kernel(x):
    out = torch.zeros(32, dtype=torch.int32, device=x.device)
    multiprocessors = torch.cuda.get_device_properties(x.device).multi_processor_count
    programs = min(8 * multiprocessors, triton.cdiv(x.numel(), 1024))
    histogram_kernel[(programs,)](x, out, x.numel(), BLOCK=1024, num_warps=4)
    return out
