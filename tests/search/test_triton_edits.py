from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.search.synthesizers.triton_code import Module
from kernelevolve.search.synthesizers.triton_edits import triton_edits
from kernelevolve.search.synthesizers.triton_grids import persistent_refusal

HEADER = """\
import torch
import triton
import triton.language as tl

"""
ADD = (
    HEADER
    + '''\
BLOCK = 1024  # elements for each program


@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Größe egal."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), mask=mask)


def kernel(x, y):
    out = torch.empty_like(x)
    add_kernel[(triton.cdiv(x.numel(), BLOCK),)](x, y, out, x.numel(), BLOCK=BLOCK, num_warps=4)
    return out
'''
)
MATMUL = (
    HEADER
    + """\
@triton.autotune(
    configs=[
        triton.Config({"BLOCK_M": 64, "BLOCK_K": 32}, num_warps=4, num_stages=3),
        triton.Config({"BLOCK_M": 128, "BLOCK_K": 32}),
    ],
    key=["m"],
)
@triton.jit
def rows_kernel(a_ptr, out_ptr, m, k, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + rows[:, None] * k + cols[None, :]
    total = tl.zeros((BLOCK_M,), tl.float32)
    for i in range(0, tl.cdiv(k, BLOCK_K)):
        mask = (rows[:, None] < m) & (cols[None, :] + i * BLOCK_K < k)
        total += tl.sum(tl.load(a_ptrs, mask=mask, other=0.0), axis=1)
        a_ptrs += BLOCK_K
    tl.store(out_ptr + rows, total, mask=rows < m)


def kernel(a):
    out = torch.empty(a.shape[0])
    rows_kernel[lambda meta: (triton.cdiv(a.shape[0], meta["BLOCK_M"]),)](a, out, a.shape[0], a.shape[1])
    return out
"""
)


def descriptions(source: str) -> list[str]:
    return [edit.description for edit in triton_edits(source)]


def mutated(source: str, description: str) -> str:
    return next(edit for edit in triton_edits(source) if edit.description == description).apply(source)


def changes(source: str, description: str) -> list[str]:
    """The lines that a change makes."""
    before = source.splitlines()
    return [line.strip() for line in mutated(source, description).splitlines() if line not in before]


def test_warps_and_stages_are_changed_at_the_launch() -> None:
    launch = "add_kernel[(triton.cdiv(x.numel(), BLOCK),)](x, y, out, x.numel(), BLOCK=BLOCK, "

    assert changes(ADD, "num_warps=8 at launch 1 of `add_kernel`") == [launch + "num_warps=8)"]
    assert changes(ADD, "num_stages=2 at launch 1 of `add_kernel`") == [launch + "num_warps=4, num_stages=2)"]
    found = [text for text in descriptions(ADD) if text.startswith("num_warps")]
    assert found == [f"num_warps={warps} at launch 1 of `add_kernel`" for warps in (1, 2, 8, 16)]


def test_neighbouring_values_come_first() -> None:
    ranks = {edit.description.split(" at ")[0]: edit.rank for edit in triton_edits(ADD)}

    assert ranks["num_warps=8"] == ranks["num_warps=2"] < ranks["num_warps=16"]
    assert ranks["BLOCK = 2048"] < ranks["num_stages=4"] < ranks['cache_modifier=".cg"']


@pytest.mark.parametrize(
    "ending", ["BLOCK=BLOCK)", "BLOCK=BLOCK,)", "BLOCK=(BLOCK))", "BLOCK=BLOCK,  # tail, kept\n    )"]
)
def test_options_are_added_after_any_ending(ending: str) -> None:
    source = ADD.replace("BLOCK=BLOCK, num_warps=4)", ending)

    added = mutated(source, "num_warps=8 at launch 1 of `add_kernel`")
    call = next(
        node
        for node in ast.walk(ast.parse(added))
        if isinstance(node, ast.Call) and any(word.arg == "num_warps" for word in node.keywords)
    )
    assert ast.unparse(call).endswith("BLOCK=BLOCK, num_warps=8)")


