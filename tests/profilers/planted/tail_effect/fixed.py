"""Mended: exactly as many blocks as multiprocessors, one wave."""

import torch
import triton
import triton.language as tl


@triton.jit
def iterate_kernel(c_ptr, out_ptr, count, per_program, steps, BLOCK: tl.constexpr):
    first = tl.program_id(0) * per_program
    last = tl.minimum(first + per_program, count)
    for start in range(first, last, BLOCK):
        index = start + tl.arange(0, BLOCK)
        inside = index < last
        c = tl.load(c_ptr + index, mask=inside, other=0.0)
        x = tl.zeros((BLOCK,), tl.float32)
        for _step in range(steps):
            x = x * x + c
        tl.store(out_ptr + index, x, mask=inside)


def kernel(c, steps):
    out = torch.empty_like(c)
    multiprocessors = torch.cuda.get_device_properties(c.device).multi_processor_count
    programs = multiprocessors
    # A multiple of 1024, so that every part begins at an aligned address.
    per_program = triton.cdiv(triton.cdiv(c.numel(), programs), 1024) * 1024
    # 1024 threads with more than 32 registers each: one block fills a multiprocessor.
    iterate_kernel[(programs,)](c, out, c.numel(), per_program, steps, BLOCK=16384, num_warps=32)
    return out
