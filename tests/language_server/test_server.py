"""The server over stdio and TCP: what it says it can do, and what an open file shows."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from lsprotocol import types

from kernelevolve.server.language_server.options import Options, read_options
from tests.language_server.editor import KERNEL_LINE, SERVER, Editor, capabilities, editing, until


def run(work) -> None:  # type: ignore[no-untyped-def]
    asyncio.run(asyncio.wait_for(work, 280))


def test_start_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from kernelevolve.server.language_server.server import build_server\n"
        "from kernelevolve.server.language_server import commands\n"
        "build_server()\n"
        "heavy = 'torch triton lancedb numpy pydantic sqlalchemy mcp typer rich'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_initialize_says_what_it_can_do(lsp_state: Path) -> None:
    async def work() -> None:
        async with editing(lsp_state) as editor:
            answer = editor.initialized
            assert answer.server_info.name == "kernelevolve"
            commands = answer.capabilities.execute_command_provider.commands
            assert {"kernelevolve.verify", "kernelevolve.applyBest", "kernelevolve.makeTask"} <= set(commands)
            assert answer.capabilities.position_encoding in (None, types.PositionEncodingKind.Utf16)
            assert answer.capabilities.inlay_hint_provider
            assert answer.capabilities.diagnostic_provider

    run(work())


def test_positions_are_counted_as_agreed(lsp_state: Path, tmp_path: Path) -> None:
    body = "@triton.jit\ndef k(x_ptr, N):\n    y = '𝒳' + tl.arange(0, 100)\n"
    text = f"import triton\nimport triton.language as tl\n\n{body}"
    path = tmp_path / "bad.py"
    path.write_text(text)

    async def found(encodings: list[types.PositionEncodingKind]) -> tuple[int, str]:
        async with editing(lsp_state, capabilities(pull=True, encodings=encodings)) as editor:
            uri = editor.open(path)
            items = await editor.pull(uri)
            place = next(item.range.start for item in items if item.range.start.line == 5)
            return place.character, str(editor.initialized.capabilities.position_encoding)

    async def work() -> None:
        line = text.split("\n")[5]
        utf16, _ = await found([types.PositionEncodingKind.Utf16])
        utf8, agreed = await found([types.PositionEncodingKind.Utf8])
        at = {len(line[:n].encode("utf-16-le")) // 2: len(line[:n].encode()) for n in range(len(line))}
        assert "utf-8" in agreed
        assert at[utf16] == utf8 == utf16 + 2

    run(work())


def test_file_shows_lenses_hints_and_hover(lsp_state: Path, project: Path) -> None:
    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(project / "scale.py")
            assert (await editor.lenses(uri))[:3] == ["Optimize", "Verify", "Profile"]
            hints = await until(lambda: _two(editor, uri))
            assert "(sm_90): " in hints[0]
            assert " regs · " in hints[0]
            assert "(gfx950): " in hints[1]
            assert "guessed" not in hints[0]
            hover = await editor.hover(uri, KERNEL_LINE, 6)
            assert "x_ptr: *fp32" in hover
            assert "case small" in hover
            assert "tl.program_id" in await editor.hover(uri, KERNEL_LINE + 1, 20)
            assert not editor.messages

    run(work())


async def _two(editor: Editor, uri: str) -> list[str] | None:
    hints = await editor.hints(uri)
    return hints if len(hints) == 2 else None


def test_figures_are_lenses_where_hints_are_unknown(lsp_state: Path, project: Path) -> None:
    async def work() -> None:
        async with editing(lsp_state, capabilities(hints=False)) as editor:
            uri = editor.open(project / "scale.py")

            async def figures() -> list[str]:
                return [title for title in await editor.lenses(uri) if " regs · " in title]

            found = await until(figures)
            assert found

    run(work())


def test_client_without_refresh_is_not_told_to(lsp_state: Path, project: Path) -> None:
    async def work() -> None:
        async with editing(lsp_state, capabilities(refresh=False)) as editor:
            uri = editor.open(project / "scale.py")
            await until(lambda: _two(editor, uri))
            await until(lambda: uri in editor.diagnostics)
            assert editor.refreshes == []
        async with editing(lsp_state, capabilities(pull=True)) as editor:
            editor.open(project / "scale.py")
            await until(lambda: len(set(editor.refreshes)) == 3)
            assert editor.diagnostics == {}

    run(work())


def test_status(lsp_state: Path) -> None:
    async def work() -> None:
        options = {"targets": ["cuda:sm_90", "cuda:sm_1"]}
        async with editing(lsp_state, options=options) as editor:
            status = await editor.ask("status")
            assert status["state"] == str(lsp_state)
            assert status["triton"]
            good, bad = status["targets"]
            assert good == {"name": "cuda:sm_90", "compiles": True}
            assert bad["compiles"] is False
            assert "sm_1" in bad["reason"]
            assert (await editor.ask("searches")) == {"searches": []}
            with pytest.raises(Exception, match="no search 'nothing'"):
                await editor.ask("search", search="nothing")

    run(work())


def test_settings_change_what_is_shown(lsp_state: Path, project: Path) -> None:
    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(project / "scale.py")
            await until(lambda: _two(editor, uri))
            settings = {"kernelevolve": {"targets": ["hip:gfx942"], "search": {"minutes": -1}}}
            editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings=settings))

            async def one() -> list[str] | None:
                hints = await editor.hints(uri)
                return hints if len(hints) == 1 else None

            assert "(gfx942): " in (await until(one))[0]
            assert any("search.minutes is -1" in message for message in editor.messages)
            editor.client.workspace_did_change_configuration(
                types.DidChangeConfigurationParams(settings={"kernelevolve": {"hints.enabled": False}})
            )
            await until(lambda: _none(editor, uri))

    async def _none(editor: Editor, uri: str) -> bool:
        return not await editor.hints(uri)

    run(work())


def test_untrusted_workspace_is_not_run(lsp_state: Path, project: Path) -> None:
    marker = project / "it_ran"
    text = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n" + (project / "scale.py").read_text()
    (project / "scale.py").write_text(text)

    async def work() -> None:
        async with editing(lsp_state, options={"trusted": False}) as editor:
            uri = editor.open(project / "scale.py")
            with pytest.raises(Exception, match="not trusted"):
                await editor.command("verify", uri=uri)
            assert "tl.program_id" in await editor.hover(uri, KERNEL_LINE + 3, 20)
            assert await editor.hints(uri) == []
            assert not marker.exists()
            editor.client.workspace_did_change_configuration(
                types.DidChangeConfigurationParams(settings={"kernelevolve": {"trusted": True}})
            )
            await until(lambda: _two(editor, uri))
            assert marker.exists()

    run(work())


def test_tcp(lsp_state: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*SERVER[:-1], "--tcp", "--port", str(port), "--state", str(lsp_state)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        assert f"127.0.0.1:{port}" in server.stderr.readline()

        async def connect() -> bool:
            editor = Editor()
            try:
                await editor.client.start_tcp("127.0.0.1", port)
            except OSError:
                return False
            params = types.InitializeParams(capabilities=capabilities(), process_id=None, root_uri=None)
            answer = await editor.client.initialize_async(params)
            assert answer.server_info is not None
            await editor.client.shutdown_async(None)
            editor.client.exit(None)
            return True

        run(until(connect))
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()


def test_stray_output_does_not_break_the_wire(lsp_state: Path, project: Path) -> None:
    text = 'print("stray")\nimport os\nos.write(1, b"stray")\n' + (project / "scale.py").read_text()
    (project / "scale.py").write_text(text)

    async def work() -> None:
        async with editing(lsp_state) as editor:
            uri = editor.open(project / "scale.py")
            await until(lambda: _two(editor, uri))

    run(work())


def test_options_keep_what_is_usable() -> None:
    found = read_options(
        {"targets": "cuda", "hints": {"enabled": False}, "search.evaluations": 7, "lints.enabled": "x"}
    )
    assert found == Options(hints=False, evaluations=7)
    assert len(found.complaints) == 2
    assert all("kernelevolve." in complaint for complaint in found.complaints)
    assert read_options(None) == Options()
    assert read_options(3).complaints
    assert json.dumps(found.complaints)
