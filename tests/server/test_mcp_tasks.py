"""The Tasks extension as a client sees it: in this process, over HTTP with tokens, and over a server's death."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, InputRequiredResult, Request, RequestParams, Result

from kernelevolve.evaluation.judge.client import stop_warm_host, warm_host
from kernelevolve.server import mcp_tasks
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.mcp_tasks import LONG_TOOLS, LongTool
from kernelevolve.server.task_store import MOST_OF_A_CALLER, TaskStatus, TaskStore, TaskStoreError
from kernelevolve.server.task_wire import TASKS
from kernelevolve.server.tokens import Scope, TokenStore
from tests.conformance.asking_fixtures import accepted, elicit
from tests.conformance.content_fixtures import text
from tests.conformance.task_fixtures import ALL_LONG_TOOLS, add_task_tools
from tests.conftest import SCALE_TASK
from tests.server.test_http import _wait_for
from tests.server.test_mcp import ENDLESS, arguments

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
UNKNOWN = "There is no such task of yours"


class Handle(Result):
    """What a call answers that became a task."""

    result_type: Literal["task"]
    task_id: str
    status: str
    ttl_ms: int
    poll_interval_ms: int


class Declared(ClientExtension):
    """A client that knows tasks; it is left to the test to follow them."""

    identifier = TASKS

    def claims(self) -> Sequence[ResultClaim[Any]]:
        async def follow(handle: Handle, ctx: ClaimContext) -> CallToolResult:
            raise AssertionError("the tests follow tasks themselves")

        return [ResultClaim(result_type="task", model=Handle, resolve=follow)]


class AboutTask(RequestParams):
    task_id: str


class GetTask(Request[AboutTask, str]):
    name_param: ClassVar[str | None] = "taskId"


class AnswerParams(AboutTask):
    input_responses: dict[str, Any]


class AnswerTask(Request[AnswerParams, str]):
    name_param: ClassVar[str | None] = "taskId"


class Answer(Result):
    model_config: ClassVar[Any] = {"extra": "allow"}


async def ask(client: Client, method: str, task_id: str) -> dict[str, Any]:
    request = GetTask(method=method, params=AboutTask(task_id=task_id))
    answer = await client.session.send_request(request, Answer)
    return answer.model_dump(by_alias=True, mode="json", exclude_none=True)


async def call(client: Client, tool: str = "compile_and_verify", **given: Any) -> Any:
    return await client.session.call_tool(tool, arguments(**given), allow_claimed=True)


async def until_ended(client: Client, task_id: str) -> dict[str, Any]:
    with anyio.fail_after(120):
        while True:
            view = await ask(client, "tasks/get", task_id)
            if view["status"] not in ("working", "input_required"):
                return view
            await anyio.sleep(0.1)


async def until_it_works(client: Client, task_id: str) -> None:
    """Wait until the judge has begun."""
    with anyio.fail_after(60):
        while "statusMessage" not in await ask(client, "tasks/get", task_id):
            await anyio.sleep(0.1)


Conversation = Callable[[Client], Awaitable[Any]]


def talk(state: Path, conversation: Conversation, declared: bool = True, mode: str = "auto") -> Any:
    async def run() -> Any:
        extensions = [Declared()] if declared else []
        async with Client(create_server(state), extensions=extensions, mode=mode) as client:
            return await conversation(client)

    return anyio.run(run)


def test_a_long_tool_answers_with_a_handle_and_its_result_waits(warm_state: Path) -> None:
    async def conversation(client: Client) -> tuple[Handle, dict[str, Any], dict[str, Any]]:
        handle = await call(client)
        ended = await until_ended(client, handle.task_id)
        return handle, ended, await ask(client, "tasks/get", handle.task_id)

    handle, ended, again = talk(warm_state, conversation)
    assert handle.status == "working"
    assert len(handle.task_id) >= 32
    assert handle.ttl_ms > 0
    assert ended["status"] == "completed"
    assert ended["resultType"] == "complete"
    assert ended["result"]["structuredContent"]["status"] == "correct"
    assert again == ended


def test_a_failing_tool_is_a_completed_task_with_the_error_in_it(warm_state: Path) -> None:
    async def conversation(client: Client) -> dict[str, Any]:
        return await until_ended(client, (await call(client, task="/no/such/task.py")).task_id)

    ended = talk(warm_state, conversation)
    assert ended["status"] == "completed"
    assert ended["result"]["isError"]
    assert "/no/such/task.py" in ended["result"]["content"][0]["text"]


@pytest.mark.parametrize(("declared", "mode"), [(False, "auto"), (True, "legacy"), (False, "legacy")])
def test_others_get_the_answer_itself(warm_state: Path, declared: bool, mode: str) -> None:
    async def conversation(client: Client) -> tuple[Any, int]:
        answer = await call(client)
        with pytest.raises(MCPError) as refused:
            await ask(client, "tasks/get", "x")
        return answer, refused.value.error.code

    answer, code = talk(warm_state, conversation, declared, mode)
    assert answer.structured_content["status"] == "correct"
    assert code == (-32021 if mode == "auto" else -32601)


def test_short_tools_never_become_tasks(warm_state: Path) -> None:
    answer = talk(warm_state, lambda client: client.session.call_tool("list_platforms", {}, allow_claimed=True))
    assert answer.structured_content["platforms"]
    listed = talk(warm_state, lambda client: client.list_tools())
    assert set(LONG_TOOLS) <= {tool.name for tool in listed.tools}


def test_cancel_ends_the_work_and_frees_the_judge(warm_state: Path) -> None:
    async def conversation(client: Client) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
        handle = await call(client, source=ENDLESS, limit_s=600.0)
        await until_it_works(client, handle.task_id)
        acknowledged = await ask(client, "tasks/cancel", handle.task_id)
        ended = await until_ended(client, handle.task_id)
        # The endless candidate would hold the device for ten minutes.
        after = await until_ended(client, (await call(client)).task_id)
        return acknowledged, ended, after, await ask(client, "tasks/cancel", handle.task_id)

    acknowledged, ended, after, again = talk(warm_state, conversation)
    assert {key for key in acknowledged if not key.startswith("_")} == {"resultType"}
    assert ended["status"] == "cancelled"
    assert after["result"]["structuredContent"]["status"] == "correct"
    assert again["resultType"] == "complete"


def test_a_task_is_cancelled_through_another_server_of_the_state_folder(warm_state: Path) -> None:
    async def run() -> dict[str, Any]:
        async with (
            Client(create_server(warm_state), extensions=[Declared()]) as one,
            Client(create_server(warm_state), extensions=[Declared()]) as other,
        ):
            handle = await call(one, source=ENDLESS, limit_s=600.0)
            await ask(other, "tasks/cancel", handle.task_id)
            return await until_ended(one, handle.task_id)

    assert anyio.run(run)["status"] == "cancelled"


def fixture_talk(state: Path, conversation: Conversation) -> Any:
    """Talk to the product with tools that ask."""

    async def run() -> Any:
        server = create_server(state, long_tools={**ALL_LONG_TOOLS, "twice": LongTool()})
        add_task_tools(server)

        @server.tool(name="twice")
        async def twice(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
            if ctx.request_state == "again":
                return text(f"again: {accepted(ctx, 'sure', 'sure')}")
            state = "first" if accepted(ctx, "sure", "sure") is None else "again"
            return InputRequiredResult(input_requests={"sure": elicit("Sure?", "sure")}, request_state=state)

        async with Client(server, extensions=[Declared()]) as client:
            return await conversation(client)

    return anyio.run(run)


async def update(client: Client, task_id: str, responses: dict[str, Any]) -> None:
    params = AnswerParams(task_id=task_id, input_responses=responses)
    await client.session.send_request(AnswerTask(method="tasks/update", params=params), Answer)


async def asked(client: Client, task_id: str, but: str = "") -> str:
    """The key of what a task asks now, other than one that it asked before."""
    with anyio.fail_after(60):
        while True:
            open_keys = (await ask(client, "tasks/get", task_id)).get("inputRequests", {}).keys() - {but}
            if open_keys:
                return str(next(iter(open_keys)))
            await anyio.sleep(0.05)


def test_a_task_asks_and_takes_answers(tmp_path: Path) -> None:
    async def conversation(client: Client) -> tuple[str, str, int, dict[str, Any]]:
        handle = await client.session.call_tool("twice", {}, allow_claimed=True)
        first = await asked(client, handle.task_id)
        with pytest.raises(MCPError) as refused:
            await update(client, handle.task_id, {first: {"action": "perhaps"}})
        await update(client, handle.task_id, {"unknown": {"action": "accept"}})
        assert await asked(client, handle.task_id) == first
        await update(client, handle.task_id, {first: {"action": "accept", "content": {"sure": "yes"}}})
        second = await asked(client, handle.task_id, first)
        # An answer to what was answered before is ignored.
        await update(client, handle.task_id, {first: {"action": "accept", "content": {"sure": "old"}}})
        await update(client, handle.task_id, {second: {"action": "accept", "content": {"sure": "indeed"}}})
        return first, second, refused.value.error.code, await until_ended(client, handle.task_id)

    first, second, code, ended = fixture_talk(tmp_path, conversation)
    assert first != second
    assert code == -32602
    assert ended["result"]["content"][0]["text"] == "again: indeed"


def test_a_waiting_task_can_be_cancelled(tmp_path: Path) -> None:
    async def conversation(client: Client) -> dict[str, Any]:
        handle = await client.session.call_tool("confirm_delete", {"filename": "x"}, allow_claimed=True)
        await asked(client, handle.task_id)
        await ask(client, "tasks/cancel", handle.task_id)
        return await until_ended(client, handle.task_id)

    ended = fixture_talk(tmp_path, conversation)
    assert ended["status"] == "cancelled"
    assert "inputRequests" not in ended


def test_a_server_has_so_many_tasks_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_tasks, "MOST_RUNNING", 1)

    async def conversation(client: Client) -> tuple[Any, Any]:
        handle = await client.session.call_tool("slow_compute", {"seconds": 600.0}, allow_claimed=True)
        refused = await client.session.call_tool("slow_compute", {"seconds": 0.0}, allow_claimed=True)
        await ask(client, "tasks/cancel", handle.task_id)
        await until_ended(client, handle.task_id)
        return refused, await client.session.call_tool("slow_compute", {"seconds": 0.0}, allow_claimed=True)

    refused, after = fixture_talk(tmp_path, conversation)
    assert refused.is_error
    assert "try again later" in refused.content[0].text
    assert after.status == "working"


def test_a_result_outlives_its_server(warm_state: Path) -> None:
    async def begin(client: Client) -> str:
        handle = await call(client)
        await until_ended(client, handle.task_id)
        return str(handle.task_id)

    task_id = talk(warm_state, begin)
    ended = talk(warm_state, lambda client: ask(client, "tasks/get", task_id))
    assert ended["result"]["structuredContent"]["status"] == "correct"


def test_a_server_that_is_closed_says_so_in_its_tasks(warm_state: Path) -> None:
    async def begin(client: Client) -> str:
        handle = await call(client, source=ENDLESS, limit_s=600.0)
        await until_it_works(client, handle.task_id)
        return str(handle.task_id)

    task_id = talk(warm_state, begin)
    ended = talk(warm_state, lambda client: ask(client, "tasks/get", task_id))
    assert ended["status"] == "failed"
    assert "call compile_and_verify again" in ended["error"]["message"]


@contextmanager
def http_server(state: Path, workspace: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "kernelevolve.server", "serve", "--http", f"127.0.0.1:{port}"]
    log = state / f"stderr-{port}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen([*command, "--workspace", str(workspace), "--state", str(state)], stderr=stderr)
    try:
        _wait_for(f"http://127.0.0.1:{port}/healthz", process, log)
        yield f"http://127.0.0.1:{port}/mcp", process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
    assert "Traceback" not in log.read_text()


def talk_http(url: str, token: str, conversation: Conversation) -> Any:
    async def run() -> Any:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=120) as http,
            Client(streamable_http_client(url, http_client=http), extensions=[Declared()]) as client,
        ):
            return await conversation(client)

    return anyio.run(run)


@pytest.fixture
def own_state(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose warm judge is a child of the server, and outlives it when the server is killed."""
    yield tmp_path / "state"
    stop_warm_host(tmp_path / "state")


