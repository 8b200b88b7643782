"""Half-typed code, crashes, missing parts, two editors on one folder: nothing ends, nothing hangs, and it is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from lsprotocol import types

from tests.language_server.editor import KERNEL_LINE, SCALE_TRITON, Editor, editing, until


def run(work) -> None:  # type: ignore[no-untyped-def]
    asyncio.run(asyncio.wait_for(work, 290))


async def two_hints(editor: Editor, uri: str) -> list[str] | None:
    found = await editor.hints(uri)
    return found if len(found) == 2 else None


def test_every_keystroke_of_a_session(lsp_state: Path, project: Path) -> None:
    """A kernel is typed from nothing, character by character, with a slip and its correction in each line."""
    path = project / "typed.py"
    path.write_text("")

    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(path)
            line = column = 0

            def type_in(text: str) -> None:
                nonlocal line, column
                at = types.Position(line=line, character=column)
                event = types.TextDocumentContentChangePartial(range=types.Range(start=at, end=at), text=text)
                editor.change(uri, [event])
                line, column = (line + 1, 0) if text == "\n" else (line, column + len(text))

            def erase(count: int) -> None:
                nonlocal column
                start, end = (
                    types.Position(line=line, character=column - count),
                    types.Position(line=line, character=column),
                )
                event = types.TextDocumentContentChangePartial(range=types.Range(start=start, end=end), text="")
                editor.change(uri, [event])
                column -= count

            for number, character in enumerate(SCALE_TRITON):
                if character == "\n" and column:
                    type_in("((")
                    await editor.lenses(uri)
                    erase(2)
                type_in(character)
                if number % 7 == 0:
                    await asyncio.gather(
                        editor.hover(uri, line, max(column - 1, 0)), editor.lenses(uri), editor.hints(uri)
                    )
                if number % 29 == 0:
                    place = types.Position(line=line, character=column)
                    await editor.client.text_document_completion_async(
                        types.CompletionParams(text_document=types.TextDocumentIdentifier(uri=uri), position=place)
                    )
                if number % 97 == 0:
                    editor.save(uri)
            path.write_text(SCALE_TRITON)
            editor.save(uri)
            await until(lambda: two_hints(editor, uri))
            assert not [message for message in editor.messages if "Error" in message or "kernelevolve:" in message]
            await until(lambda: editor.diagnostics.get(uri) == [])

    run(work())


def test_texts_that_are_no_python(lsp_state: Path, tmp_path: Path) -> None:
    texts = [
        "",
        "\n" * 10,
        "\0\0triton\0",
        "@triton.jit\n",
        "import triton\n@triton.jit\ndef k(",
        "import triton\n@triton.jit\ndef k(a, b: tl.constexpr = (1, [2,\n\n@triton.jit\ndef j(x):\n  pass",
        "import triton\n" + "(" * 3000,
        "triton = '''\n@triton.jit\ndef k(x):\n",
        "import triton\r\n@triton.jit\r\ndef k(x):\r\n\tpass\r\n",
        "import triton\n@triton.jit\ndef k(x):\n    '\u2028\x0c𝒳' + tl.load(x)\n",
    ]

    async def work() -> None:
        async with editing(lsp_state) as editor:
            for number, text in enumerate(texts):
                uri = editor.open(tmp_path / f"text{number}.py", text)
                await asyncio.gather(
                    editor.lenses(uri), editor.hints(uri), editor.hover(uri, 2, 5), editor.hover(uri, 99, 9)
                )
                editor.save(uri)
            opened = {(tmp_path / f"text{number}.py").as_uri() for number in range(len(texts))}
            await until(lambda: opened <= set(editor.diagnostics))
            assert not [message for message in editor.messages if "Error" in message], editor.messages

    run(work())


CRASH_IN_COMPILER = """import triton
import triton.language as tl


@triton.constexpr_function
def boom():
    import os

    os.abort()


# kernelevolve: x=*fp32
@triton.jit
def crash(x):
    tl.store(x, boom())


# kernelevolve: x=*fp32
@triton.jit
def sound(x):
    tl.store(x, 1.0)
