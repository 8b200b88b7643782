"""Causal flash attention, forward: one program for each block of queries, an online softmax over blocks of keys."""

import math

import torch
import triton
import triton.language as tl

BLOCK_Q, BLOCK_K = 64, 32


@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, length, scale, SIZE: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr
):
    # Later blocks of queries have more keys to look at. Starting with them leaves the short ones to fill the tail.
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    base = tl.program_id(1).to(tl.int64) * length * SIZE
    queries = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    dims = tl.arange(0, SIZE)
    at_q = base + queries[:, None] * SIZE + dims[None, :]
    q = tl.load(q_ptr + at_q, mask=queries[:, None] < length, other=0.0)  # stays in registers for the whole loop

    largest = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    accumulator = tl.zeros((BLOCK_Q, SIZE), tl.float32)
    # Causal: blocks of keys behind the last query are never loaded, so half of the work is not done at all.
    for start in range(0, tl.minimum((block + 1) * BLOCK_Q, length), BLOCK_K):
        keys = start + tl.arange(0, BLOCK_K)
        valid = keys < length
        # Keys are loaded as (size, keys), i.e. transposed by their index expressions.
        k = tl.load(k_ptr + base + keys[None, :] * SIZE + dims[:, None], mask=valid[None, :], other=0.0)
        scores = tl.dot(q, k) * scale  # `scale` has log2(e) in it, so that exp2, which is one instruction, will do
        scores = tl.where((keys[None, :] <= queries[:, None]) & valid[None, :], scores, float("-inf"))
        # Key 0 is visible to every query and in the first block, so `new` is finite from the first step on.
        new = tl.maximum(largest, tl.max(scores, axis=1))
        weights = tl.exp2(scores - new[:, None])
        rescale = tl.exp2(largest - new)
        total = total * rescale + tl.sum(weights, axis=1)
        v = tl.load(v_ptr + base + keys[:, None] * SIZE + dims[None, :], mask=valid[:, None], other=0.0)
        # Weights lie between 0 and 1: 16 bits hold them well, and the second product runs on the matrix units too.
        accumulator = tl.dot(weights.to(v.dtype), v, accumulator * rescale[:, None])
        largest = new

    result = accumulator / total[:, None]  # one division for each output, after the loop
    tl.store(out_ptr + at_q, result.to(out_ptr.dtype.element_ty), mask=queries[:, None] < length)


def kernel(q, k, v):
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    heads, length, size = q.shape
    out = torch.empty_like(q)
    scale = 1.4426950408889634 / math.sqrt(size)
    attention_kernel[(triton.cdiv(length, BLOCK_Q), heads)](
        q, k, v, out, length, scale, SIZE=size, BLOCK_Q=BLOCK_Q, BLOCK_K=BLOCK_K, num_warps=4, num_stages=2
    )
    return out
