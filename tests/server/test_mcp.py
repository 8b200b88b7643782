"""The MCP server as a client sees it: in this process, and over stdio."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters

from kernelevolve.evaluation.judge.client import warm_host
from kernelevolve.server.mcp_server import create_server
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT
from tests.conftest import SCALE_CPP, SCALE_TASK

ENDLESS = SCALE_CPP.replace("++i)", ")")
Conversation = Callable[[Client], Awaitable[Any]]


def talk(state: Path, conversation: Conversation) -> Any:
    """Have a conversation with a server in this process."""

    async def run() -> Any:
        async with Client(create_server(state)) as client:
            return await conversation(client)

    return anyio.run(run)


def arguments(source: str = SCALE_CPP, task: str = SCALE_TASK, **more: Any) -> dict[str, Any]:
    return {"task": task, "source": source, "language": "cpp", "timed_calls": 0, **more}


def verify(state: Path, **given: Any) -> Any:
    return talk(state, lambda client: client.call_tool("compile_and_verify", arguments(**given)))


def text_of(result: Any) -> str:
    (block,) = (block for block in result.content if block.type == "text")
    return str(block.text)


def test_both_tools_say_what_they_take_and_give(warm_state: Path) -> None:
    listed = talk(warm_state, lambda client: client.list_tools())
    tools = {tool.name: tool for tool in listed.tools}
    assert {"compile_and_verify", "list_platforms"} <= set(tools)
    assert tools["compile_and_verify"].input_schema["required"] == ["task", "source"]
    assert {"status", "platforms", "receipt_hash"} <= set(tools["compile_and_verify"].output_schema["properties"])
    assert "platforms" in tools["list_platforms"].output_schema["properties"]
    assert tools["list_platforms"].annotations.read_only_hint


def test_platforms_are_listed(warm_state: Path) -> None:
    result = talk(warm_state, lambda client: client.call_tool("list_platforms"))
    platforms = {entry["platform"]: entry for entry in result.structured_content["platforms"]}
    assert "executed" in platforms["cpu"]["levels"]["cpp"]
    assert {"cuda:sm_90", "hip:gfx950"} <= set(platforms)
    assert "hip:gfx950" in text_of(result)


def test_right_candidate_is_correct(warm_state: Path) -> None:
    result = verify(warm_state, timed_calls=20)
    assert not result.is_error
    assert result.structured_content["status"] == "correct"
    assert result.structured_content["platforms"][0]["timings"]
    text = text_of(result)
    assert text.startswith("correct")
    assert result.structured_content["receipt_hash"][:16] in text
    assert len(text) <= TEXT_LIMIT


def test_wrong_candidate_gets_a_diagnosis(warm_state: Path) -> None:
    result = verify(warm_state, source=SCALE_CPP.replace("1.0f;", "1.5f;"))
    # A refused candidate is an answer, not a failure of the tool.
    assert not result.is_error
    assert result.structured_content["status"] == "wrong"
    assert "wrong_values" in text_of(result)
    assert "do: " in text_of(result)


def test_long_compiler_output_is_cut(warm_state: Path) -> None:
    junk = "\n".join(f'static_assert(false, "{"long " * 60}{number}");' for number in range(100))
    result = verify(warm_state, source=junk + SCALE_CPP)
    assert result.structured_content["status"] == "compile_error"
    assert len(text_of(result)) <= TEXT_LIMIT


def test_unknown_task_is_a_tool_error_that_says_what_to_do(warm_state: Path) -> None:
    result = verify(warm_state, task="/no/such/task.py")
    assert result.is_error
    assert "/no/such/task.py" in text_of(result)
    assert "aten::<operator>" in text_of(result)


def test_unusable_task_is_the_task_s_fault(warm_state: Path) -> None:
    text = text_of(verify(warm_state, task="import torch\nCASES = {}\ndef reference(x): return x\n"))
    assert "task_without_inputs" in text
    assert "CASES" in text


def test_unknown_platform_names_the_known_ones(warm_state: Path) -> None:
    result = verify(warm_state, platforms=["quantum"])
    assert "cuda:sm_90" in text_of(result)


def test_progress_arrives(warm_state: Path) -> None:
    heard: list[tuple[float, str | None]] = []

    async def hear(progress: float, _total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    talk(
        warm_state,
        lambda client: client.call_tool("compile_and_verify", arguments(), progress_callback=hear),
    )
    assert len(heard) > 2
    assert any("checking" in (message or "") for _share, message in heard)
    assert all(0.0 <= share <= 1.0 for share, _message in heard)


def test_cancelled_call_frees_the_judge(warm_state: Path) -> None:
    async def cancel_then_ask(client: Client) -> tuple[bool, float, Any]:
        with anyio.move_on_after(6.0) as patience:
            await client.call_tool("compile_and_verify", arguments(ENDLESS, limit_s=120.0))
        began = time.monotonic()
        with anyio.fail_after(60.0):
            result = await client.call_tool("compile_and_verify", arguments())
        return patience.cancelled_caught, time.monotonic() - began, result

    cancelled, waited_s, result = talk(warm_state, cancel_then_ask)
    assert cancelled
    assert result.structured_content["status"] == "correct"
    assert waited_s < 50.0, "the endless candidate kept the device until its time limit"


def test_over_stdio(warm_state: Path, tmp_path: Path) -> None:
    command = ["-m", "kernelevolve.server", "serve", "--state", str(warm_state)]
    parameters = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ), cwd=tmp_path)

    async def run() -> tuple[Any, Any, Any]:
        async with Client(parameters) as client:
            listed = await client.list_tools()
            right = await client.call_tool("compile_and_verify", arguments())
            missing = await client.call_tool("compile_and_verify", arguments(task="/no/such/task.py"))
            return listed, right, missing

    listed, right, missing = anyio.run(run)
    assert len(listed.tools) >= 2
    assert right.structured_content["status"] == "correct"
    assert missing.is_error
    # The server found a warm judge, which is not its own, so it leaves it running.
    assert warm_host(warm_state) is not None
    assert not _processes_in(tmp_path)


def _processes_in(folder: Path) -> list[int]:
    """Processes whose working folder is this one: a server that is left over."""
    found = []
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        found = [path.parent.name for path in Path("/proc").glob("[0-9]*/cwd") if _points_to(path, folder)]
        if not found:
            break
        time.sleep(0.1)
    return [int(name) for name in found]


def _points_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False
