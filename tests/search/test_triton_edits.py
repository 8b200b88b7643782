from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.search.synthesizers.triton_edits import triton_edits

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


def test_every_change_still_parses_and_changes_something() -> None:
    examples = Path(__file__).parents[2] / "examples"
    sources = [ADD, MATMUL, *(path.read_text() for path in sorted(examples.glob("*/triton.py")))]

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
