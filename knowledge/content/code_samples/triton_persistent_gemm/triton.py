"""Persistent matrix product: as many programs as multiprocessors, which take the tiles in turns."""

import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N, BLOCK_K = 64, 64, 32
PROGRAMS_PER_MULTIPROCESSOR = 1
FLATTEN = True


@triton.jit
def persistent_gemm_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, FLATTEN: tl.constexpr,
):  # fmt: skip
    # What every program needs is made once for all its tiles, not once for each.
    a_desc = tl.make_tensor_descriptor(a_ptr, [m, k], [k, 1], [BLOCK_M, BLOCK_K])
    b_desc = tl.make_tensor_descriptor(b_ptr, [k, n], [n, 1], [BLOCK_K, BLOCK_N])
    out_desc = tl.make_tensor_descriptor(out_ptr, [m, n], [n, 1], [BLOCK_M, BLOCK_N])
    tiles_n = tl.cdiv(n, BLOCK_N)
    tiles = tl.cdiv(m, BLOCK_M) * tiles_n
    # `flatten` asks the compiler to make one loop of the two, so that the loads of the next tile are on their way while
    # this one is finished and stored. That overlap is what a persistent kernel is for.
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=FLATTEN):
        row, col = (tile // tiles_n) * BLOCK_M, (tile % tiles_n) * BLOCK_N
        accumulator = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for start in range(0, k, BLOCK_K):
            accumulator = tl.dot(a_desc.load([row, start]), b_desc.load([start, col]), accumulator)
        out_desc.store([row, col], accumulator.to(out_ptr.dtype.element_ty))


def _dense_and_aligned(x):
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()  # what descriptors ask of a base


def kernel(a, b):
    a, b = _dense_and_aligned(a), _dense_and_aligned(b)
    m, k = a.shape
    n = b.shape[1]
    assert k % 8 == n % 8 == 0  # rows in multiples of 16 bytes
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    triton.set_allocator(lambda size, align, stream: torch.empty(size, dtype=torch.int8, device=a.device))
    tiles = triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N)
    # Without a GPU (the interpreter) any number will do: one that is less than the number of tiles tests the loop.
    multiprocessors = torch.cuda.get_device_properties(a.device).multi_processor_count if a.is_cuda else 3
    grid = (min(tiles, multiprocessors * PROGRAMS_PER_MULTIPROCESSOR),)  # never a program without a tile
    persistent_gemm_kernel[grid](
        a, b, out, m, n, k,
        BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K, FLATTEN=FLATTEN, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out
