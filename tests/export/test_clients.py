"""Exports through MCP and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from kernelevolve.server.access import TOOL_SCOPES, wanted_scope
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.tokens import Scope
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT
from tests.export.support import Shelf


def talk(
    shelf: Shelf,
    conversation: Callable[[Client], Awaitable[Any]],
    workspace: Path | None = None,
    most: Scope = Scope.ADMIN,
) -> Any:
    async def run() -> Any:
        async with Client(create_server(shelf.state, most, workspace)) as client:
            return await conversation(client)

    return anyio.run(run)


def test_an_assistant_exports_reads_and_writes(shelf: Shelf, rows_search: str, rows_text: str, tmp_path: Path) -> None:
    async def conversation(client: Client) -> tuple[Any, ...]:
        plain = await client.call_tool("export_kernel", {"search_id": rows_search})
        read = await client.read_resource(f"search://{rows_search}/export")
        written = await client.call_tool("export_kernel", {"search_id": rows_search, "path": "rows.py"})
        outside = await client.call_tool("export_kernel", {"search_id": rows_search, "path": "../rows.py"})
        unknown = await client.call_tool("export_kernel", {"search_id": "nothing"})
        return plain, read, written, outside, unknown

    plain, read, written, outside, unknown = talk(shelf, conversation, tmp_path)
    text, link = plain.content
    assert not plain.is_error, text.text
    assert len(text.text) <= TEXT_LIMIT
    assert (link.type, link.uri) == ("resource_link", f"search://{rows_search}/export")
    assert plain.structured_content["files"] == []
    assert rows_text not in text.text
    (content,) = read.contents
    assert content.text == rows_text
    assert content.mime_type == "text/x-python"
    assert written.structured_content["sha256"] == plain.structured_content["sha256"]
    assert (tmp_path / "rows.py").read_text() == rows_text
    assert outside.is_error
    assert "leads out" in outside.content[0].text
    assert unknown.is_error
    assert "nothing" in unknown.content[0].text


def test_what_was_not_exported_cannot_be_read(shelf: Shelf) -> None:
    async def conversation(client: Client) -> list[str]:
        told = []
        for uri in ("search://nothing/export", "search://..%2Ftokens/export", "search://../export"):
            try:
                told.append(str(await client.read_resource(uri)))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
                told.append(str(error))
        return told

    for text in talk(shelf, conversation):
        assert "PLAN" not in text


def test_exporting_judges_and_writing_writes(shelf: Shelf, rows_search: str, tmp_path: Path) -> None:
    assert TOOL_SCOPES["export_kernel"] is Scope.EVALUATE
    assert wanted_scope("export_kernel", {"search_id": "x", "path": None}) is Scope.EVALUATE
    assert wanted_scope("export_kernel", {"search_id": "x", "path": ""}) is Scope.SEARCH
    assert wanted_scope("no_such_tool", {"path": "x"}) is Scope.ADMIN

    async def conversation(client: Client) -> Any:
        return await client.call_tool("export_kernel", {"search_id": rows_search, "path": "rows.py"})

    refused = talk(shelf, conversation, tmp_path, Scope.EVALUATE)
    assert refused.is_error
    assert "'search'" in refused.content[0].text
    assert not (tmp_path / "rows.py").exists()
    assert (
        "'evaluate'"
        in talk(
            shelf, lambda client: client.call_tool("export_kernel", {"search_id": rows_search}), tmp_path, Scope.READ
        )
        .content[0]
        .text
    )


def test_the_command_line_exports(shelf: Shelf, rows_search: str, rows_text: str, tmp_path: Path) -> None:
    def command(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "kernelevolve.server", "export", *words, "--state", str(shelf.state)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    printed = command(rows_search)
    assert printed.stdout == rows_text
    assert "2.000x" in printed.stderr
    answer = json.loads(command(rows_search, "--output", "rows.py", "--json").stdout)
    assert answer["files"][0] == str(tmp_path / "rows.py")
    assert "module" not in answer
    assert (tmp_path / "rows.py").read_text() == rows_text
    again = json.loads(command(rows_search, "-o", "rows.py", "--json", code=4).stdout)
    assert "there already" in again["summary"]
    one = json.loads(command(rows_search, "--steps", "1", "--json").stdout)
    assert [node["node_id"] for node in one["nodes"]] == [f"{rows_search}.1"]
    assert f"{rows_search}.0" not in one["module"]
    assert "no search" in command("nothing", code=4).stderr


@pytest.mark.parametrize("name", ["export_kernel"])
def test_the_tool_says_what_it_takes_and_gives(shelf: Shelf, name: str) -> None:
    listed = talk(shelf, lambda client: client.list_tools())
    tool = next(tool for tool in listed.tools if tool.name == name)
    assert tool.input_schema["required"] == ["search_id"]
    assert {"nodes", "cases", "sha256", "resource"} <= set(tool.output_schema["properties"])