@pytest.mark.parametrize(
    "ending", ["BLOCK=BLOCK, num_warps=w)", "BLOCK=BLOCK, **options)", "BLOCK=BLOCK, num_warps=32)"]
)
def test_options_that_are_not_plain_are_left_alone(ending: str) -> None:
    assert not [text for text in descriptions(ADD.replace("BLOCK=BLOCK, num_warps=4)", ending)) if "num_warps" in text]


def test_autotuned_kernels_are_changed_in_their_configs() -> None:
    found = descriptions(MATMUL)

    assert not [text for text in found if "launch" in text]
    assert changes(MATMUL, "num_warps=8 at config 1") == [
        'triton.Config({"BLOCK_M": 64, "BLOCK_K": 32}, num_warps=8, num_stages=3),'
    ]
    assert changes(MATMUL, "num_stages=4 at config 2") == [
        'triton.Config({"BLOCK_M": 128, "BLOCK_K": 32}, num_stages=4),'
    ]
    assert changes(MATMUL, "BLOCK_M = 256 at config 2") == ['triton.Config({"BLOCK_M": 256, "BLOCK_K": 32}),']
    assert "BLOCK_K = 16 at config 1" in found


def test_a_block_size_is_doubled_and_halved() -> None:
    found = [text for text in descriptions(ADD) if text.startswith("BLOCK")]

    assert found == ["BLOCK = 2048", "BLOCK = 512"]
    assert changes(ADD, "BLOCK = 512") == ["BLOCK = 512  # elements for each program"]


def test_a_literal_block_size_is_changed_where_the_grid_follows() -> None:
    literal = ADD.replace("BLOCK = 1024  # elements for each program\n", "").replace("BLOCK=BLOCK", "BLOCK=1024")
    follows = literal.replace(
        "add_kernel[(triton.cdiv(x.numel(), BLOCK),)]",
        'add_kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)]',
    )

    assert "BLOCK = 512 at launch 1 of `add_kernel`" in descriptions(follows)
    fixed = literal.replace("x.numel(), BLOCK)", "x.numel(), 1024)")
    assert not [text for text in descriptions(fixed) if text.startswith("BLOCK")]


def test_a_grid_computed_beforehand_is_followed() -> None:
    source = ADD.replace(
        "    add_kernel[(triton.cdiv(x.numel(), BLOCK),)]",
        "    n = x.numel()\n    blocks = (n + BLOCK - 1) // BLOCK\n    grid = (blocks,)\n    add_kernel[grid]",
    )

    assert "BLOCK = 512" in descriptions(source)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("triton.cdiv(x.numel(), BLOCK)", "x.numel() // BLOCK"),  # a tail would be dropped
        ("triton.cdiv(x.numel(), BLOCK)", "triton.cdiv(x.numel(), 1024)"),
        ("tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)", "tl.arange(0, BLOCK)"),  # one block is the whole row
        ("offsets < n", "offsets < BLOCK"),
        ("offsets < n\n", "offsets < n\n    n = n * BLOCK\n"),
        ("tl.load(x_ptr + offsets, mask=mask)", "tl.load(x_ptr + offsets)"),  # reads past the end
        ("tl.load(x_ptr + offsets, mask=mask)", "tl.load(x_ptr + offsets, mask=mask) * BLOCK"),
        ("tl.load(x_ptr + offsets, mask=mask)", "tl.program_id(0) * BLOCK * tl.load(x_ptr + offsets, mask=mask)"),
        ("tl.load(x_ptr + offsets, mask=mask)", "(tl.load(x_ptr + offsets, mask=mask) + tl.program_id(0) * BLOCK)"),
        ("tl.load(x_ptr + offsets, mask=mask)", "tl.load(x_ptr + offsets, mask=mask) / tl.cdiv(n, BLOCK)"),
        ("offsets < n\n", "offsets < n\n    seed = tl.program_id(0) * BLOCK\n    mask = mask & (seed > 3)\n"),
        ("tl.load(x_ptr + offsets, mask=mask)", "helper(x_ptr, offsets)"),
        ("BLOCK: tl.constexpr", "BLOCK"),
        ("BLOCK = 1024", "BLOCK = 1000"),
        ("BLOCK = 1024", "BLOCK = 2 * 512"),
        ("BLOCK = 1024  #", "BLOCK = 1024; BLOCK = 1024  #"),
        ("    return out", "    return out / BLOCK"),
        ("BLOCK = 1024", "SIZE = 1024; BLOCK = triton.next_power_of_2(9)"),
    ],
)
def test_block_sizes_that_mean_more_than_a_size_are_kept(old: str, new: str) -> None:
    source = ADD.replace(old, new)

    assert source != ADD
    assert not [text for text in descriptions(source) if text.startswith("BLOCK")]


