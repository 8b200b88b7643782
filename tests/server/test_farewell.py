"""The HTTP server ends in order while clients still hold streams and calls open."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from kernelevolve.server.farewell import Farewell
from tests.conftest import SCALE_TASK
from tests.server import serving as serving_module
from tests.server.serving import Server, serving

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
}
SLOW = "import time\n\n\ndef kernel(*inputs):\n    time.sleep(600)\n"


class Held:
    """A request that stays open, read by a thread of its own."""

    def __init__(self, **request: Any) -> None:
        self.began, self.ended = threading.Event(), threading.Event()
        self.status, self.text, self.error = 0, "", ""
        self._request = request
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            with httpx2.stream(timeout=120, **self._request) as response:
                self.status = response.status_code
                self.began.set()
                for text in response.iter_text():
                    self.text += text
        except httpx2.HTTPError as error:
            self.error = repr(error)
        self.ended.set()


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The server's process, once it runs."""
    found: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        found.append(start(*arguments, **more))
        return found[-1]

    monkeypatch.setattr(serving_module.subprocess, "Popen", noted)
    return found


def asking(server: Server, method: str, **parameters: Any) -> dict[str, Any]:
    headers = {
        "Authorization": f"Bearer {server.tokens['admin']}", "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method,
    }  # fmt: skip
    if "name" in parameters:
        headers["Mcp-Name"] = parameters["name"]
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**parameters, "_meta": META}}
    return {"method": "POST", "url": server.url, "json": body, "headers": headers}


def until(what: str, true: Any, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_streams_and_calls_end_when_the_server_is_told_to(
    tmp_path: Path, process: list[subprocess.Popen[bytes]]
) -> None:
    state, workspace = tmp_path / "state", tmp_path / "workspace"
    state.mkdir()
    workspace.mkdir()
    (workspace / "scale.py").write_text(SCALE_TASK)
    with serving(state, workspace, "--json-logs") as server:
        live = {"Authorization": f"Bearer {server.tokens['admin']}"}
        streams = [
            Held(**asking(server, "subscriptions/listen", notifications={"toolsListChanged": True})),
            Held(method="GET", url=f"{server.base}/dashboard/live", headers=live),
        ]
        arguments = {"task": str(workspace / "scale.py"), "source": SLOW, "limit_s": 600}
        call = Held(**asking(server, "tools/call", name="compile_and_verify", arguments=arguments))
        for held in streams:
            assert held.began.wait(30)
        judging = {"Authorization": f"Bearer {server.tokens['admin']}"}
        until(
            "the call never reached a judge",
            lambda: (
                "kernelevolve_judges_busy 1" in httpx2.get(f"{server.base}/metrics", headers=judging).text
                or call.ended.is_set()
            ),
        )
        assert not call.ended.is_set(), call.text

        process[0].terminate()
        for held in (*streams, call):
            assert held.ended.wait(30)
        process[0].wait(30)

        assert all(not held.error for held in (*streams, call)), [held.error for held in (*streams, call)]
        assert [held.status for held in streams] == [200, 200]
        # Its head was not sent yet, or it was a stream that ends without an answer.
        assert call.status in (200, 503)
        logged = server.lines()
        assert [line["outcome"] for line in logged if line["event"] == "tool_call"] == ["cancelled"]
        assert not [line for line in logged if line["level"] in ("error", "warning")], logged


def answers(app: Any) -> list[dict[str, Any]]:
    """What is sent for one request of a server that ends while it is answered."""
    sent: list[dict[str, Any]] = []

    async def run() -> None:
        farewell = Farewell(app)

        async def receive() -> dict[str, Any]:
            await anyio.sleep_forever()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        async with anyio.create_task_group() as group:
            group.start_soon(farewell, {"type": "http"}, receive, send)
            await anyio.wait_all_tasks_blocked()
            farewell.end()

    anyio.run(run)
    return sent


async def _silent(_scope: Any, _receive: Any, _send: Any) -> None:
    await anyio.sleep_forever()


async def _streaming(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await anyio.sleep_forever()


async def _whole(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"all"})
    await anyio.sleep_forever()


def test_who_got_no_answer_is_told_why() -> None:
    start, body = answers(_silent)
    assert start["status"] == 503
    assert b"ask again" in body["body"]


def test_a_stream_is_closed_and_not_broken_off() -> None:
    assert answers(_streaming)[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


def test_a_whole_answer_stays_as_it_is() -> None:
    assert [message.get("body") for message in answers(_whole)] == [None, b"all"]
