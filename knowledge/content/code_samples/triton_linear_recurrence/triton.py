"""A recurrence as an associative scan: chunks in parallel by tl.associative_scan, the state carried between chunks."""

import torch
import triton
import triton.language as tl

BLOCK = 256


@triton.jit
def compose(a_first, b_first, a_then, b_then):
    """Two steps h → a·h + b, one after the other, are again a step of that form: hence a scan is possible."""
    return a_first * a_then, a_then * b_first + b_then


@triton.jit
def recurrence_kernel(a_ptr, b_ptr, out_ptr, length, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    state = 0.0
    for start in range(0, length, BLOCK):
        offsets = start + lanes
        mask = offsets < length
        # Padding is the step that changes nothing: h → 1·h + 0. So the last lane holds the state at the end.
        a = tl.load(a_ptr + row * length + offsets, mask=mask, other=1.0).to(tl.float32)
        b = tl.load(b_ptr + row * length + offsets, mask=mask, other=0.0).to(tl.float32)
        # The carry goes into the first step of the chunk: its input becomes a[0]·state + b[0].
        b = tl.where(lanes == 0, a * state + b, b)
        _, states = tl.associative_scan((a, b), 0, compose)
        tl.store(out_ptr + row * length + offsets, states.to(out_ptr.dtype.element_ty), mask=mask)
        # A tensor cannot be indexed by a number; a masked sum picks one lane out.
        state = tl.sum(tl.where(lanes == BLOCK - 1, states, 0.0), axis=0)


def kernel(a, b):
    a, b = a.contiguous(), b.contiguous()
    rows, length = b.shape
    out = torch.empty_like(b)
    recurrence_kernel[(rows,)](a, b, out, length, BLOCK=BLOCK, num_warps=2)
    return out