def test_block_sizes_stay_within_bounds() -> None:
    assert [text for text in descriptions(ADD.replace("1024", "16")) if text.startswith("BLOCK")] == ["BLOCK = 32"]
    assert [text for text in descriptions(ADD.replace("1024", "32768")) if text.startswith("BLOCK")] == [
        "BLOCK = 16384"
    ]
    assert not [text for text in descriptions(ADD.replace("1024", "8")) if text.startswith("BLOCK")]


def test_loops_are_pipelined() -> None:
    assert changes(MATMUL, "num_stages=2 at loop 1 of `rows_kernel`") == [
        "for i in tl.range(0, tl.cdiv(k, BLOCK_K), num_stages=2):"
    ]
    staged = mutated(MATMUL, "num_stages=2 at loop 1 of `rows_kernel`")
    assert changes(staged, "num_stages=5 at loop 1 of `rows_kernel`") == [
        "for i in tl.range(0, tl.cdiv(k, BLOCK_K), num_stages=5):"
    ]


def test_loads_get_cache_hints() -> None:
    source = mutated(ADD, 'cache_modifier=".cg" at load 2 of `add_kernel`')

    assert 'tl.load(y_ptr + offsets, mask=mask, cache_modifier=".cg")' in source
    assert 'cache_modifier=".ca" at load 2 of `add_kernel`' in descriptions(source)
    assert 'cache_modifier=".cg" at load 2 of `add_kernel`' not in descriptions(source)
    both = mutated(source, 'eviction_policy="evict_first" at load 2 of `add_kernel`')
    assert 'cache_modifier=".cg", eviction_policy="evict_first")' in both


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tl.load(x_ptr + offsets, mask=mask)", "tl.load(out_ptr + offsets, mask=mask)"),  # in place
        ("tl.store(out_ptr + offsets,", "tl.atomic_add(out_ptr + offsets,"),
        ("mask = offsets < n", "mask = offsets < n\n    tl.debug_barrier()"),
        ("mask = offsets < n", "mask = offsets < n\n    helper(out_ptr)"),
        ("tl.load(x_ptr + offsets, mask=mask)", "tl.load(tl.load(x_ptr).to(tl.pointer_type(tl.float32)), mask=mask)"),
        ("mask = offsets < n", "mask = offsets < n\n    x_ptr = out_ptr"),
    ],
)
def test_kernels_that_may_read_what_they_write_get_no_hints(old: str, new: str) -> None:
    source = ADD.replace(old, new)

    assert source != ADD
    found = descriptions(source)
    assert not [text for text in found if "cache" in text or "evict" in text or "num_stages" in text]
    assert "num_warps=8 at launch 1 of `add_kernel`" in found


def test_volatile_loads_get_no_hints() -> None:
    source = ADD.replace("tl.load(x_ptr + offsets, mask=mask)", "tl.load(x_ptr + offsets, mask=mask, volatile=True)")

    assert not [text for text in descriptions(source) if "load 1" in text]
    assert [text for text in descriptions(source) if "load 2" in text]


