"""From a text to figures: kernels found, arguments typed, compiled in the background, errors on the right line."""

from __future__ import annotations

import ast
import asyncio
import json
import shutil
import textwrap
from pathlib import Path

import pytest

from kernelevolve.server.language_server.kernels import Kind, scan
from kernelevolve.server.language_server.signatures import (
    AnnotationError,
    KernelParameter,
    Typed,
    arguments_of,
    said_argument,
)
from kernelevolve.server.language_server.task_files import find_task
from tests.language_server.editor import Editor, editing, until


def run(work) -> None:  # type: ignore[no-untyped-def]
    asyncio.run(asyncio.wait_for(work, 280))


# -- finding kernels --------------------------------------------------------------------------------------------------

SEVERAL = '''
import triton
import triton.language as tl
from numba import jit as numba_jit

@triton.jit
def helper(x):
    return x * 2

# kernelevolve: a_ptr=*bf16, n=i64, num_warps=8
@triton.autotune(
    configs=[
        triton.Config({"BLOCK": 128}),
    ],
    key=["n"],
)
@triton.jit(do_not_specialize=["n"])
def first(
    a_ptr,  # the (input
    n: tl.int64, BLOCK: tl.constexpr = 16,
):
    """Says (something."""
    tl.store(a_ptr, helper(n))

class Holder:
    @triton.jit
    def inner(p, q):
        tl.store(p, q)

def kernel(x):
    first[(1,)](x, 1)
'''


def test_kernels_are_found_with_their_parameters_and_annotations() -> None:
    found = scan(SEVERAL)
    assert [(kernel.name, kernel.kind) for kernel in found.kernels] == [
        ("helper", Kind.HELPER),
        ("first", Kind.KERNEL),
        ("inner", Kind.KERNEL),
    ]
    first = found.kernels[1]
    assert [(p.name, p.annotation, p.default) for p in first.parameters] == [
        ("a_ptr", "", ""),
        ("n", "tl.int64", ""),
        ("BLOCK", "tl.constexpr", "16"),
    ]
    assert dict(first.types) == {"a_ptr": "*bf16", "n": "i64", "num_warps": "8"}
    lines = SEVERAL.split("\n")
    assert lines[first.top].startswith("@triton.autotune")
    assert lines[first.line] == "def first("
    assert lines[first.end].strip() == "tl.store(a_ptr, helper(n))"
    assert found.entry is not None
    assert lines[found.entry.line] == "def kernel(x):"


def test_no_prefix_of_a_text_stops_the_scan() -> None:
    for end in range(len(SEVERAL)):
        found = scan(SEVERAL[:end])
        assert all(kernel.top <= kernel.line <= kernel.end for kernel in found.kernels)


def test_numba_is_no_triton() -> None:
    assert scan("from numba import jit\n@jit\ndef f(x):\n    pass\n").kernels == ()
    assert scan("import triton, torch\n@torch.jit.script\ndef f(x):\n    pass\n").kernels == ()


def test_cpp_kernels_and_entry() -> None:
    text = (
        "// void kernel(int) {}\n__global__ void __launch_bounds__(256) work(float* x) {\n  x[0] = 1;\n}\n"
        "void kernel(TensorView x) {\n  work<<<1, 1>>>(0);\n}\n"
    )
    found = scan(text, ".cu")
    assert [(kernel.name, kernel.line, kernel.end) for kernel in found.kernels] == [("work", 1, 3)]
    assert found.entry is not None
    assert (found.entry.line, found.entry.end) == (4, 6)


# -- tasks of files ---------------------------------------------------------------------------------------------------


def test_task_of_a_file(project: Path) -> None:
    def task(text: str, name: str = "scale.py") -> tuple[str | None, str]:
        found = find_task(project / name, scan(text, Path(name).suffix))
        return found.path and Path(found.path).name, found.why_not

    assert task("") == ("task.py", "")
    shutil.copy(project / "task.py", project / "other.py")
    assert task("# kernelevolve: task other.py\n") == ("other.py", "")
    assert task("// kernelevolve: task other.py\n", "a.cpp") == ("other.py", "")
    assert task("# kernelevolve: task aten::softmax\n") == ("aten::softmax", "")
    assert "mend the path" in task("# kernelevolve: task missing.py\n")[1]
    (project / "task.py").unlink()
    assert task("") == ("other.py", "")
    shutil.copy(project / "other.py", project / "third.py")
    assert "has 2 tasks (other.py, third.py)" in task("")[1]
    assert "save it" in find_task(None, scan("")).why_not


