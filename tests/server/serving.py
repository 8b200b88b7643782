"""A server over HTTP in a process of its own, and what to say to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from kernelevolve.server.tokens import Scope, TokenStore

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}},
}


@dataclass
class Server:
    """A server that runs."""

    base: str
    state: Path
    log: Path
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    def post(self, token: str | None = None, **more: Any) -> httpx2.Response:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        content = more.pop("content", None) or json.dumps(INITIALIZE)
        return httpx2.post(self.url, content=content, headers=headers | more.pop("headers", {}), timeout=30)

    def get(self, path: str, token: str | None = None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.get(f"{self.base}{path}", headers=headers, timeout=30)

    def talk(self, token: str, conversation: Callable[[Client], Any]) -> Any:
        async def run() -> Any:
            async with (
                httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=120) as http,
                Client(streamable_http_client(self.url, http_client=http)) as client,
            ):
                return await conversation(client)

        return anyio.run(run)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged, if it logs JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def serving(state: Path, workspace: Path, *flags: str) -> Iterator[Server]:
    """Start a server with a token for each scope, and end it."""
    store = TokenStore(state)
    tokens = {scope.value: store.create(scope.value, scope)[1] for scope in Scope}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "kernelevolve.server", "serve", "--http", f"127.0.0.1:{port}"]
    command += ["--workspace", str(workspace), "--state", str(state), *flags]
    log = state / "stderr.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KERNELEVOLVE_")}
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=environment, cwd=workspace)
    server = Server(f"http://127.0.0.1:{port}", state, log, tokens)
    try:
        _wait_for(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if server.get("/healthz").text == "ok":
                return
        except httpx2.TransportError:
            assert process.poll() is None, server.log.read_text()
            time.sleep(0.1)
    raise AssertionError("the server never answered")