def test_helpers_without_memory_are_understood() -> None:
    helper = "@triton.jit\ndef square(x):\n    return x * x\n\n\n@triton.jit\ndef add_kernel("
    source = ADD.replace("@triton.jit\ndef add_kernel(", helper).replace("+ tl.load(y_ptr", "+ square(tl.load(y_ptr")
    source = source.replace("mask=mask), mask=mask)", "mask=mask)), mask=mask)")

    assert "BLOCK = 512" in descriptions(source)
    assert [text for text in descriptions(source) if "cache" in text]


def test_other_names_for_triton_are_known() -> None:
    renamed = ADD.replace(
        "import triton\nimport triton.language as tl", "import triton as t\nfrom triton import language as l"
    )
    renamed = renamed.replace("tl.", "l.").replace("triton.", "t.")

    assert len(descriptions(renamed)) == len(descriptions(ADD))


def test_a_model_that_launches_in_forward_is_understood() -> None:
    source = ADD.split("def kernel")[0] + textwrap.dedent(
        """
        class ModelNew(torch.nn.Module):
            def forward(self, x, y):
                out = torch.empty_like(x)
                grid = lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)
                add_kernel[grid](x, y, out, x.numel(), BLOCK=BLOCK)
                return out
        """
    )

    assert {"BLOCK = 512", "num_warps=8 at launch 1 of `add_kernel`"} <= set(descriptions(source))


# Persistent grids

ROWS = (
    HEADER
    + '''\
@triton.jit
def half(x):
    return x * 0.5


@triton.jit
def rows_kernel(
    x_ptr,
    out_ptr,
    cols,
    shift,
    BLOCK: tl.constexpr,
):
    """One program
    for each row."""
    # The row's number is wide.
    row = tl.program_id(axis=0).to(tl.int64)
    WIDE: tl.constexpr = BLOCK * 2
    x_ptr += row * cols  # from here on, this row
    shift = shift + row % 3

    out_ptr += row * cols
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        lanes = start + tl.arange(0, BLOCK)
# a comment out of line
        total += half(tl.load(x_ptr + lanes, mask=lanes < cols,
    other=0.0))
    sign = 1.0
    if row % 2 == 0:
        sign = -1.0; shift += 1
    for start in range(0, cols, BLOCK):
        lanes = start + tl.arange(0, BLOCK)
        value = tl.load(x_ptr + lanes, mask=lanes < cols) - sign * tl.sum(total, axis=0) + WIDE * shift
        tl.store(out_ptr + lanes, value, mask=lanes < cols)  # done


def kernel(x, shift):
    out = torch.empty_like(x)
    rows, cols = x.shape
    grid = (rows, 1, 1)
    rows_kernel[grid](x, out, cols, shift, BLOCK=16)
    return out
'''
)
LAMBDA = ADD.replace("add_kernel[(triton.cdiv(x.numel(), BLOCK),)]", "add_kernel[grid]").replace(
    "    add_kernel", '    grid = lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)\n    add_kernel'
)


def persistent(programs: int, kernel: str = "add_kernel") -> str:
    return f"persistent grid of {programs} programs for `{kernel}`"


def refusal(source: str, kernel: str = "add_kernel") -> str | None:
    """Why a kernel gets no persistent grid."""
    module = Module(source)
    return persistent_refusal(module, module.kernels[kernel])


def test_programs_take_one_tile_after_another() -> None:
    assert changes(ADD, persistent(512)) == [
        "def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr, num_tiles):",
        "for tile_index in tl.range(tl.program_id(0), num_tiles, tl.num_programs(0)):",
        "tile = tile_index",
        "offsets = tile * BLOCK + tl.arange(0, BLOCK)",
        "mask = offsets < n",
        "tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), "
        "mask=mask)",
        "add_kernel[(min(triton.cdiv(x.numel(), BLOCK), 512),)](x, y, out, x.numel(), BLOCK=BLOCK, num_warps=4, "
        "num_tiles=triton.cdiv(x.numel(), BLOCK))",
    ]


