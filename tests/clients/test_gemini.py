"""Gemini CLI itself: it connects over stdio and over HTTP, and offers the tools to a model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kernelevolve.server.client_links import command_line
from kernelevolve.server.clients import NAME, LocalServer, RemoteServer, Server, get_client
from tests.clients import recorder
from tests.clients.conftest import ROOT, VARIABLE, Desk, Remote, authorizations

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def gemini(client_program: Callable[[str], str]) -> str:
    return client_program("gemini")


def settings(desk: Desk) -> Any:
    return json.loads((desk.home / ".gemini" / "settings.json").read_text())


def words(server: Server) -> tuple[str, ...]:
    """`gemini mcp add …`, as `install` shows it."""
    made = command_line(get_client("gemini"), server)
    assert made is not None
    return made


def connected(desk: Desk, attempts: int = 4, **variables: str) -> bool:
    """Whether `gemini mcp list` says so. Its patience is short for a busy machine: hence again."""
    for _attempt in range(attempts):
        said = desk.succeed("gemini", "mcp", "list", **variables)
        if any(NAME in line and "Connected" in line for line in said.splitlines()):
            return True
    return False


def ask(desk: Desk, **variables: str) -> list[Any]:
    """Begin a chat with a model that refuses everything; returns what was asked of that model.

    Without a user at hand, Gemini CLI offers only tools that need no consent: hence `--yolo`. No tool is ever called.
    """
    path = desk.home / ".gemini" / "settings.json"
    path.write_text(json.dumps({**settings(desk), "security": {"auth": {"selectedType": "gemini-api-key"}}}))
    with refusing_model() as (url, requests):
        desk.run("gemini", "--yolo", "-p", "hi", GEMINI_API_KEY="none", GOOGLE_GEMINI_BASE_URL=url, **variables)
    return requests


@contextmanager
def refusing_model() -> Iterator[tuple[str, list[Any]]]:
    """Stands in for the model's endpoint: keeps each request and answers 400."""
    requests: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(json.loads(self.rfile.read(int(self.headers.get("content-length", 0)))))
            answer = b'{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}'
            self.send_response(400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()


def offered(requests: list[Any]) -> set[str]:
    """The functions that the model was offered."""
    found = set()
    for request in requests:
        for tool in request.get("tools") or []:
            found |= {declared["name"] for declared in tool.get("functionDeclarations") or []}
    return found


def test_it_connects_over_stdio_and_lists_the_tools(desk: Desk, tool_names: list[str]) -> None:
    desk.install("gemini", "--command", desk.server)
    assert connected(desk)
    desk.forget()
    requests = ask(desk)
    assert recorder.tool_names(desk.log) == tool_names
    assert {f"mcp_{NAME}_{name}" for name in tool_names} <= offered(requests)


def test_it_connects_over_http_with_a_token_from_the_environment(
    desk: Desk, remote: Remote, tool_names: list[str]
) -> None:
    desk.install("gemini", "--http", remote.url, "--token-variable", VARIABLE)
    assert connected(desk, **{VARIABLE: remote.token})
    assert authorizations(desk.log) == {f"Bearer {remote.token}"}
    assert remote.token not in (desk.home / ".gemini" / "settings.json").read_text()
    ask(desk, **{VARIABLE: remote.token})
    assert recorder.tool_names(desk.log) == tool_names


def test_a_wrong_token_lists_nothing(desk: Desk, remote: Remote) -> None:
    desk.install("gemini", "--http", remote.url, "--token-variable", VARIABLE)
    assert not connected(desk, 1, **{VARIABLE: "kev_wrong"})
    assert recorder.tool_names(desk.log) == []


def test_its_own_command_writes_what_install_writes_and_connects(desk: Desk) -> None:
    desk.succeed(*words(LocalServer(str(desk.server))))
    by_gemini = settings(desk)["mcpServers"]
    assert connected(desk)
    desk.succeed("gemini", "mcp", "remove", NAME, "--scope", "user")
    desk.install("gemini", "--command", desk.server)
    assert settings(desk)["mcpServers"] == by_gemini


def test_over_http_its_own_command_writes_what_install_writes_and_connects(desk: Desk, remote: Remote) -> None:
    desk.succeed(*words(RemoteServer(remote.url, VARIABLE)))
    by_gemini = settings(desk)["mcpServers"]
    assert connected(desk, **{VARIABLE: remote.token})
    desk.succeed("gemini", "mcp", "remove", NAME, "--scope", "user")
    desk.install("gemini", "--http", remote.url, "--token-variable", VARIABLE)
    assert settings(desk)["mcpServers"] == by_gemini


def test_its_validator_accepts_the_extension_and_it_connects(desk: Desk) -> None:
    assert "successfully validated" in desk.succeed("gemini", "extensions", "validate", ROOT)
    desk.succeed("gemini", "extensions", "link", ROOT, "--consent")
    assert connected(desk)
    assert recorder.answers(desk.log, "initialize")
