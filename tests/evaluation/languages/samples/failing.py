"""Entry points whose kernels or launches are wrong."""

import triton
import triton.language as tl


@triton.jit
def helper(x):
    return x.nothing_of_that_name


@triton.jit
def calls_helper(x, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(x + index, helper(tl.load(x + index)))


@triton.jit
def any_block(x, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)  # line 20
    tl.store(x + index, tl.load(x + index) + 1)


@triton.jit
def bad_assembly(x, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    value = tl.inline_asm_elementwise(
        "bogus.f32 $0, $1;", "=f,f", [tl.load(x + index)], dtype=tl.float32, is_pure=True, pack=1
    )
    tl.store(x + index, value)


def with_helper(x):
    calls_helper[(1,)](x, BLOCK=64)


def odd_block(x):
    any_block[(1,)](x, BLOCK=100)


def missing_argument(x):
    any_block[(1,)](x)


def amd_option(x):
    any_block[(1,)](x, BLOCK=64, waves_per_eu=2)


def assembly(x):
    bad_assembly[(1,)](x, BLOCK=128)


def host_error(x):
    return x.nothing_of_that_name
