"""How the program starts: `serve` without the command line, tools made when somebody asks for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from kernelevolve.server.command_line import app
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.setting_table import SETTINGS
from kernelevolve.server.start import plain_flags

HEAVY = ("typer", "torch", "triton", "lancedb", "sqlalchemy", "kernelevolve.evaluation.verdict")
_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
}
_ERAS = {
    "legacy": (
        {
            "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": _META[list(_META)[2]]},
        }
    ),
    "modern": {"method": "server/discover", "params": {"_meta": _META}},
}


def run(*words: str, state: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kernelevolve.server", *words, "--state", str(state)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ([], {}),
        (["--state", "here"], {"state": "here"}),
        (["--state=a=b"], {"state": "a=b"}),
        (["--read-only", "--no-json-logs"], {"read_only": True, "json_logs": False}),
        (["--no-exec"], {"no_exec": True}),
        (["--no-no-exec"], {"no_exec": False}),
        (["--burst", "1", "--burst", "2"], {"burst": "2"}),
        (["--allow-host", "a", "--allow-host=b"], {"allow_host": ["a", "b"]}),
    ],
)
def test_flags_are_what_the_command_line_makes_of_them(words: list[str], flags: dict[str, Any]) -> None:
    assert plain_flags("serve", words) == flags

    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    with command.make_context("serve", list(words)) as context:
        seen = {name: value for name, value in context.params.items() if value not in (None, ())}
    as_texts = {"state": str, "allow_host": list}
    assert {name: as_texts.get(name, lambda value: value)(value) for name, value in seen.items()} == flags


@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["--state"], ["--state", "--read-only"], ["--state="], ["--read-only=yes"], ["--nothing"],
        ["extra"], ["--", "extra"], ["--no-state", "x"], ["-x"], ["--allow-host", ""], ["--endpoint-url", "http://x"],
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_command_line(words: list[str]) -> None:
    assert plain_flags("serve", words) is None


def test_every_flag_of_serve_is_known() -> None:
    for setting in SETTINGS:
        if "serve" in setting.commands:
            assert setting.flag is not None
            words = [setting.flag] if setting.kind.is_switch else [setting.flag, "value"]
            assert plain_flags("serve", words) is not None, setting.name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--burst", "none"], "--burst is 'none', which is not a whole number"),
        (["--http", "nowhere"], "HOST:PORT"),
        (["--sandbox", "glass"], "glass"),
        (["--nothing"], "No such option"),
        (["--state"], "requires an argument"),
    ],
)
def test_a_mistake_is_a_usage_error_that_says_what_is_wrong(tmp_path: Path, words: list[str], says: str) -> None:
    line = [sys.executable, "-m", "kernelevolve.server", "serve", *words]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_other_commands_are_the_command_line_s(tmp_path: Path) -> None:
    done = run("search", "list", "--json", state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("era", sorted(_ERAS))
def test_the_first_answer_needs_no_tool_and_no_command_line(tmp_path: Path, era: str) -> None:
    code = (
        "import sys, atexit\n"
        f"heavy = {HEAVY!r}\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules], file=sys.stderr))\n"
        "from kernelevolve.server.start import main\n"
        # What is got ready in the background is another matter.
        "import kernelevolve.server.warm_up as warm_up\n"
        "warm_up.WarmUp.start = warm_up.WarmUp.end = lambda self, **_: None\n"
        f"sys.argv = ['kernelevolve', 'serve', '--state', {str(tmp_path)!r}]\n"
        "main()\n"
    )
    request = json.dumps({"jsonrpc": "2.0", "id": 1, **_ERAS[era]}) + "\n"
    done = subprocess.run(
        [sys.executable, "-c", code], input=request, capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(done.stdout.splitlines()[0])["result"]
    assert {"tools", "resources", "prompts", "completions"} <= found["capabilities"].keys()
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_late_server_has_all_that_another_has(warm_state: Path, mode: Any) -> None:
    async def asked(client: Client) -> list[Any]:
        # A call comes first, before anything was listed.
        return [
            (await client.call_tool("get_search", {"search_id": "none"})).is_error,
            [tool.model_dump() for tool in (await client.list_tools()).tools],
            [entry.model_dump() for entry in (await client.list_resource_templates()).resource_templates],
            [entry.model_dump() for entry in (await client.list_resources()).resources],
            [entry.model_dump() for entry in (await client.list_prompts()).prompts],
            client.server_capabilities.model_dump(),
        ]

    async def of_process() -> list[Any]:
        line = ["-m", "kernelevolve.server", "serve", "--state", str(warm_state)]
        server = StdioServerParameters(command=sys.executable, args=line)
        async with Client(stdio_client(server), mode=mode) as client:
            return await asked(client)

    async def of_library() -> list[Any]:
        async with Client(create_server(warm_state), mode=mode) as client:
            return await asked(client)

    assert anyio.run(of_process) == anyio.run(of_library)
