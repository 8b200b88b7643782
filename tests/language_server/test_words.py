"""What hover and completion say."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kernelevolve.evaluation.platforms.spec_sheets import fields
from kernelevolve.server.language_server import words
from kernelevolve.server.language_server.notes import notes, page
from kernelevolve.server.language_server.words import Completion, complete, explain

TARGETS = ["cuda:sm_90", "hip:gfx950"]
PYTHON = """\
import triton
import triton.language as tl

@triton.jit
def kernel(x_ptr, warp, BLOCK: tl.constexpr):
    # more occupancy, fewer spills
    x = tl.load(x_ptr)
    y = tl.math.exp2(x) + tl.sum(x)
    tl.inline_asm_elementwise("cp.async.bulk.tensor.2d.shared::cluster.global;", "=r", [x], tl.int32, True, 1)

kernel[(1,)](x, num_warps=4)
"""
CUDA = """\
__global__ void kernel(float* x) {
  float v = __shfl_xor_sync(0xffffffff, x[0], 1);  // one warp
  asm volatile("mbarrier.try_wait.parity.shared.b64 p, [%0];" :: "r"(0));
  __syncthreads();
}
"""


def hover(text: str, row: str, word: str, targets: list[str] = TARGETS, inside: int = 1) -> str:
    """What is said of a word in the line that contains `row`."""
    line = next(number for number, each in enumerate(text.splitlines()) if row in each)
    found = explain(text, line, text.splitlines()[line].index(word) + inside, targets)
    return "" if found is None else found.markdown


def labels(found: list[Completion]) -> list[str]:
    return [each.label for each in found]


def test_a_function_of_triton_shows_signature_text_and_documents() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    said = hover(PYTHON, "tl.load", "load")

    assert "tl.load(pointer, mask=None, other=None" in said
    assert "values are loaded from memory" in said
    assert "(knowledge://" in said


def test_the_range_is_that_of_the_word() -> None:
    line = next(number for number, row in enumerate(PYTHON.splitlines()) if "tl.load" in row)
    found = explain(PYTHON, line, PYTHON.splitlines()[line].index("load"), TARGETS)

    assert found is not None
    assert PYTHON.splitlines()[found.line][found.column : found.end_column] == "tl.load"


def test_another_alias_of_triton_language() -> None:
    text = "import triton.language as L\ny = L.dot(a, b)\nz = triton.language.dot(a, b)\n"

    assert "tl.dot(input, other" in hover(text, "L.dot", "dot")
    assert "tl.dot(input, other" in hover(text, "z =", "dot")


def test_functions_of_tl_math() -> None:
    assert "tl.math.exp2(x)" in hover(PYTHON, "exp2", "exp2")


def test_launch_options_show_the_numbers_of_the_targets() -> None:
    said = hover(PYTHON, "num_warps", "num_warps")

    assert "`cuda:sm_90`" in said
    assert "threads per block 1024" in said
    assert "lanes of a wavefront 64" in said
    assert "`hip:gfx950`" not in hover(PYTHON, "num_warps", "num_warps", ["cuda:sm_90"])


def test_hardware_terms_in_comments() -> None:
    assert "resident warps per SM 64" in hover(PYTHON, "occupancy", "occupancy")
    assert hover(PYTHON, "spills", "spills").startswith("**spill**")


def test_a_variable_named_like_a_term_is_left_alone() -> None:
    assert hover(PYTHON, "def kernel", "warp") == ""


def test_instructions_in_inline_assembly_without_their_modifiers() -> None:
    said = hover(PYTHON, "cp.async", "cp.async", inside=12)

    assert said.startswith("**`cp.async.bulk.tensor`**")
    assert "knowledge://hardware/nvidia/hopper/tma" in said


def test_intrinsics_and_assembly_of_cuda() -> None:
    assert "knowledge://hardware/nvidia/common/warp_primitives" in hover(CUDA, "shfl", "__shfl_xor_sync")
    assert "mbarrier" in hover(CUDA, "asm", "mbarrier.try")
    assert hover(CUDA, "one warp", "warp").startswith("**warp**")


def test_what_holds_for_no_target_is_left_out() -> None:
    said = {note.page.id for note in notes("tl.dot", ["hip:gfx950"], most=100)}

    assert said
    assert not any("hopper" in each or "blackwell" in each for each in said)


def test_completion_after_the_alias() -> None:
    text = "import triton.language as tl\nx = tl.ar"
    (found,) = [each for each in complete(text, 1, 9, TARGETS) if each.label == "arange"]

    assert found == Completion("arange", "function", "arange(start, end)", found.documentation, "arange")
    assert "tl.arange(start, end)" in found.documentation
    assert labels(complete(text, 1, 7, TARGETS)) == sorted(labels(complete(text, 1, 7, TARGETS)))
    assert "exp2" in labels(complete("y = tl.math.e", 0, 13, TARGETS))


@pytest.mark.parametrize(
    "before", ["kernel[(1,)](x, num_", "kernel[grid](\n    x,\n    num_", 'triton.Config({"B": 64}, num_']
)
def test_launch_options_complete_inside_a_launch(before: str) -> None:
    lines = before.splitlines()

    assert labels(complete(before, len(lines) - 1, len(lines[-1]), TARGETS)) == [
        "num_warps=",
        "num_stages=",
        "num_ctas=",
    ]


@pytest.mark.parametrize("before", ["f(x, num_", "os.path.", "x = [num_", "", "tl", "def f(a, num_"])
def test_nothing_completes_elsewhere(before: str) -> None:
    assert complete(before, 0, len(before), TARGETS) == []


@pytest.mark.parametrize(("line", "column"), [(-1, 0), (99, 0), (0, 999), (3, 0)])
def test_places_outside_the_text_are_answered(line: int, column: int) -> None:
    assert explain(PYTHON, line, column, TARGETS) is None
    assert complete(PYTHON, line, column, TARGETS) == []


def test_targets_that_nobody_knows_have_no_numbers() -> None:
    assert "num_warps" in hover(PYTHON, "num_warps", "num_warps", ["cuda:sm_999", "nonsense"])


def test_every_entry_names_documents_and_fields_that_exist() -> None:
    path = Path(words.__file__).with_name("words.toml")
    for kind, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        for name, entry in table.items():
            if "same" in entry:
                assert entry["same"] in table, name
                continue
            assert [each for each in entry["documents"] if page(each) is None] == [], (kind, name)
            assert [each for each in entry["fields"] if each not in fields()] == [], (kind, name)


def test_neither_triton_nor_the_index_is_loaded() -> None:
    code = (
        "import sys; from kernelevolve.server.language_server.words import explain, warm_up; warm_up(); "
        "assert explain('tl.dot', 0, 4, ['cuda:sm_90']); "
        "print(sorted({'torch', 'triton', 'lancedb', 'onnxruntime', 'mcp'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