def test_a_number_that_is_only_assigned_needs_no_second_name() -> None:
    source = ADD.replace("offsets = tl.program_id(0) * BLOCK", "pid = tl.program_id(0)\n    offsets = pid * BLOCK")

    assert changes(source, persistent(512))[1:4] == [
        "for tile in tl.range(tl.program_id(0), num_tiles, tl.num_programs(0)):",
        "pid = tile",
        "offsets = pid * BLOCK + tl.arange(0, BLOCK)",
    ]


def test_each_tile_starts_from_the_parameters_that_it_changes() -> None:
    lines = changes(ROWS, persistent(256, "rows_kernel"))

    assert lines[:6] == [
        "BLOCK: tl.constexpr, num_tiles,",
        "for tile_index in tl.range(tl.program_id(0), num_tiles, tl.num_programs(0)):",
        "tile = tile_index",
        "x_ptr_of_tile = x_ptr",
        "out_ptr_of_tile = out_ptr",
        "shift_of_tile = shift",
    ]
    assert lines[-1] == "rows_kernel[(min(grid[0], 256),)](x, out, cols, shift, BLOCK=16, num_tiles=grid[0])"
    assert not [line for line in lines[6:-1] if re.search(r"\b(x_ptr|out_ptr|shift)\b", line)]


def test_a_grid_function_is_evaluated_with_what_the_launch_gives() -> None:
    literal = LAMBDA.replace("BLOCK=BLOCK", "BLOCK=2 * 512")

    assert changes(LAMBDA, persistent(128))[-1] == changes(ADD, persistent(128))[-1]
    assert "num_tiles=triton.cdiv(x.numel(), (2 * 512)))" in changes(literal, persistent(128))[-1]


def test_a_tuned_kernel_keeps_its_configurations() -> None:
    source = MATMUL.replace('meta["BLOCK_M"]', "16")

    assert refusal(MATMUL, "rows_kernel") == "a grid that follows from a configuration"
    assert refusal(source, "rows_kernel") is None


def test_all_launches_of_a_kernel_change_together() -> None:
    again = "    grid = (x.numel(),)\n    add_kernel[grid](out, y, x, 9, BLOCK)\n    return out"
    source = ADD.replace("    return out", again)

    assert changes(source, persistent(512))[-2:] == [
        "add_kernel[(min(triton.cdiv(x.numel(), BLOCK), 512),)](x, y, out, x.numel(), BLOCK=BLOCK, num_warps=4, "
        "num_tiles=triton.cdiv(x.numel(), BLOCK))",
        "add_kernel[(min(grid[0], 512),)](out, y, x, 9, BLOCK, num_tiles=grid[0])",
    ]
    resized = mutated(mutated(source, persistent(512)), persistent(128))
    assert resized == mutated(source, persistent(128))
    uneven = resized.replace("grid[0], 128", "grid[0], 64")
    assert not [text for text in descriptions(uneven) if "persistent" in text]


def test_names_that_are_taken_are_not_taken_again() -> None:
    source = ADD.replace("mask = offsets < n\n", "mask = offsets < n\n    tile = 1\n    n += 0\n").replace(
        "    out = torch", "    num_tiles = n_of_tile = 3\n    out = torch"
    )

    lines = changes(source, persistent(512))
    assert lines[1:4] == [
        "for tile_index in tl.range(tl.program_id(0), num_tiles_2, tl.num_programs(0)):",
        "tile_2 = tile_index",
        "n_of_tile_2 = n",
    ]
    assert "num_tiles_2=triton.cdiv(" in lines[-1]