# -- types of arguments -----------------------------------------------------------------------------------------------


def guessed(source: str, constants: tuple[str, ...] = (), said: dict[str, str] | None = None) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(tree, ast.FunctionDef)
    parameters = [KernelParameter(argument.arg, argument.arg in constants) for argument in tree.args.args]
    found = arguments_of(tree, parameters, said or {}, {})
    return {entry.name: str(entry.value) if entry.type == "constant" else entry.type for entry in found}


def test_pointers_are_what_is_loaded_and_stored() -> None:
    source = """
    def k(A, labels, out, n, stride_am, eps, counts, BLOCK: tl.constexpr, HAS_BIAS: tl.constexpr, MODE: tl.constexpr):
        row = tl.program_id(0)
        A += row * stride_am
        lanes = tl.arange(0, BLOCK)
        pointers = A + lanes
        label = tl.load(labels + row)
        x = tl.load(pointers, mask=lanes < n)
        y = tl.load(A + label)
        if HAS_BIAS:
            y += 1
        if MODE == "relu":
            y = tl.maximum(y, 0)
        tl.atomic_add(counts + row, 1.0)
        tl.store(out + lanes, x * eps + y, mask=lanes < n)
    """
    assert guessed(source, ("BLOCK", "HAS_BIAS", "MODE")) == {
        "A": "*fp16",
        "labels": "*i64",
        "out": "*fp16",
        "n": "i32",
        "stride_am": "i32",
        "eps": "fp32",
        "counts": "*fp32",
        "BLOCK": "1024",
        "HAS_BIAS": "False",
        "MODE": "relu",
    }


def test_tiles_of_matrix_products_are_small() -> None:
    source = """
    def k(a_ptr, b_ptr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
        m, k = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_K)
        a = tl.load(a_ptr + m[:, None] * 64 + k[None, :])
        tl.store(b_ptr + m[:, None] * 64 + m[None, :], tl.dot(a, a.T))
    """
    assert guessed(source, ("BLOCK_M", "BLOCK_K")) == {
        "a_ptr": "*fp16", "b_ptr": "*fp16", "BLOCK_M": "64", "BLOCK_K": "32",
    }  # fmt: skip


def test_annotation_overrides_guesses() -> None:
    source = "def k(x, n, B: tl.constexpr):\n    tl.store(x + tl.arange(0, B), n)\n"
    assert guessed(source, ("B",), {"x": "*float32", "n": "7", "B": "256"}) == {"x": "*fp32", "n": "i32", "B": "256"}
    with pytest.raises(AnnotationError, match="says y, which is no parameter of k"):
        guessed(source, ("B",), {"y": "i32"})
    with pytest.raises(AnnotationError, match="x=fp17, which is no type"):
        said_argument("x", "fp17")
    assert said_argument("n", "4096") == Typed("n", "i32", 4096, False)


# -- compiling --------------------------------------------------------------------------------------------------------

BARE = """import triton
import triton.language as tl

{annotation}@triton.jit
def copy(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n){bad}, mask=at < n)
"""


async def hints_of(editor: Editor, uri: str, count: int = 2) -> list[str]:
    async def enough() -> list[str] | None:
        found = await editor.hints(uri)
        return found if len(found) == count else None

    return list(await until(enough))