"""


def test_kernel_that_crashes_the_compiler(lsp_state: Path, project: Path) -> None:
    path = project / "crash.py"
    path.write_text(CRASH_IN_COMPILER)

    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(path)

            async def four() -> list[str] | None:
                hints = await editor.hints(uri)
                return hints if len(hints) == 4 else None

            hints = await until(four)
            assert ["does not compile" in hint for hint in hints] == [True, True, False, False]
            [item] = await until(lambda: editor.diagnostics.get(uri))
            assert "ended its process" in item.message
            other = editor.open(project / "scale.py")
            await until(lambda: two_hints(editor, other))

    run(work())


def test_file_that_ends_the_process_when_imported(lsp_state: Path, project: Path) -> None:
    path = project / "ends.py"
    path.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n" + SCALE_TRITON)

    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(path)
            [item] = await until(lambda: editor.diagnostics.get(uri))
            assert "signal 11" in item.message
            other = editor.open(project / "scale.py")
            await until(lambda: two_hints(editor, other))
            assert (await editor.ask("status"))["compiling"] == 0

    run(work())


def test_file_that_never_ends_is_given_up_when_closed(lsp_state: Path, project: Path) -> None:
    path = project / "loop.py"
    path.write_text("while True:\n    pass\n" + SCALE_TRITON)

    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(path)

            async def compiling(count: int) -> bool:
                return (await editor.ask("status"))["compiling"] == count

            await until(lambda: compiling(1))
            other = editor.open(project / "scale.py")
            await until(lambda: two_hints(editor, other))
            editor.client.text_document_did_close(
                types.DidCloseTextDocumentParams(text_document=types.TextDocumentIdentifier(uri=uri))
            )
            await until(lambda: compiling(0))

    run(work())


@pytest.mark.parametrize("missing", ["triton", "torch"])
def test_missing_library_is_said_once_and_the_rest_works(tmp_path: Path, project: Path, missing: str) -> None:
    broken = tmp_path / "broken" / missing
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {missing!r}', name={missing!r})")

    async def work() -> None:
        environment = {"PYTHONPATH": str(tmp_path / "broken")}
        async with editing(tmp_path / "state", environment=environment) as editor:
            uri = editor.open(project / "scale.py")
            [message] = await until(lambda: editor.messages)
            assert f"{missing} cannot be imported" in message
            assert "pip install" in message
            editor.save(uri)
            assert "tl.program_id" in await editor.hover(uri, KERNEL_LINE + 1, 20)
            assert (await editor.lenses(uri))[0] == "Optimize"
            status = await editor.ask("status")
            assert status["triton"] is None
            assert all(not target["compiles"] and missing in target["reason"] for target in status["targets"])
            assert len(editor.messages) == 1

    run(work())


def test_two_editors_on_one_state_folder(tmp_path: Path, project: Path) -> None:
    async def work() -> None:
        state = tmp_path / "state"
        async with editing(state) as one, editing(state) as two:
            first, second = one.open(project / "scale.py"), two.open(project / "scale.py")
            found = await until(lambda: two_hints(one, first))
            assert await until(lambda: two_hints(two, second)) == found
            verdicts = await asyncio.gather(
                one.command("verify", uri=first, timedCalls=0), two.command("verify", uri=second, timedCalls=0)
            )
            assert [verdict["status"] for verdict in verdicts] == ["correct", "correct"]
            assert not one.messages
            assert not two.messages

    run(work())


def test_server_that_is_killed_leaves_nothing_running(tmp_path: Path, project: Path) -> None:
    import os
    import signal

    def descendants(pid: int) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                if parent == pid:
                    found += [int(entry.name), *descendants(int(entry.name))]
        return found

    async def work() -> None:
        path = project / "loop.py"
        path.write_text("while True:\n    pass\n" + SCALE_TRITON)
        editor = Editor()
        from tests.language_server.editor import SERVER, capabilities

        await editor.client.start_io(*SERVER, "--state", str(tmp_path / "state"))
        await editor.client.initialize_async(
            types.InitializeParams(capabilities=capabilities(), process_id=None, root_uri=None)
        )
        editor.client.initialized(types.InitializedParams())
        editor.open(path)

        async def compiling() -> bool:
            return (await editor.ask("status"))["compiling"] == 1

        await until(compiling)
        process = editor.client._server
        assert process is not None
        # The child that compiles is a grandchild: wait until it is there.
        children = await until(lambda: found if len(found := descendants(process.pid)) >= 5 else None)
        os.kill(process.pid, signal.SIGKILL)
        await until(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists() and not _dead(pid)], 30)

    def _dead(pid: int) -> bool:
        try:
            return (Path(f"/proc/{pid}") / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    run(work())
