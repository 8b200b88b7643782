"""Real clients in a home of their own, and the server behind a recorder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from kernelevolve.evaluation.judge.client import stop_warm_host
from kernelevolve.server.manifests import server_tools
from kernelevolve.server.tokens import Scope, TokenStore
from tests.clients import recorder
from tests.clients.proxy import recording_proxy

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools" / "clients" / "node_modules" / ".bin"
VARIABLE = "KERNELEVOLVE_TEST_TOKEN"


@dataclass(frozen=True)
class Desk:
    """One user's machine: a home, a project folder, the clients on the PATH, the server behind a recorder."""

    home: Path
    project: Path
    server: Path
    """The program that clients start: the recorder, and `kernelevolve` behind it."""
    log: Path
    state: Path

    def run(self, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, without anything of the environment that the tests run in."""
        environment = self._environment(variables)
        return subprocess.run(
            [str(word) for word in words], cwd=self.project, env=environment, capture_output=True, text=True,
            timeout=240, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command that is talked to."""
        return subprocess.Popen(
            words, cwd=self.project, env=self._environment(variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        path = os.pathsep.join([str(self.server.parent), str(TOOLS), os.environ["PATH"]])
        return {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", "NO_COLOR": "1", **_QUIET, **variables}

    def succeed(self, *words: object, **variables: str) -> str:
        """The same, for what must not fail; returns all that was printed."""
        done = self.run(*words, **variables)
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{words}: {said}"
        return said

    def install(self, *words: object) -> str:
        """`kernelevolve install … --write`, in this installation's Python."""
        return self.succeed(sys.executable, "-m", "kernelevolve.server", "install", *words, "--write")

    def forget(self) -> None:
        """Begin a new recording."""
        self.log.unlink(missing_ok=True)


_QUIET = {
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
    "GEMINI_TELEMETRY_ENABLED": "false",
}
"""No updates, no reports; Gemini CLI starts servers in trusted folders only."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    home, project, folder = tmp_path / "home", tmp_path / "project", tmp_path / "bin"
    for path in (home, project, folder):
        path.mkdir()
    made = Desk(home, project, folder / "kernelevolve", tmp_path / "log.jsonl", tmp_path / "state")
    real = [sys.executable, "-m", "kernelevolve.server"]
    words = [sys.executable, recorder.__file__, str(made.log), *real]
    made.server.write_text(f'#!/bin/sh\nexport KERNELEVOLVE_STATE={made.state}\nexec {" ".join(words)} "$@"\n')
    made.server.chmod(0o755)
    yield made
    _end_hosts(made.state)


def _end_hosts(state: Path) -> None:
    """End every warm judge of a state folder: a client may have ended its server before the server knew its judge."""
    stop_warm_host(state)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd" / "1").readlink() == state / "warm-host.log":
                os.kill(int(process.name), signal.SIGTERM)
        except OSError:
            continue  # Ended meanwhile, or another user's.


@pytest.fixture
def client_program() -> Callable[[str], str]:
    """Path of a client's program; skips where it is not installed."""

    def find(name: str) -> str:
        found = TOOLS / name
        if not found.exists():
            pytest.skip(f"{name} is not installed: `make clients` installs it from npm")
        if shutil.which("node") is None:
            pytest.skip(f"{name} needs Node.js")
        return str(found)

    return find


@dataclass(frozen=True)
class Remote:
    """A server over HTTP behind a recorder, and who may use it."""

    url: str
    token: str


@pytest.fixture
def remote(desk: Desk) -> Iterator[Remote]:
    token = TokenStore(desk.state).create("client", Scope.ADMIN)[1]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "kernelevolve.server", "serve", "--http", address]
    log = desk.home.parent / "server.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--workspace", str(desk.project), "--state", str(desk.state)], stderr=stderr
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(f"http://{address}/healthz"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server never answered"
            time.sleep(0.1)
        with recording_proxy(f"http://{address}/mcp", desk.log) as url:
            yield Remote(url, token)
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).text == "ok"
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="session")
def tool_names() -> list[str]:
    """What the server has, asked of the server itself."""
    return [tool["name"] for tool in server_tools()]


def authorizations(log: Path) -> set[Any]:
    """Every `Authorization` header that a client sent."""
    return {one["authorization"] for one in recorder.messages(log) if one["from"] == "client"}
