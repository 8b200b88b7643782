"""Logs: one line for each event, on stderr alone, and nothing in them that a caller sent."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from kernelevolve.server.logs import configure_logging, event
from tests.conftest import SCALE_CPP, SCALE_TASK
from tests.server.serving import Server, serving

MARK = "planted_marker_4711"
SOURCE = SCALE_CPP + f"\n// {MARK}\n"
ARGUMENTS = {"task": "scale.py", "source": SOURCE, "language": "cpp", "timed_calls": 0}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What this process would write, and its loggers as they were afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("kernelevolve")
    before = (root.handlers[:], root.level, ours.level)
    yield io.StringIO()
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(False)


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_whatever_its_fields_hold(logged: io.StringIO) -> None:
    configure_logging(True, "info", logged)
    event("tool_call", caller="a\nb", tool="x y", seconds=0.5)
    (entry,) = entries(logged)
    assert (entry["event"], entry["level"], entry["caller"], entry["seconds"]) == ("tool_call", "info", "a\nb", 0.5)
    logged.truncate(0)
    logged.seek(0)
    configure_logging(False, "info", logged)
    event("tool_call", caller="a\nb outcome=ok", seconds=0.5)
    (line,) = logged.getvalue().splitlines()
    assert line.endswith('info tool_call caller="a\\nb outcome=ok" seconds=0.5')


def test_the_level_decides_what_is_written(logged: io.StringIO) -> None:
    configure_logging(True, "warning", logged)
    event("quiet")
    event("loud", logging.WARNING)
    assert [entry["event"] for entry in entries(logged)] == ["loud"]


def test_libraries_and_exceptions_are_named_but_not_quoted(logged: io.StringIO) -> None:
    configure_logging(True, "debug", logged)
    try:
        raise ValueError(MARK)
    except ValueError:
        logging.getLogger("mcp.server").exception("Could not read %s", MARK)
    logging.getLogger("mcp.server").info("heard %s", MARK)
    (entry,) = entries(logged)
    assert MARK not in logged.getvalue()
    assert (entry["logger"], entry["error"]) == ("mcp.server", "builtins.ValueError")
    assert entry["where"].startswith("test_logs:")
    assert "test_logs.py" in entry["frames"][0]


def test_warnings_are_lines_too(logged: io.StringIO) -> None:
    configure_logging(True, "info", logged)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("deprecated", stacklevel=1)
    (entry,) = entries(logged)
    assert "deprecated" in entry["says"]


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    workspace = tmp_path_factory.mktemp("workspace")
    (workspace / "scale.py").write_text(SCALE_TASK)
    flags = ("--json-logs", "--log-level", "debug")
    with serving(tmp_path_factory.mktemp("state"), workspace, *flags) as server:
        yield server


def test_each_call_over_http_leaves_one_line(talkative: Server) -> None:
    async def calls(client: Client) -> None:
        await client.call_tool("compile_and_verify", ARGUMENTS)
        await client.call_tool("get_search", {"search_id": MARK})
        await client.call_tool(MARK, {})

    talkative.talk(talkative.tokens["evaluate"], calls)
    talkative.talk(talkative.tokens["read"], lambda client: client.call_tool("compile_and_verify", ARGUMENTS))
    lines = [line for line in talkative.lines() if line["event"] == "tool_call"]
    assert [(line["caller"], line["tool"], line["outcome"]) for line in lines] == [
        ("evaluate", "compile_and_verify", "ok"),
        ("evaluate", "get_search", "error"),
        ("evaluate", "unknown", "refused"),
        ("read", "compile_and_verify", "refused"),
    ]
    assert len({line["request"] for line in lines}) == 4
    assert all(line["seconds"] >= 0 for line in lines)
    audit = [json.loads(line) for line in (talkative.state / "audit.jsonl").read_text().splitlines()]
    assert [entry["outcome"] for entry in audit] == ["ok", "error", "refused", "refused"]


def test_a_line_names_the_request_that_its_answer_names(talkative: Server) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_platforms", "arguments": {}}}
    version = {"MCP-Protocol-Version": "2025-11-25"}
    opened = talkative.post(talkative.tokens["read"])
    session = {"Mcp-Session-Id": opened.headers["mcp-session-id"], **version}
    talkative.post(
        talkative.tokens["read"], headers=session, content='{"jsonrpc":"2.0","method":"notifications/initialized"}'
    )
    answer = talkative.post(talkative.tokens["read"], headers=session, content=json.dumps(body))
    assert answer.status_code == 200
    last = [line for line in talkative.lines() if line["event"] == "tool_call"][-1]
    assert last["request"] == answer.headers["x-request-id"]


def test_refusals_are_written_down_with_the_address(talkative: Server) -> None:
    answer = talkative.post("kev_" + MARK)
    assert answer.status_code == 401
    last = [line for line in talkative.lines() if line["event"] == "refused"][-1]
    assert (last["reason"], last["address"], last["level"]) == ("token", "127.0.0.1", "warning")
    assert last["request"] == answer.headers["x-request-id"]


def test_no_log_holds_a_token_a_source_or_a_body(talkative: Server) -> None:
    for broken in (f'{{"{MARK}": 1}}', f'{{"jsonrpc":"2.0","id":1,"method":"{MARK}"}}', MARK):
        talkative.post(talkative.tokens["admin"], content=broken)
    talkative.talk(talkative.tokens["admin"], lambda client: client.call_tool("list_platforms", {"x": MARK}))
    log = talkative.log.read_text()
    audit = (talkative.state / "audit.jsonl").read_text()
    assert "tool_call" in log
    assert MARK not in log
    # The audit log keeps the name of a tool that was asked for, whatever it is.
    assert "void kernel" not in log + audit
    assert not any(secret in log + audit for secret in talkative.tokens.values())


@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
def test_over_stdio_stdout_speaks_the_protocol_and_nothing_else(warm_state: Path, tmp_path: Path, era: str) -> None:
    call = {"name": "compile_and_verify", "arguments": {**ARGUMENTS, "task": SCALE_TASK}}
    messages = [
        {"id": 2, "method": "tools/list", "params": {}},
        {"id": 3, "method": "tools/call", "params": call},
        {"id": 4, "method": "tools/call", "params": {"name": "no_such_tool", "arguments": {}}},
        {"id": 5, "method": "no/such/method", "params": {}},
    ]
    if era == "2025-11-25":
        hello = {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}
        messages = [
            {"id": 1, "method": "initialize", "params": hello},
            {"method": "notifications/initialized"},
            *messages,
        ]
    else:
        meta = {
            "io.modelcontextprotocol/protocolVersion": era,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        messages = [{**message, "params": {**message["params"], "_meta": meta}} for message in messages]  # type: ignore[dict-item]
    command = [sys.executable, "-m", "kernelevolve.server", "serve", "--state", str(warm_state)]
    environment = {**os.environ, "PYTHONWARNINGS": "always"}
    process = subprocess.Popen(
        [*command, "--json-logs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    wanted = {message["id"] for message in messages if "id" in message}
    answers: dict[int, dict[str, Any]] = {}
    try:
        # A line that is no protocol at all; the server must neither die of it nor repeat it on stdout.
        process.stdin.write("this is not JSON\n")
        for message in messages:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        while wanted - set(answers):
            line = process.stdout.readline()
            assert line, "the server hung up"
            spoken = json.loads(line)
            assert spoken["jsonrpc"] == "2.0"
            if spoken.get("id") is not None:
                answers[spoken["id"]] = spoken
        process.stdin.close()
        for line in process.stdout.read().splitlines():
            assert json.loads(line)["jsonrpc"] == "2.0"
        said = process.stderr.read()
        process.wait(60)
    finally:
        process.kill()
    assert answers[3]["result"]["structuredContent"]["status"] == "correct"
    calls = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    calls = [line for line in calls if line["event"] == "tool_call"]
    assert {(line["caller"], line["tool"]) for line in calls} == {("local", "compile_and_verify"), ("local", "unknown")}
    assert MARK not in said
