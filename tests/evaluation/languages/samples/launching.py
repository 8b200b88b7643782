"""Entry points that launch kernels in the ways that candidates do."""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def scaled(x, factor):
    return x * factor


@triton.jit
def add_kernel(x, y, out, n, factor, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < n
    value = scaled(tl.load(x + index, mask=mask), factor) + tl.load(y + index, mask=mask)
    tl.store(out + index, value, mask=mask)


def add_twice(x, y):
    assert x.is_cuda
    assert x.device.type == "cuda"
    out = torch.empty_like(x)
    with torch.cuda.device(x.device):
        for _ in range(2):
            add_kernel[(triton.cdiv(x.numel(), 256),)](x, y, out, x.numel(), 2.0, BLOCK=256)
    return out


def add_from_second_element(x, y):
    out = torch.empty_like(x)
    add_kernel[(1,)](x.view(-1)[1:], y, out, x.numel() - 1, 1.0, BLOCK=256)
    return out


@triton.autotune(
    configs=[
        triton.Config({"M_BLOCK": 64, "N_BLOCK": 64, "K_BLOCK": 32}, num_warps=4, num_stages=3),
        triton.Config({"M_BLOCK": 128, "N_BLOCK": 64, "K_BLOCK": 32}, num_warps=8, num_stages=2),
    ],
    key=["M", "N", "K"],
)
@triton.heuristics({"EVEN_K": lambda arguments: arguments["K"] % arguments["K_BLOCK"] == 0})
@triton.jit
def matmul_kernel(
    a, b, out, M, N, K, M_BLOCK: tl.constexpr, N_BLOCK: tl.constexpr, K_BLOCK: tl.constexpr, EVEN_K: tl.constexpr
):
    rows = tl.program_id(0) * M_BLOCK + tl.arange(0, M_BLOCK)
    columns = tl.program_id(1) * N_BLOCK + tl.arange(0, N_BLOCK)
    inner = tl.arange(0, K_BLOCK)
    total = tl.zeros((M_BLOCK, N_BLOCK), dtype=tl.float32)
    for start in range(0, K, K_BLOCK):
        left = tl.load(a + rows[:, None] * K + (start + inner)[None, :])
        right = tl.load(b + (start + inner)[:, None] * N + columns[None, :])
        total = tl.dot(left, right, total)
    tl.store(out + rows[:, None] * N + columns[None, :], total.to(tl.float16))


def matmul(a, b):
    out = torch.empty(a.shape[0], b.shape[1], device=a.device, dtype=a.dtype)

    def grid(meta):
        return triton.cdiv(a.shape[0], meta["M_BLOCK"]), triton.cdiv(b.shape[1], meta["N_BLOCK"])

    matmul_kernel[grid](a, b, out, a.shape[0], b.shape[1], a.shape[1])
    return torch.relu(out)


def by_length(x, lengths):
    out = torch.empty_like(x)
    add_kernel[(int(lengths.max().item()),)](x, x, out, x.numel(), 1.0, BLOCK=128)
    return out


@triton.jit
def copy_described(x, out, M, N, M_BLOCK: tl.constexpr, N_BLOCK: tl.constexpr):
    source = tl.make_tensor_descriptor(x, shape=[M, N], strides=[N, 1], block_shape=[M_BLOCK, N_BLOCK])
    target = tl.make_tensor_descriptor(out, shape=[M, N], strides=[N, 1], block_shape=[M_BLOCK, N_BLOCK])
    row = tl.program_id(0) * M_BLOCK
    target.store([row, 0], source.load([row, 0]))


@triton.jit
def double_described(source, target, M_BLOCK: tl.constexpr):
    row = tl.program_id(0) * M_BLOCK
    target.store([row, 0], source.load([row, 0]) * 2)


def descriptors(x):
    triton.set_allocator(lambda size, alignment, stream: torch.empty(size, device="cuda", dtype=torch.int8))
    out = torch.empty_like(x)
    copy_described[(x.shape[0] // 32,)](x, out, *x.shape, M_BLOCK=32, N_BLOCK=64)
    source = TensorDescriptor(x, x.shape, x.stride(), [32, 64])
    double_described[(x.shape[0] // 32,)](source, TensorDescriptor.from_tensor(out, [32, 64]), M_BLOCK=32)
    return out


def sized_by_occupancy(x):
    properties = triton.runtime.driver.active.utils.get_device_properties(torch.cuda.current_device())
    out = torch.empty_like(x)
    kernel = add_kernel.warmup(x, x, out, x.numel(), 1.0, BLOCK=128, num_warps=8, grid=(1,))
    kernel._init_handles()
    blocks = properties["max_num_regs"] // (kernel.n_regs * properties["warpSize"] * 8)
    kernel[(properties["multiprocessor_count"] * blocks, 1, 1)](x, x, out, x.numel(), 1.0, 128)
    return out


class KeepsBuffer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(64))
        self.buffer = None

    def forward(self, x):
        if self.buffer is None:
            self.buffer = torch.empty_like(x)
        add_kernel[(1,)](x, self.weight, self.buffer, x.numel(), 1.0, BLOCK=64)
        return self.buffer
