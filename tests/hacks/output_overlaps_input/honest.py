import torch
import triton
import triton.language as tl

@triton.jit
def copy(x_ptr, y_ptr, count, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    tl.store(y_ptr + index, tl.load(x_ptr + index, mask=inside), mask=inside)

def kernel(x):
    rows = x[1:]
    y = torch.empty_like(rows)
    copy[(triton.cdiv(y.numel(), 256),)](rows, y, y.numel(), BLOCK=256)
    return y