def test_guess_is_said_and_annotation_replaces_it(lsp_state: Path, tmp_path: Path) -> None:
    guess, said = tmp_path / "guess.py", tmp_path / "said.py"
    guess.write_text(BARE.format(annotation="", bad=""))
    said.write_text(BARE.format(annotation="# kernelevolve: x=*fp32, y=*fp32, n=i32, BLOCK=512\n", bad=""))

    async def work() -> None:
        async with editing(lsp_state) as editor:
            for hint in await hints_of(editor, editor.open(guess)):
                assert "(x: *fp16, y: *fp16, n: i32, +1 guessed)" in hint
            uri = editor.open(said)
            for hint in await hints_of(editor, uri):
                assert "guessed" not in hint
            shown = await editor.command("showKernel", uri=uri, kernel="copy", target="cuda:sm_90")
            assert "`BLOCK: 512`" in shown["text"]

    run(work())


def test_matrix_units_are_named(lsp_state: Path, tmp_path: Path) -> None:
    path = tmp_path / "product.py"
    path.write_text(
        "import triton\nimport triton.language as tl\n\n"
        "# kernelevolve: a=*fp16, c=*fp32, num_warps=4\n@triton.jit\ndef product(a, c):\n"
        "    i, j = tl.arange(0, 64)[:, None], tl.arange(0, 64)[None, :]\n    x = tl.load(a + i * 64 + j)\n"
        "    tl.store(c + i * 64 + j, tl.dot(x, x))\n"
    )

    async def work() -> None:
        async with editing(lsp_state) as editor:
            nvidia, amd = await hints_of(editor, editor.open(path))
            assert nvidia.endswith(" · wgmma")
            assert amd.endswith(" · mfma")

    run(work())


def test_compile_error_is_on_its_line_and_a_guess_is_never_called_an_error(lsp_state: Path, tmp_path: Path) -> None:
    bad = " + tl.arange(0, 3)"
    said, guess = tmp_path / "said.py", tmp_path / "guess.py"
    said.write_text(BARE.format(annotation="# kernelevolve: x=*fp32, y=*fp32, n=i32, BLOCK=512\n", bad=bad))
    guess.write_text(BARE.format(annotation="", bad=" + undefined_thing"))

    async def work() -> None:
        async with editing(lsp_state, options={"lints": {"enabled": False}}) as editor:

            def codes(uri: str) -> list[tuple[str, int, int]]:
                found = editor.diagnostics.get(uri, ())
                return [(str(item.code), int(item.severity or 0), item.range.start.line) for item in found]

            uri = editor.open(said)
            assert await until(lambda: codes(uri)) == [("does-not-compile", 1, 7)]
            message = editor.diagnostics[uri][0].message
            assert "cuda:sm_90, hip:gfx950" in message
            assert "power of 2" in message
            assert all("does not compile" in hint for hint in await hints_of(editor, uri))
            other = editor.open(guess)
            assert await until(lambda: codes(other)) == [("guess-does-not-compile", 4, 4)]
            # Mended: nothing is left.
            said.write_text(BARE.format(annotation="# kernelevolve: x=*fp32, y=*fp32, n=i32, BLOCK=512\n", bad=""))
            editor.replace(uri, said.read_text())
            editor.save(uri)
            await until(lambda: codes(uri) == [])

    run(work())


def test_import_error_is_on_its_line(lsp_state: Path, tmp_path: Path) -> None:
    path = tmp_path / "imports.py"
    path.write_text(BARE.format(annotation="", bad="") + "\nimport no_such_module_here\n")

    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(path)
            [item] = await until(lambda: editor.diagnostics.get(uri))
            assert item.range.start.line == 8
            assert "Install no_such_module_here" in item.message

    run(work())


def test_edited_kernel_is_marked_until_it_is_saved(lsp_state: Path, project: Path) -> None:
    async def work() -> None:
        async with editing(lsp_state) as editor:
            path = project / "scale.py"
            uri = editor.open(path)
            await hints_of(editor, uri)
            text = path.read_text().replace("2.0 *", "3.0 *")
            editor.replace(uri, text)
            assert all(hint.endswith("(before the edit)") for hint in await editor.hints(uri))
            path.write_text(text)
            editor.save(uri)

            async def fresh() -> bool:
                hints = await editor.hints(uri)
                return len(hints) == 2 and not any("edit" in hint for hint in hints)

            await until(fresh)

    run(work())


