"""Codex itself: its app server starts the servers of its configuration and lists their tools."""

from __future__ import annotations

import json
import select
import subprocess
import time
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from kernelevolve.server.client_links import command_line
from kernelevolve.server.clients import NAME, LocalServer, RemoteServer, Server, get_client
from tests.clients import recorder
from tests.clients.conftest import VARIABLE, Desk, Remote, authorizations

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def codex(client_program: Callable[[str], str]) -> str:
    return client_program("codex")


def servers(desk: Desk) -> Any:
    return tomllib.loads((desk.home / ".codex" / "config.toml").read_text())["mcp_servers"]


def words(server: Server) -> tuple[str, ...]:
    """`codex mcp add …`, as `install` shows it."""
    made = command_line(get_client("codex"), server)
    assert made is not None
    return made


def status(desk: Desk, **variables: str) -> dict[str, Any]:
    """What Codex says of its servers, by name. Its app server speaks JSON lines, as it does to its editor plug-ins."""
    asked = [
        {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "test", "title": "test", "version": "0"}}},
        {"method": "initialized"},
        {"id": 2, "method": "mcpServerStatus/list", "params": {}},
    ]
    process = desk.start("codex", "app-server", **variables)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("".join(json.dumps(one) + "\n" for one in asked))
        process.stdin.flush()
        deadline = time.monotonic() + 120
        while select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            line = process.stdout.readline()
            if not line:
                break
            message = json.loads(line)
            if message.get("id") == 2:
                return {server["name"]: server for server in message["result"]["data"]}
        raise AssertionError("Codex did not answer")
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def test_it_connects_over_stdio_and_lists_the_tools(desk: Desk, tool_names: list[str]) -> None:
    desk.install("codex", "--command", desk.server)
    assert NAME in desk.succeed("codex", "mcp", "list")
    assert set(status(desk)[NAME]["tools"]) == set(tool_names)
    assert recorder.tool_names(desk.log) == tool_names


def test_it_connects_over_http_with_a_token_from_the_environment(
    desk: Desk, remote: Remote, tool_names: list[str]
) -> None:
    desk.install("codex", "--http", remote.url, "--token-variable", VARIABLE)
    assert remote.token not in (desk.home / ".codex" / "config.toml").read_text()
    assert set(status(desk, **{VARIABLE: remote.token})[NAME]["tools"]) == set(tool_names)
    assert authorizations(desk.log) == {f"Bearer {remote.token}"}


def test_a_wrong_token_lists_nothing(desk: Desk, remote: Remote) -> None:
    desk.install("codex", "--http", remote.url, "--token-variable", VARIABLE)
    assert not status(desk, **{VARIABLE: "kev_wrong"})[NAME]["tools"]
    assert recorder.tool_names(desk.log) == []


def test_its_own_command_writes_what_install_writes_and_connects(desk: Desk, tool_names: list[str]) -> None:
    desk.succeed(*words(LocalServer(str(desk.server))))
    by_codex = servers(desk)
    assert set(status(desk)[NAME]["tools"]) == set(tool_names)
    desk.succeed("codex", "mcp", "remove", NAME)
    desk.install("codex", "--command", desk.server)
    assert servers(desk) == by_codex


def test_over_http_its_own_command_writes_what_install_writes(desk: Desk) -> None:
    url = "http://127.0.0.1:8770/mcp"
    desk.succeed(*words(RemoteServer(url, VARIABLE)))
    by_codex = servers(desk)
    desk.succeed("codex", "mcp", "remove", NAME)
    desk.install("codex", "--http", url, "--token-variable", VARIABLE)
    assert servers(desk) == by_codex