def test_over_http_tasks_are_their_callers_and_outlive_a_killed_server(own_state: Path, tmp_path: Path) -> None:
    (tmp_path / "scale.py").write_text(SCALE_TASK)
    tokens = TokenStore(own_state)
    ada, eve = (tokens.create(name, Scope.EVALUATE)[1] for name in ("ada", "eve"))

    async def begin(client: Client) -> tuple[str, str]:
        done = await call(client, task="scale.py")
        await until_ended(client, done.task_id)
        endless = await call(client, task="scale.py", source=ENDLESS, limit_s=600.0)
        await until_it_works(client, endless.task_id)
        return done.task_id, endless.task_id

    async def pry(client: Client) -> list[tuple[int, str]]:
        found = []
        for method in ("tasks/get", "tasks/cancel"):
            for task_id in (done, endless, "x" * 32):
                with pytest.raises(MCPError) as refused:
                    await ask(client, method, task_id)
                found.append((refused.value.error.code, refused.value.error.message))
        return found

    async def both(client: Client) -> tuple[dict[str, Any], dict[str, Any]]:
        return await ask(client, "tasks/get", done), await ask(client, "tasks/get", endless)

    with http_server(own_state, tmp_path) as (url, process):
        done, endless = talk_http(url, ada, begin)
        # Another caller's task and none at all answer alike.
        assert len(set(talk_http(url, eve, pry))) == 1
        assert talk_http(url, ada, both)[1]["status"] == "working"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert warm_host(own_state) is not None
    with http_server(own_state, tmp_path) as (url, _process):
        kept, lost = talk_http(url, ada, both)
        assert len(set(talk_http(url, eve, pry))) == 1
    entries = [json.loads(line) for line in (own_state / "audit.jsonl").read_text().splitlines()]
    assert [entry["outcome"] for entry in entries if entry["caller"] == "ada"] == ["task", "ok", "task"]
    assert kept["result"]["structuredContent"]["status"] == "correct"
    assert lost["status"] == "failed"
    assert "call compile_and_verify again" in lost["statusMessage"]


