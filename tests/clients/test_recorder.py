"""The recorder is honest: a client talks through it as if it were not there, and every message is in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.clients import recorder
from tests.clients.conftest import Desk, Remote, authorizations

pytestmark = pytest.mark.slow


async def talk(target: Any, mode: Any) -> tuple[list[str], str]:
    async with Client(target, mode=mode) as client:
        listed = await client.list_tools()
        answered = await client.call_tool("get_search", {"search_id": "none-such"})
        return [tool.name for tool in listed.tools], str(answered.content[0])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_stdio(desk: Desk, tool_names: list[str], mode: str) -> None:
    parameters = StdioServerParameters(command=str(desk.server), args=["serve"], cwd=desk.project)
    listed, answered = anyio.run(talk, parameters, mode)
    assert listed == recorder.tool_names(desk.log) == tool_names
    assert "none-such" in answered
    assert bool(recorder.answers(desk.log, "initialize")) == (mode == "legacy")
    assert len(recorder.answers(desk.log, "tools/call")) == 1


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_http(desk: Desk, remote: Remote, tool_names: list[str], mode: str) -> None:
    async def run() -> tuple[list[str], str]:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {remote.token}"}, timeout=120) as http:
            return await talk(streamable_http_client(remote.url, http_client=http), mode)

    listed, answered = anyio.run(run)
    assert listed == recorder.tool_names(desk.log) == tool_names
    assert "none-such" in answered
    assert authorizations(desk.log) == {f"Bearer {remote.token}"}


def test_only_an_answer_to_tools_list_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    recorder.note(log, "server", {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "a"}]}})
    assert recorder.tool_names(log) == [], "an answer that nobody asked for is no listing"
    recorder.note(log, "client", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert recorder.tool_names(log) == ["a"]
    assert recorder.tool_names(tmp_path / "none.jsonl") == []
