"""MCP over HTTP: who gets in, what they may do, and what a hostile client gets."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from kernelevolve.server.access import TOOL_SCOPES
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.tokens import Scope, TokenError, TokenStore
from tests.conftest import SCALE_CPP, SCALE_TASK

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class Served:
    """A server in a process of its own."""

    address: str
    url: str
    state: Path
    workspace: Path
    tokens: dict[str, str]

    def post(self, token: str | None = None, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        given = {**ACCEPT, **({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        content = more.pop("content", None) or json.dumps(INITIALIZE)
        return httpx2.post(
            self.url, content=content, headers={"Content-Type": "application/json", **given}, timeout=30, **more
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state, workspace = tmp_path_factory.mktemp("http-state"), tmp_path_factory.mktemp("workspace")
    (workspace / "scale.py").write_text(SCALE_TASK)
    store = TokenStore(state)
    tokens = {scope.value: store.create(scope.value, scope)[1] for scope in Scope}
    tokens["revoked"] = store.create("revoked", Scope.ADMIN)[1]
    store.revoke("revoked")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "kernelevolve.server", "serve", "--http", f"127.0.0.1:{port}"]
    log = state / "stderr.log"
    with log.open("w") as stderr:
        command += ["--workspace", str(workspace), "--state", str(state), "--burst", "10000"]
        process = subprocess.Popen(command, stderr=stderr)
    address = f"127.0.0.1:{port}"
    try:
        _wait_for(f"http://{address}/healthz", process, log)
        yield Served(address, f"http://{address}/mcp", state, workspace, tokens)
    finally:
        process.terminate()
        process.wait(30)
    assert "Traceback" not in log.read_text()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx2.get(url, timeout=2).text == "ok":
                return
        except httpx2.TransportError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError("the server never answered")


def talk(served: Served, token: str, conversation: Callable[[Client], Any]) -> Any:
    async def run() -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=120) as http,
            Client(streamable_http_client(served.url, http_client=http)) as client,
        ):
            return await conversation(client)

    return anyio.run(run)


@pytest.mark.parametrize("token", [None, "kev_wrong", "", "a" * 5000])
def test_without_a_right_token_nobody_gets_in(served: Served, token: str | None) -> None:
    answer = served.post(token)
    assert answer.status_code == 401
    assert "kev_" not in answer.text


def test_a_revoked_token_is_refused_and_a_new_one_works_at_once(served: Served) -> None:
    assert served.post(served.tokens["revoked"]).status_code == 401
    _token, secret = TokenStore(served.state).create("late", Scope.READ)
    assert served.post(secret).status_code == 200
    TokenStore(served.state).revoke("late")
    assert served.post(secret).status_code == 401


def test_an_expired_token_is_refused(served: Served) -> None:
    _token, secret = TokenStore(served.state).create("short", Scope.ADMIN, days=1e-6)
    time.sleep(1.2)
    assert served.post(secret).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_hosts_and_other_pages_are_refused(served: Served, headers: dict[str, str], status: int) -> None:
    assert served.post(served.tokens["admin"], headers).status_code == status
    assert served.post(served.tokens["admin"]).status_code == 200


def test_each_caller_sees_the_tools_it_may_use(served: Served) -> None:
    for scope in Scope:
        listed = talk(served, served.tokens[scope.value], lambda client: client.list_tools())
        names = {tool.name for tool in listed.tools}
        assert names == {name for name, wanted in TOOL_SCOPES.items() if scope.allows(wanted)}


def test_a_tool_out_of_scope_is_refused_with_what_is_needed(served: Served) -> None:
    arguments = {"task": "scale.py", "source": SCALE_CPP, "language": "cpp", "timed_calls": 0}
    refused = talk(served, served.tokens["read"], lambda client: client.call_tool("compile_and_verify", arguments))
    assert refused.is_error
    assert "'evaluate'" in refused.content[0].text
    judged = talk(served, served.tokens["evaluate"], lambda client: client.call_tool("compile_and_verify", arguments))
    assert not judged.is_error, judged.content[0].text
    assert judged.structured_content["status"] == "correct"
    entries = [json.loads(line) for line in (served.state / "audit.jsonl").read_text().splitlines()]
    mine = [(entry["caller"], entry["outcome"]) for entry in entries if entry["tool"] == "compile_and_verify"]
    assert mine[-2:] == [("read", "refused"), ("evaluate", "ok")]


def test_an_answer_that_says_what_went_wrong_is_audited_as_one(served: Served) -> None:
    arguments = {"task": "none.py", "source": SCALE_CPP, "language": "cpp", "timed_calls": 0}
    answer = talk(served, served.tokens["search"], lambda client: client.call_tool("compile_and_verify", arguments))
    assert answer.is_error
    last = json.loads((served.state / "audit.jsonl").read_text().splitlines()[-1])
    assert (last["caller"], last["outcome"]) == ("search", "error")


@pytest.mark.parametrize("task", ["/etc/passwd", "../scale.py", "~/x.py", "/nowhere/at/all.py", SCALE_TASK])
def test_tasks_outside_the_workspace_are_refused_alike(served: Served, task: str) -> None:
    arguments = {"task": task, "source": SCALE_CPP, "language": "cpp", "timed_calls": 0}
    answer = talk(served, served.tokens["admin"], lambda client: client.call_tool("compile_and_verify", arguments))
    assert answer.is_error
    assert "workspace" in answer.content[0].text


def test_a_link_out_of_the_workspace_leads_nowhere(served: Served, tmp_path: Path) -> None:
    outside = tmp_path / "task.py"
    outside.write_text(SCALE_TASK)
    (served.workspace / "link.py").symlink_to(outside)
    arguments = {"task": "link.py", "source": SCALE_CPP, "language": "cpp", "timed_calls": 0}
    answer = talk(served, served.tokens["admin"], lambda client: client.call_tool("compile_and_verify", arguments))
    assert answer.is_error
    assert "workspace" in answer.content[0].text


@pytest.mark.parametrize(
    "uri", ["profile://../tokens", "knowledge://../../etc/passwd", "search://../tokens.json", "file:///etc/passwd"]
)
def test_resources_lead_nowhere_else(served: Served, uri: str) -> None:
    async def conversation(client: Client) -> str:
        try:
            return str(await client.read_resource(uri))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold the file
            return str(error)

    text = talk(served, served.tokens["admin"], conversation)
    assert "root:" not in text
    assert "digest" not in text


def test_oversized_and_malformed_requests_are_refused_and_the_server_lives(served: Served) -> None:
    token = served.tokens["admin"]
    assert served.post(token, content=b"x" * (5 << 20)).status_code in (400, 413)
    chance = random.Random(7)
    for _ in range(200):
        size = chance.randrange(1, 400)
        payload = bytes(chance.randrange(256) for _ in range(size))
        assert 400 <= served.post(token, content=payload).status_code < 500
    for broken in (b"[]", b"{}", b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"2.0","id":1,"method":7}', b"null", b"[" * 3000):
        assert served.post(token, content=broken).status_code < 500
    assert served.post(token).status_code == 200


def test_only_hashes_are_kept_readable_to_their_owner(served: Served) -> None:
    path = served.state / "tokens.json"
    assert path.stat().st_mode & 0o077 == 0
    text = path.read_text()
    assert not any(secret in text for secret in served.tokens.values())


def test_names_and_days_are_checked(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    store.create("ada", Scope.READ)
    for name, days in (("ada", None), ("", None), ("a/b", None), ("x" * 65, None), ("bob", 0.0), ("bob", -1.0)):
        with pytest.raises(TokenError):
            store.create(name, Scope.READ, days)
    with pytest.raises(TokenError, match="ada"):
        store.revoke("eve")
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(TokenError, match=r"tokens\.json"):
        store.tokens()


def test_a_server_without_tokens_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kernelevolve.server", "serve", "--http", "127.0.0.1:1"]
    done = subprocess.run([*command, "--state", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "kernelevolve token create" in done.stderr


def test_every_tool_has_a_scope(tmp_path: Path) -> None:
    async def names() -> set[str]:
        async with Client(create_server(tmp_path)) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert anyio.run(names) == set(TOOL_SCOPES)


def test_the_dashboard_lets_in_who_has_a_token(served: Served) -> None:
    base = f"http://{served.address}"
    with httpx2.Client(base_url=base, headers={"Accept": "text/html"}, timeout=30) as browser:
        assert browser.get("/dashboard/").headers["location"].startswith("/dashboard/login")
        assert browser.post("/dashboard/login", data={"token": served.tokens["revoked"]}).status_code == 401
        _token, secret = TokenStore(served.state).create("browser", Scope.READ)
        assert browser.post("/dashboard/login", data={"token": secret}, headers={"Origin": base}).status_code == 303
        assert browser.get("/dashboard/").status_code == 200
        assert browser.get("/dashboard/", headers={"Host": "evil.example"}).status_code == 421
        TokenStore(served.state).revoke("browser")
        assert browser.get("/dashboard/").status_code == 303


def test_the_dashboard_shows_the_searches_of_the_same_process(served: Served) -> None:
    arguments = {"task": "scale.py", "source": SCALE_CPP, "language": "cpp", "platform": "cpu", "orders": 1}
    arguments["shared"] = True
    begun = talk(served, served.tokens["search"], lambda client: client.call_tool("start_search", arguments))
    assert not begun.is_error, begun.content[0].text
    search_id = begun.structured_content["summary"]["search_id"]
    bearer = {"Authorization": f"Bearer {served.tokens['read']}"}
    for path, text in (
        ("/", search_id),
        ("/orders", "o1"),
        (f"/searches/{search_id}", "being judged|orders? under way"),
    ):
        page = httpx2.get(f"http://{served.address}/dashboard{path}", headers=bearer, timeout=30)
        assert page.status_code == 200
        assert re.search(text, page.text)
    node = httpx2.get(f"http://{served.address}/dashboard/searches/{search_id}/nodes/0", headers=bearer, timeout=30)
    assert "static_cast" in node.text
    receipts = httpx2.get(f"http://{served.address}/dashboard/receipts", headers=bearer, timeout=30)
    assert f"{search_id}.0</a>" in receipts.text
    assert "every link between neighbours holds" in receipts.text