def test_a_persistent_grid_is_only_resized() -> None:
    source = mutated(ADD, persistent(512))

    assert [text for text in descriptions(source) if "persistent" in text] == [persistent(n) for n in (128, 256, 1024)]
    assert mutated(source, persistent(128)) == mutated(ADD, persistent(128))
    ranks = {edit.description: edit.rank for edit in triton_edits(ADD)}
    assert ranks["BLOCK = 512"] < ranks[persistent(512)] < ranks[persistent(256)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min(triton.cdiv(x.numel(), BLOCK), 512)", "512"),
        ("min(triton.cdiv(x.numel(), BLOCK), 512)", "max(triton.cdiv(x.numel(), BLOCK), 512)"),
        ("min(triton.cdiv(x.numel(), BLOCK), 512)", "min(triton.cdiv(x.numel(), 64), 512)"),
        ("min(triton.cdiv(x.numel(), BLOCK), 512)", "min(triton.cdiv(x.numel(), BLOCK), PROGRAMS)"),
        ("tl.num_programs(0)):", "tl.num_programs(1)):"),
        ("tile = tile_index", "tile = tile_index + tl.num_programs(0)"),
        ("tile = tile_index", "tile = tile_index; n = n - 1"),
        ("tile = tile_index", "tile = tile_index; tl.atomic_add(out_ptr, 1)"),
        ("    for tile_index", "    y_ptr = x_ptr\n    for tile_index"),
    ],
)
def test_other_loops_over_tiles_are_not_resized(old: str, new: str) -> None:
    source = mutated(ADD, persistent(512))

    assert old in source
    assert not [text for text in descriptions(source.replace(old, new)) if "persistent" in text]


