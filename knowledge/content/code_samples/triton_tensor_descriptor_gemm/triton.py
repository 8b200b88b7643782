"""Matrix product through tensor descriptors: tiles are named by their corner; Hopper and later copy them in bulk."""

import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N, BLOCK_K = 64, 64, 32


@triton.jit
def descriptor_gemm_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):
    # Made once for each program, before the loop. On CUDA this writes a 128-byte tensor map to global memory.
    a_desc = tl.make_tensor_descriptor(a_ptr, [m, k], [k, 1], [BLOCK_M, BLOCK_K])
    b_desc = tl.make_tensor_descriptor(b_ptr, [k, n], [n, 1], [BLOCK_K, BLOCK_N])
    out_desc = tl.make_tensor_descriptor(out_ptr, [m, n], [n, 1], [BLOCK_M, BLOCK_N])
    row, col = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N

    accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, k, BLOCK_K):
        # No pointers, no masks: what lies outside reads as zero and is not written. That also frees the registers
        # which a tile of addresses takes.
        accumulator = tl.dot(a_desc.load([row, start]), b_desc.load([start, col]), accumulator)
    out_desc.store([row, col], accumulator.to(out_ptr.dtype.element_ty))


def _dense_and_aligned(x):
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()


def kernel(a, b):
    # A base must be 16-byte aligned: a view that starts one element late is not, and has to be copied.
    a, b = _dense_and_aligned(a), _dense_and_aligned(b)
    m, k = a.shape
    n = b.shape[1]
    # So must rows be: with 16-bit values, k and n are multiples of 8. Otherwise pad, or use pointers.
    assert k % 8 == n % 8 == 0
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    # Tensor maps made on the device need scratch memory, which Triton asks this function for.
    triton.set_allocator(lambda size, align, stream: torch.empty(size, dtype=torch.int8, device=a.device))
    grid = (triton.cdiv(m, BLOCK_M), triton.cdiv(n, BLOCK_N))
    descriptor_gemm_kernel[grid](
        a, b, out, m, n, k, BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, num_warps=4, num_stages=3
    )
    return out