def test_over_stdio_a_task_outlives_its_process(warm_state: Path, tmp_path: Path) -> None:
    command = ["-m", "kernelevolve.server", "serve", "--state", str(warm_state)]
    parameters = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ), cwd=tmp_path)

    async def run() -> tuple[dict[str, Any], dict[str, Any]]:
        async with Client(parameters, extensions=[Declared()]) as client:
            done = (await call(client)).task_id
            kept = await until_ended(client, done)
        async with Client(parameters, extensions=[Declared()]) as client:
            return kept, await ask(client, "tasks/get", done)

    kept, again = anyio.run(run)
    assert kept["result"]["structuredContent"]["status"] == "correct"
    assert again == kept


def test_a_wrong_routing_header_is_refused(warm_state: Path, tmp_path: Path) -> None:
    secret = TokenStore(warm_state).create("routed", Scope.EVALUATE)[1]
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        CAPABILITIES: {"extensions": {TASKS: {}}},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "one", "_meta": meta}}
    headers = {
        "Authorization": f"Bearer {secret}", "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tasks/get",
    }  # fmt: skip
    with http_server(warm_state, tmp_path) as (url, _process):
        wrong = httpx2.post(url, json=body, headers={**headers, "Mcp-Name": "two"}, timeout=30)
        missing = httpx2.post(url, json=body, headers=headers, timeout=30)
        right = httpx2.post(url, json=body, headers={**headers, "Mcp-Name": "one"}, timeout=30)
        listen: dict[str, Any] = {"_meta": {**meta, CAPABILITIES: {}}, "notifications": {"taskIds": ["one"]}}
        undeclared = httpx2.post(
            url, json={**body, "method": "subscriptions/listen", "params": listen}, timeout=30,
            headers={**headers, "Mcp-Method": "subscriptions/listen"},
        )  # fmt: skip
    assert [answer.json()["error"]["code"] for answer in (wrong, missing, right)] == [-32020, -32020, -32602]
    assert UNKNOWN in right.json()["error"]["message"]
    assert undeclared.json()["error"]["code"] == -32021


