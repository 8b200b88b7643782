"""`kernelevolve install` as a user runs it: what it shows, what it writes, what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import Result
from mcp import Client, StdioServerParameters
from typer.testing import CliRunner

from kernelevolve.server.clients import CLIENTS, NAME
from kernelevolve.server.command_line import app
from kernelevolve.server.exit_codes import ExitCode


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def install(home: Path, *words: object, cwd: Path | None = None, **variables: str) -> Result:
    """Run the command in this process, as a user with this home and nothing else in the environment."""
    clean = dict.fromkeys((name for name in os.environ if name.startswith(("KERNELEVOLVE_", "XDG_", "CODEX_"))), None)
    settings = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", "COLUMNS": "80", "NO_COLOR": "1", **variables}
    with contextlib.chdir(cwd or home):
        return CliRunner().invoke(app, ["install", *map(str, words)], env={**clean, **settings})


def succeed(home: Path, *words: object, **more: Any) -> Any:
    done = install(home, *words, "--json", **more)
    assert done.exit_code == ExitCode.OK, done.stderr
    return json.loads(done.stdout)


def test_without_a_client_it_lists_those_that_are_here(home: Path) -> None:
    (home / "bin").mkdir()
    (home / "bin" / "codex").write_text("#!/bin/sh\n")
    (home / "bin" / "codex").chmod(0o755)
    (home / ".config" / "zed").mkdir(parents=True)
    (home / ".config" / "zed" / "settings.json").write_text('// mine\n{"theme": "One"}')
    succeed(home, "codex", "--write")
    listed = {entry["client"]: entry for entry in succeed(home)}
    assert list(listed) == [client.key for client in CLIENTS]
    assert {key for key, entry in listed.items() if entry["found"]} == {"codex", "zed"}
    assert listed["codex"]["registered"] is True
    assert listed["zed"]["registered"] is None, "comments: it can't tell"
    assert listed["cursor"]["registered"] is False
    shown = install(home).stdout.splitlines()
    assert shown[1].split()[:3] == ["zed", "yes", "can't"]
    assert shown[-1].startswith("kernelevolve install CLIENT")


def test_showing_writes_nothing_and_says_where_and_what(home: Path) -> None:
    shown = install(home, "claude-code").stdout
    assert str(home / ".claude.json") in shown
    assert '"mcpServers"' in shown
    assert "claude mcp add --scope user" in shown
    assert "--write" in shown
    assert list(home.iterdir()) == []


def test_the_printed_snippet_can_be_pasted(home: Path) -> None:
    lines = install(home, "cursor", "--state", "/a/rather/long/path/" + "x" * 90).stdout.splitlines()
    block = lines[lines.index("{") : lines.index("}") + 1]
    assert json.loads("\n".join(block))["mcpServers"][NAME]["args"][-1].endswith("x" * 90)


def test_written_the_server_starts_as_the_file_says(home: Path) -> None:
    value = succeed(home, "gemini", "--write", "--state", home / "state")
    assert (value["change"], value["written"], value["kept"]) == ("create", True, None)
    entry = json.loads((home / ".gemini" / "settings.json").read_text())["mcpServers"][NAME]
    assert Path(entry["command"]).is_absolute()
    parameters = StdioServerParameters(command=entry["command"], args=entry["args"], env=dict(os.environ), cwd=home)

    async def names() -> set[str]:
        async with Client(parameters) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert "compile_and_verify" in anyio.run(names)


def test_the_state_folder_of_the_environment_gets_into_the_command(home: Path) -> None:
    entry = succeed(home, "cursor", KERNELEVOLVE_STATE="relative")["entry"]
    assert entry["args"] == ["serve", "--state", str(home / "relative")]


def test_a_project_has_a_file_of_its_own(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    succeed(home, "claude-code", "--write", "--scope", "project", cwd=project)
    assert NAME in json.loads((project / ".mcp.json").read_text())["mcpServers"]
    assert list(home.iterdir()) == []
    refused = install(home, "windsurf", "--scope", "project")
    assert refused.exit_code == ExitCode.USAGE
    assert "no configuration of a project" in refused.stderr


def test_a_shared_file_can_hold_a_name_instead_of_a_path(home: Path) -> None:
    own = succeed(home, "cursor", "--scope", "project")
    assert any("--command kernelevolve" in note for note in own["notes"])
    (home / "bin").mkdir()
    (home / "bin" / "kernelevolve").write_text("#!/bin/sh\n")
    (home / "bin" / "kernelevolve").chmod(0o755)
    named = succeed(home, "cursor", "--scope", "project", "--command", "kernelevolve")
    assert (named["entry"]["command"], named["notes"]) == ("kernelevolve", [])
    there = succeed(home, "cursor", "--command", "./kernelevolve", cwd=home / "bin")
    assert there["entry"]["command"] == str(home / "bin" / "kernelevolve")


def test_settings_that_a_client_will_not_see_are_named(home: Path) -> None:
    notes = succeed(home, "cursor", KERNELEVOLVE_EMBEDDER_KEY="kev_secret")["notes"]
    assert any("KERNELEVOLVE_EMBEDDER_KEY" in note for note in notes)
    assert not any("kev_secret" in note for note in notes)


def test_writing_twice_changes_nothing_and_says_so(home: Path) -> None:
    succeed(home, "cursor", "--write")
    again = succeed(home, "cursor", "--write")
    assert (again["change"], again["written"], again["kept"]) == ("none", False, None)
    assert "says so already" in install(home, "cursor", "--write").stdout
    assert [path.name for path in (home / ".cursor").iterdir()] == ["mcp.json"]


def test_over_http_the_token_is_named_and_never_written(home: Path) -> None:
    words = ("codex", "--write", "--http", "http://127.0.0.1:8770/mcp", "--token-variable", "MY_TOKEN")
    succeed(home, *words, MY_TOKEN="kev_secret")
    text = (home / ".codex" / "config.toml").read_text()
    assert tomllib.loads(text)["mcp_servers"][NAME]["bearer_token_env_var"] == "MY_TOKEN"
    assert "kev_secret" not in text


def test_a_token_in_the_clear_gets_a_warning(home: Path) -> None:
    assert any("unencrypted" in note for note in succeed(home, "cursor", "--http", "http://far.example/mcp")["notes"])
    assert not any(
        "unencrypted" in note for note in succeed(home, "cursor", "--http", "https://a.example/mcp")["notes"]
    )


def test_a_file_with_comments_is_left_and_the_snippet_printed(home: Path) -> None:
    path = home / ".config" / "zed" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text('// mine\n{"theme": "One"}\n')
    done = install(home, "zed", "--write")
    assert done.exit_code == ExitCode.UNSUPPORTED
    assert "line 1" in done.stderr
    assert '"context_servers"' in done.stdout
    assert path.read_text() == '// mine\n{"theme": "One"}\n'
    assert install(home, "zed").exit_code == ExitCode.OK, "looking is no failure"


def test_a_client_that_would_need_the_token_itself_is_left_to_the_user(home: Path) -> None:
    done = install(home, "zed", "--write", "--http", "https://a.example/mcp")
    assert done.exit_code == ExitCode.UNSUPPORTED
    assert "variables" in done.stderr
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["emacs"], "claude-code"),
        (["--write"], "CLIENT"),
        (["codex", "--http", "not-an-address"], "http://127.0.0.1:8770/mcp"),
        (["codex", "--token-variable", "A"], "--http"),
        (["codex", "--http", "http://a/mcp", "--token-variable", "kev_abc="], "never the token"),
        (["codex", "--http", "http://a/mcp", "--state", "/tmp"], "--state"),
        (["codex", "--scope", "machine"], "machine"),
        (["codex", "--command", "/no/such/program"], "/no/such/program"),
        (["junie", "--http", "http://a/mcp"], "stdio"),
    ],
)
def test_bad_input_says_what_to_do(home: Path, words: list[str], said: str) -> None:
    done = install(home, *words)
    assert done.exit_code == ExitCode.USAGE
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert list(home.iterdir()) == []


def test_a_failure_is_json_where_json_was_asked_for(home: Path) -> None:
    done = install(home, "emacs", "--json")
    assert done.exit_code == ExitCode.USAGE
    assert "emacs" in json.loads(done.stdout)["summary"]