def test_after_it_blocks_and_stages_are_changed_as_before() -> None:
    source = mutated(ADD, persistent(512))

    assert {"BLOCK = 512", "num_warps=8 at launch 1 of `add_kernel`"} <= set(descriptions(source))
    assert changes(source, "num_stages=2 at the loop over tiles of `add_kernel`") == [
        "for tile_index in tl.range(tl.program_id(0), num_tiles, tl.num_programs(0), num_stages=2):"
    ]
    fixed = source.replace("num_tiles=triton.cdiv(x.numel(), BLOCK)", "num_tiles=triton.cdiv(x.numel(), 1024)")
    assert not [text for text in descriptions(fixed) if text.startswith("BLOCK")]
    rows = mutated(MATMUL.replace('meta["BLOCK_M"]', "64"), persistent(128, "rows_kernel"))
    assert "num_stages=2 at loop 1 of `rows_kernel`" in descriptions(rows)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        # The kernel
        ("mask = offsets < n", "mask = offsets < n\n    if n < 0:\n        return", "`return` inside"),
        ("tl.program_id(0)", "tl.program_id(1)", "another axis"),
        ("tl.program_id(0)", "(tl.program_id(0) + tl.program_id(1) * 8)", "another axis"),
        ("tl.program_id(0)", "tl.program_id(n)", "another axis"),
        ("tl.program_id(0)", "0", "does not ask for its program's number"),
        ("offsets < n", "offsets < n * tl.num_programs(0)", "calls `tl.num_programs`"),
        ("    offsets =", "    number = tl.program_id\n    offsets =", "without calling it"),
        ("tl.load(x_ptr + offsets, mask=mask)", "tl.load(out_ptr + offsets, mask=mask)", "memory that it writes"),
        ("tl.store(out_ptr + offsets,", "tl.atomic_add(out_ptr + offsets,", "calls `tl.atomic_add`"),
        ("mask = offsets < n", "mask = offsets < n\n    tl.debug_barrier()", "calls `tl.debug_barrier`"),
        ("mask = offsets < n", "mask = offsets < n\n    tl.device_print('n', n)", "calls `tl.device_print`"),
        ("offsets < n", "offsets < n + tl.extra.cuda.smid()", "calls `tl.extra.cuda.smid`"),
        ("offsets < n", "offsets < n + clock.now()", "calls `clock.now`"),
        ("mask = offsets < n", "mask = offsets < n\n    helper(n)", "call what is not known"),
        ("mask=mask), mask", "mask=mask, volatile=True), mask", "volatile"),
        ("mask = offsets < n", "mask = offsets < n\n    BLOCK = 4", "changes the parameter `BLOCK`"),
        ("    offsets =", "    if y_ptr is not None:\n        y_ptr += 1\n    offsets =", "parameter `y_ptr`"),
        ("mask = offsets < n", "mask = offsets < n\n    for n in range(3):\n        pass", "parameter `n`"),
        ("mask = offsets < n", "mask = offsets < n\n    n, k = n - 1, 2", "parameter `n`"),
        ("mask = offsets < n", "mask = offsets < n\n    global k\n    k = 1", "kind Global"),
        ("mask = offsets < n", "mask = (k := offsets) < n", "kind NamedExpr"),
        ("mask = offsets < n", "mask = offsets < n\n    def f():\n        pass", "kind FunctionDef"),
        ("mask = offsets < n", 'mask = offsets < n\n    """\n    a text\n    """', "text of several lines"),
        ("mask = offsets < n", "mask = offsets < n\n    tl = 3", "hides Triton's name"),
        ('egal."""\n    offsets', 'egal."""; offsets', "middle of a line"),
        ("@triton.jit", "@logged\n@triton.jit", "decorator `logged`"),
        ("BLOCK: tl.constexpr)", "BLOCK: tl.constexpr = 1024)", "parameters that are not plain"),
        ("n, BLOCK: tl.constexpr)", "n, *, BLOCK: tl.constexpr)", "parameters that are not plain"),
        # The launch
        ("(triton.cdiv(x.numel(), BLOCK),)", "(4, triton.cdiv(x.numel(), BLOCK))", "more than one dimension"),
        ("(triton.cdiv(x.numel(), BLOCK),)", "(triton.cdiv(x.numel(), BLOCK), 1, heads)", "more than one dimension"),
        ("(triton.cdiv(x.numel(), BLOCK),)", "(*sizes,)", "more than one dimension"),
        ("(triton.cdiv(x.numel(), BLOCK),)", "grid_of(x)", "not plainly of one dimension"),
        ("(triton.cdiv(x.numel(), BLOCK),)", "sizes", "not plainly of one dimension"),
        ("triton.cdiv(x.numel(), BLOCK)", "next(sizes)", r"`next\(sizes\)` in a grid"),
        ("triton.cdiv(x.numel(), BLOCK)", "sizes.pop()", r"`sizes.pop\(\)` in a grid"),
        ("triton.cdiv(x.numel(), BLOCK)", "x.numel() / BLOCK", "in a grid"),
        ("(triton.cdiv(x.numel(), BLOCK),)", "lambda meta: (meta,)", "`meta` in a grid"),
        ("(triton.cdiv(x.numel(), BLOCK),)", 'lambda meta: (meta["SIZE"],)', "follows from a configuration"),
        ("(triton.cdiv(x.numel(), BLOCK),)", "lambda meta, n=3: (n,)", "not plain"),
        ("x, y, out, x.numel()", "x, y, x, x.numel()", "`out_ptr` and `x_ptr` may be the same"),
        ("x, y, out, x.numel()", "out.view(-1), y, out, x.numel()", "`out_ptr` and `x_ptr` may be the same"),
        ("x, y, out, x.numel()", "*(x, y, out), x.numel()", "with `*`"),
        ("BLOCK=BLOCK, num_warps=4)", "BLOCK=BLOCK, **options)", "with `*`"),
        ("x, y, out, x.numel()", "x, y, out, (n := x.numel())", "a launch that assigns"),
        ("x, y, out, x.numel()", "x, y.zero_(), out, x.numel()", "a launch that changes"),
        ("    return out", "    add_kernel.warmup(out)\n    return out", "more than launched"),
        ("    return out", "    launch(add_kernel)\n    return out", "more than launched"),
        ("    return out", "    add_kernel = 3\n    return out", "more than launched"),
        ("    out = torch", "    from numpy import *\n    out = torch", "more than launched"),
        ("    out = torch", "    min = max\n    out = torch", "`min` is another"),
    ],
)  # fmt: skip
def test_kernels_that_depend_on_their_grid_keep_it(old: str, new: str, why: str) -> None:
    source = ADD.replace(old, new)

    assert source != ADD
    ast.parse(source)
    assert re.search(why, refusal(source) or "")
    assert not [text for text in descriptions(source) if "persistent" in text]