def test_who_listens_hears_how_its_tasks_stand_and_of_no_others(warm_state: Path, tmp_path: Path) -> None:
    store = TokenStore(warm_state)
    mine, theirs = (store.create(name, Scope.EVALUATE)[1] for name in ("listener", "stranger"))
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        CAPABILITIES: {"extensions": {TASKS: {}}},
    }

    def asking(token: str, method: str, name: str | None = None, **params: Any) -> dict[str, Any]:
        headers = {
            "Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, **({"Mcp-Name": name} if name else {}),
        }  # fmt: skip
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}
        return {"json": body, "headers": headers, "timeout": 120}

    def messages(response: httpx2.Response) -> Iterator[dict[str, Any]]:
        for line in response.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))

    def listening(token: str, *ids: Any) -> dict[str, Any]:
        return asking(token, "subscriptions/listen", notifications={"taskIds": list(ids), "toolsListChanged": True})

    with http_server(warm_state, tmp_path) as (url, _process):

        def begin(source: dict[str, Any]) -> str:
            given = asking(mine, "tools/call", name="compile_and_verify", arguments=arguments(**source))
            given["json"]["params"]["name"] = "compile_and_verify"
            with httpx2.stream("POST", url, **given) as response:
                (answer,) = (
                    messages(response)
                    if "event-stream" in response.headers["content-type"]
                    else (json.loads(response.read()),)
                )
            return str(answer["result"]["taskId"])

        (tmp_path / "scale.py").write_text(SCALE_TASK)
        here = {"task": str(tmp_path / "scale.py")}
        task_id = begin(here)
        with httpx2.stream("POST", url, **listening(mine, task_id, "none")) as response:
            heard = messages(response)
            agreed = next(heard)
            told = [next(heard)]
            while told[-1]["params"]["status"] == "working":
                told.append(next(heard))
        with httpx2.stream("POST", url, **listening(theirs, task_id)) as response:
            refused = next(messages(response))

        wrong = [httpx2.post(url, **listening(mine, *ids)) for ids in ([1], [f"t{number}" for number in range(65)])]
        # A token that is revoked hears of no result, though it may have waited for it.
        endless = begin({**here, "source": ENDLESS, "limit_s": 600.0})
        with httpx2.stream("POST", url, **listening(mine, endless)) as response:
            heard = messages(response)
            assert next(heard)["params"]["notifications"]["taskIds"] == [endless]
            assert next(heard)["params"]["status"] == "working"
            store.revoke("listener")
            last = [entry for entry in heard if entry.get("method") != "notifications/tasks"]

    assert agreed["method"] == "notifications/subscriptions/acknowledged"
    assert agreed["params"]["notifications"] == {"taskIds": [task_id], "toolsListChanged": True}
    assert {entry["method"] for entry in told} == {"notifications/tasks"}
    assert {entry["params"]["taskId"] for entry in told} == {task_id}
    assert {entry["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] for entry in told} == {7}
    assert told[-1]["params"]["status"] == "completed"
    assert told[-1]["params"]["result"]["structuredContent"]["status"] == "correct"
    assert refused["params"]["notifications"] == {"toolsListChanged": True}
    assert [answer.json()["error"]["code"] for answer in wrong] == [-32602, -32602]
    assert "at most 64" in wrong[1].json()["error"]["message"]
    assert [set(entry) & {"result", "error"} for entry in last] == [{"result"}]


def test_a_task_is_forgotten_after_its_time(tmp_path: Path) -> None:
    store = TaskStore(tmp_path, keep_s=0.2)
    task = store.create("local", "compile_and_verify")
    assert store.find(task.id, "local") is not None
    time.sleep(0.25)
    assert store.find(task.id, "local") is None
    store.create("local", "compile_and_verify")
    with sqlite3.connect(tmp_path / "tasks.sqlite") as rows:
        assert rows.execute("SELECT count(*) FROM tasks").fetchone() == (1,)
    store.close()


def test_a_task_past_its_time_is_stopped(warm_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "kernelevolve.server.mcp_server.Tasks",
        lambda state, tools, ended: mcp_tasks.Tasks(state, tools, ended, keep_s=1.0),
    )

    async def conversation(client: Client) -> Any:
        handle = await call(client, source=ENDLESS, limit_s=600.0)
        await anyio.sleep(1.5)
        with pytest.raises(MCPError, match=UNKNOWN):
            await ask(client, "tasks/get", handle.task_id)
        # The endless candidate would hold the device for ten minutes.
        async with Client(create_server(warm_state)) as other:
            with anyio.fail_after(120):
                return await other.call_tool("compile_and_verify", arguments())

    assert talk(warm_state, conversation).structured_content["status"] == "correct"


def test_a_caller_has_so_many_tasks_and_no_more(tmp_path: Path) -> None:
    store = TaskStore(tmp_path)
    tasks = [store.create("ada", "start_search") for _ in range(MOST_OF_A_CALLER)]
    assert len({task.id for task in tasks}) == MOST_OF_A_CALLER
    with pytest.raises(TaskStoreError, match="cancel one"):
        store.create("ada", "start_search")
    store.create("eve", "start_search")
    store.settle(tasks[0].id, TaskStatus.COMPLETED, result={})
    store.create("ada", "start_search")
    store.close()


def test_a_store_that_cannot_be_used_says_what_to_do(warm_state: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks.sqlite").write_text("no database at all, and longer than a header" * 50)

    async def conversation(client: Client) -> tuple[Any, MCPError]:
        with pytest.raises(MCPError) as refused:
            await ask(client, "tasks/get", "x")
        return await call(client), refused.value

    answer, refused = talk(tmp_path, conversation)
    assert answer.is_error
    assert "move it away" in answer.content[0].text
    assert "tasks.sqlite" in refused.error.message


def test_the_file_is_its_owner_s_alone_and_what_ended_stays(tmp_path: Path) -> None:
    store = TaskStore(tmp_path)
    task = store.create("local", "profile_kernel")
    store.settle(task.id, TaskStatus.COMPLETED, result={"content": []})
    store.settle(task.id, TaskStatus.FAILED, error={"code": 1, "message": "late"})
    store.request_cancel(task.id)
    found = store.find(task.id, "local")
    assert found is not None
    assert (found.status, found.result, found.error) == (TaskStatus.COMPLETED, {"content": []}, None)
    for path in tmp_path.glob("tasks.sqlite*"):
        assert path.stat().st_mode & 0o077 == 0, path
    store.close()
    assert not list((tmp_path / "servers").iterdir())


def test_the_tasks_of_a_dead_process_have_failed(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from kernelevolve.server.task_store import TaskStore\n"
        "store = TaskStore(Path(sys.argv[1]))\n"
        "made = [store.create('local', 'run_search_step') for _ in range(2)]\n"
        "store.request_cancel(made[1].id)\n"
        "print(*(task.id for task in made), flush=True); os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60,
        env=dict(os.environ),
    )  # fmt: skip
    store = TaskStore(tmp_path)
    lost, unwanted = (store.find(identifier, "local") for identifier in done.stdout.split())
    assert lost is not None
    assert lost.status is TaskStatus.FAILED
    assert lost.message is not None
    assert "get_search" in lost.message
    assert unwanted is not None
    assert unwanted.status is TaskStatus.CANCELLED
    store.close()
    assert not list((tmp_path / "servers").iterdir())
