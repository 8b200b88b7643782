"""Mended: each thread loads 16 adjacent bytes with an instruction."""

import torch
import triton
import triton.language as tl


@triton.jit
def count_kernel(x_ptr, out_ptr, count, wanted, BLOCK: tl.constexpr):
    stride = tl.num_programs(0) * BLOCK
    found = tl.zeros((BLOCK,), tl.int32)
    for start in range(tl.program_id(0) * BLOCK, count, stride):
        index = start + tl.arange(0, BLOCK)
        inside = index < count
        x = tl.load(x_ptr + index, mask=inside, other=0)
        found += ((x == wanted) & inside).to(tl.int32)
    tl.atomic_add(out_ptr, tl.sum(found, axis=0), sem="relaxed")


def kernel(x, wanted):
    out = torch.zeros(1, dtype=torch.int32, device=x.device)
    multiprocessors = torch.cuda.get_device_properties(x.device).multi_processor_count
    programs = min(6 * multiprocessors, triton.cdiv(x.numel(), 4096))
    count_kernel[(programs,)](x, out, x.numel(), wanted, BLOCK=4096, num_warps=8)
    return out
