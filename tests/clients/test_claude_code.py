"""Claude Code itself: it connects over stdio and over HTTP, and lists the tools; its plug-in passes its validator."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kernelevolve.server.client_links import command_line
from kernelevolve.server.clients import NAME, LocalServer, RemoteServer, Server, get_client
from kernelevolve.server.manifests import PLUGIN
from tests.clients import recorder
from tests.clients.conftest import ROOT, VARIABLE, Desk, Remote, authorizations

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def claude(client_program: Callable[[str], str]) -> str:
    return client_program("claude")


def servers(desk: Desk) -> Any:
    return json.loads((desk.home / ".claude.json").read_text())["mcpServers"]


def words(server: Server) -> tuple[str, ...]:
    """`claude mcp add …`, as `install` shows it."""
    made = command_line(get_client("claude-code"), server)
    assert made is not None
    return made


def connected(said: str) -> bool:
    return any(NAME in line and "Connected" in line for line in said.splitlines())


def test_it_connects_over_stdio_and_lists_the_tools(desk: Desk, tool_names: list[str]) -> None:
    desk.install("claude-code", "--command", desk.server)
    assert connected(desk.succeed("claude", "mcp", "list"))
    assert recorder.tool_names(desk.log) == tool_names
    assert all("not_json" not in one["message"] for one in recorder.messages(desk.log)), "stray output on stdout"


def test_it_finds_the_file_of_a_project_and_asks_before_it_starts_anything(desk: Desk) -> None:
    desk.install("claude-code", "--scope", "project", "--command", desk.server)
    said = desk.succeed("claude", "mcp", "get", NAME)
    assert "Project config" in said
    assert "Pending approval" in said
    assert str(desk.server) in said
    assert recorder.messages(desk.log) == []


def test_it_connects_over_http_with_a_token_from_the_environment(
    desk: Desk, remote: Remote, tool_names: list[str]
) -> None:
    desk.install("claude-code", "--http", remote.url, "--token-variable", VARIABLE)
    assert remote.token not in (desk.home / ".claude.json").read_text()
    assert connected(desk.succeed("claude", "mcp", "list", **{VARIABLE: remote.token}))
    assert recorder.tool_names(desk.log) == tool_names
    assert authorizations(desk.log) == {f"Bearer {remote.token}"}


def test_a_wrong_token_lists_nothing(desk: Desk, remote: Remote) -> None:
    desk.install("claude-code", "--http", remote.url, "--token-variable", VARIABLE)
    assert not connected(desk.run("claude", "mcp", "list", **{VARIABLE: "kev_wrong"}).stdout)
    assert recorder.tool_names(desk.log) == []


def test_its_own_command_writes_what_install_writes_and_connects(desk: Desk) -> None:
    desk.succeed(*words(LocalServer(str(desk.server))))
    by_claude = servers(desk)
    assert connected(desk.succeed("claude", "mcp", "list"))
    desk.succeed("claude", "mcp", "remove", NAME)
    desk.install("claude-code", "--command", desk.server)
    assert servers(desk) == by_claude


def test_over_http_its_own_command_writes_what_install_writes_and_connects(desk: Desk, remote: Remote) -> None:
    desk.succeed(*words(RemoteServer(remote.url, VARIABLE)))
    by_claude = servers(desk)
    assert connected(desk.succeed("claude", "mcp", "list", **{VARIABLE: remote.token}))
    desk.succeed("claude", "mcp", "remove", NAME)
    desk.install("claude-code", "--http", remote.url, "--token-variable", VARIABLE)
    assert servers(desk) == by_claude


@pytest.mark.parametrize("folder", [ROOT / PLUGIN, ROOT])
def test_its_validator_accepts_plugin_and_marketplace(desk: Desk, folder: Any) -> None:
    assert "Validation passed" in desk.succeed("claude", "plugin", "validate", folder)


def test_the_plugin_installs_connects_and_brings_its_skill(desk: Desk, tool_names: list[str]) -> None:
    desk.succeed("claude", "plugin", "marketplace", "add", ROOT)
    desk.succeed("claude", "plugin", "install", f"{NAME}@{NAME}")
    assert connected(desk.succeed("claude", "mcp", "list"))
    assert recorder.tool_names(desk.log) == tool_names
    details = desk.succeed("claude", "plugin", "details", NAME)
    assert "optimize-kernel" in details
    assert f"LSP servers (1)  {NAME}" in details