def test_answers_are_kept_by_content(tmp_path: Path, project: Path) -> None:
    state, broken = tmp_path / "state", tmp_path / "broken"
    (broken / "triton").mkdir(parents=True)
    (broken / "triton" / "__init__.py").write_text("raise ImportError('hidden for a test')")

    async def work() -> None:
        async with editing(state) as editor:
            first = await hints_of(editor, editor.open(project / "scale.py"))
        # A server that can compile nothing still knows the answer.
        async with editing(state, environment={"PYTHONPATH": str(broken)}) as editor:
            uri = editor.open(project / "scale.py")
            assert await hints_of(editor, uri) == first
        # The task is part of the question.
        task = project / "task.py"
        task.write_text(task.read_text().replace("8, ", "16, "))
        async with editing(state, environment={"PYTHONPATH": str(broken)}) as editor:
            uri = editor.open(project / "scale.py")
            await until(lambda: editor.messages)
            assert await editor.hints(uri) == []
        kept = list((state / "language_server" / "costs").glob("*.json"))
        assert all(json.loads(path.read_text())["rests_on"] for path in kept)

    run(work())


def test_later_save_supersedes(lsp_state: Path, tmp_path: Path) -> None:
    path = tmp_path / "block.py"

    def text(block: int) -> str:
        return BARE.format(annotation=f"# kernelevolve: x=*fp16, y=*fp16, n=i32, BLOCK={block}\n", bad="")

    path.write_text(text(64))

    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(path)
            for block in (128, 256, 512, 2048):
                path.write_text(text(block))
                editor.replace(uri, text(block))
                editor.save(uri)
            await until(lambda: _says(editor, uri, "`BLOCK: 2048`"))

            async def idle() -> bool:
                return (await editor.ask("status"))["compiling"] == 0

            await until(idle)
            assert await _says(editor, uri, "`BLOCK: 2048`")

    run(work())


async def _says(editor: Editor, uri: str, words: str) -> bool:
    return words in (await editor.command("showKernel", uri=uri, kernel="copy"))["text"]


def test_relative_imports_work_in_a_package(lsp_state: Path, tmp_path: Path) -> None:
    package = tmp_path / "somepackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sizes.py").write_text("WIDTH = 128\n")
    text = BARE.format(annotation="", bad="").replace("import triton\n", "import triton\nfrom .sizes import WIDTH\n", 1)
    (package / "ops.py").write_text(text)

    async def work() -> None:
        async with editing(lsp_state) as editor:
            await hints_of(editor, editor.open(package / "ops.py"))

    run(work())


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_cpp_error_is_on_its_line(lsp_state: Path, project: Path) -> None:
    path = project / "scale.cpp"
    good = path.read_text()

    async def work() -> None:
        async with editing(lsp_state) as editor:
            path.write_text(good.replace("numel()", "numbers()"))
            uri = editor.open(path, language="cpp")
            [item] = await until(lambda: editor.diagnostics.get(uri))
            assert item.range.start.line == 3
            assert "numbers" in item.message
            path.write_text(good)
            editor.replace(uri, good)
            editor.save(uri)
            await until(lambda: not editor.diagnostics[uri])
            assert (await editor.lenses(uri))[:3] == ["Optimize", "Verify", "Profile"]

    run(work())


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs the CUDA toolkit")
def test_cuda_kernel_shows_its_resources(lsp_state: Path, tmp_path: Path) -> None:
    path = tmp_path / "scale.cu"
    path.write_text(
        "__global__ void __launch_bounds__(256) twice(const float* x, float* y, int n) {\n"
        "  int i = blockIdx.x * 256 + threadIdx.x;\n  if (i < n) y[i] = 2 * x[i];\n}\n"
        "void kernel(TensorView x, TensorView out) {\n"
        "  twice<<<1, 256, 0, current_stream(x)>>>(static_cast<const float*>(x.data_ptr()),\n"
        "      static_cast<float*>(out.data_ptr()), int(x.numel()));\n}\n"
    )

    async def work() -> None:
        async with editing(lsp_state) as editor:
            [hint] = await hints_of(editor, editor.open(path, language="cuda"), 1)
            assert "(sm_90): " in hint
            assert "occ 100 % (warps)" in hint

    run(work())
