"""Planted: one atomic in device memory for each element, all on the same 128 bytes."""

import torch
import triton
import triton.language as tl


@triton.jit
def histogram_kernel(x_ptr, out_ptr, count, BLOCK: tl.constexpr):
    stride = tl.num_programs(0) * BLOCK
    for start in range(tl.program_id(0) * BLOCK, count, stride):
        index = start + tl.arange(0, BLOCK)
        inside = index < count
        value = tl.load(x_ptr + index, mask=inside, other=0)
        tl.atomic_add(out_ptr + value, 1, mask=inside, sem="relaxed")


def kernel(x):
    out = torch.zeros(32, dtype=torch.int32, device=x.device)
    multiprocessors = torch.cuda.get_device_properties(x.device).multi_processor_count
    programs = min(8 * multiprocessors, triton.cdiv(x.numel(), 1024))
    histogram_kernel[(programs,)](x, out, x.numel(), BLOCK=1024, num_warps=4)
    return out