@pytest.mark.parametrize(
    "change",
    [
        "grid = (4,)\n    grid",
        "for grid in sizes:\n        pass\n    grid",
        "grid, n = (4,), 3\n    add_kernel",
        "grid += (2,)\n    add_kernel",
    ],
)
def test_a_grid_that_is_bound_twice_is_not_followed(change: str) -> None:
    source = ADD.replace(
        "    add_kernel[(triton.cdiv(x.numel(), BLOCK),)]",
        f"    grid = (triton.cdiv(x.numel(), BLOCK),)\n    {change.replace('add_kernel', '')}\n    add_kernel[grid]",
    )

    assert refusal(source) == "a grid that is not plainly of one dimension"


def test_a_helper_that_asks_for_its_program_keeps_the_grid() -> None:
    helper = "@triton.jit\ndef first(size):\n    return tl.program_id(0) * size\n\n\n@triton.jit\ndef add_kernel("
    source = ADD.replace("@triton.jit\ndef add_kernel(", helper)

    assert refusal(source) is None
    assert refusal(source.replace("offsets < n", "offsets < first(n)")) == "`first` asks for its program"


# A process of its own: Triton looks at TRITON_INTERPRET when it is imported.
INTERPRET = """
import importlib.util, json, sys
import torch

def load(path):
    spec = importlib.util.spec_from_file_location(f"candidate_{len(sys.modules)}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.kernel

torch.manual_seed(0)
shapes = [(0, 8), (1, 1), (1, 70), (3, 16), (7, 33), (150, 5)]
inputs = {
    "ADD": [(torch.randn(shape).flatten(), torch.randn(shape).flatten()) for shape in shapes],
    "ROWS": [(torch.randn(shape), shift) for shape in shapes for shift in (1, 4)],
}
first, *others = sys.argv[2:]
wanted = [load(first)(*entry) for entry in inputs[sys.argv[1]]]
for other in others:
    kernel = load(other)
    for entry, expected in zip(inputs[sys.argv[1]], wanted):
        assert torch.equal(kernel(*entry), expected), (other, entry)
print(len(wanted))
"""


@pytest.mark.parametrize(("name", "kernel"), [("ADD", "add_kernel"), ("ROWS", "rows_kernel")])
def test_persistent_kernels_compute_the_same_in_the_interpreter(name: str, kernel: str, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    source = {"ADD": ADD.replace("BLOCK = 1024", "BLOCK = 16"), "ROWS": ROWS}[name]
    made = mutated(source, persistent(128, kernel))
    # Fewer programs than tiles, one program, and more programs than tiles.
    sources = [source, made, *(made.replace(", 128),)]", f", {programs}),)]") for programs in (1, 2, 3, 1024))]
    if name == "ADD":
        sources += [mutated(LAMBDA.replace("1024", "16"), persistent(128)), mutated(made, "BLOCK = 32")]
    assert len(set(sources)) == len(sources)
    paths = [tmp_path / f"{number}.py" for number in range(len(sources))]
    for path, text in zip(paths, sources, strict=True):
        path.write_text(text)

    done = subprocess.run(
        [sys.executable, "-c", INTERPRET, name, *paths],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 6


def test_every_change_still_parses_and_changes_something() -> None:
    examples = Path(__file__).parents[2] / "examples"
    sources = [ADD, MATMUL, ROWS, LAMBDA, *(path.read_text() for path in sorted(examples.glob("*/triton.py")))]

    for source in sources:
        for edit in triton_edits(source):
            changed = edit.apply(source)
            ast.parse(changed)
            assert changed != source


@pytest.mark.parametrize("source", ["", "def f(:", "x = 1\n", "\x00", "import triton\n" + "(" * 500])
def test_sources_that_are_no_triton_are_no_error(source: str) -> None:
    assert triton_edits(source) == []


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_sources_are_no_error(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(ADD)))
    end = data.draw(st.integers(start, min(len(ADD), start + 30)))
    text = data.draw(st.text(alphabet="()[],=:.* \nab0é", max_size=5))

    triton_edits(ADD[:start] + text + ADD[end:])
