import torch
import triton
import triton.language as tl


@triton.jit
def row_sums(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, cols, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(x_ptr + row * cols + at, mask=at < cols, other=0.0)
    tl.store(y_ptr + row, tl.sum(total, 0))


def kernel(x):
    y = torch.empty(x.shape[0], device=x.device)
    row_sums[(x.shape[0],)](x, y, x.shape[1], BLOCK=1024)
    return y
