"""Files of clients: the entry gets in, nothing else is lost, and what can't be changed safely is left alone."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelevolve.server.client_files import Change, plan, registered, write
from kernelevolve.server.clients import NAME, ClientError, LocalServer, RemoteServer, entry, get_client

LOCAL = LocalServer("/opt/kernelevolve")
REMOTE = RemoteServer("http://127.0.0.1:8770/mcp")
CLAUDE, VSCODE, CODEX = get_client("claude-code"), get_client("vscode"), get_client("codex")

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


def put(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_missing_file_is_made_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "mcp.json"
    made = plan(path, VSCODE, LOCAL)
    assert made.change is Change.CREATE
    assert not path.exists(), "a plan touches nothing"
    assert write(made) is None
    assert json.loads(path.read_text())["servers"][NAME] == entry(VSCODE, LOCAL)
    assert plan(path, VSCODE, LOCAL).change is Change.NONE


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.dictionaries(texts.filter(lambda key: key != "mcpServers"), values, max_size=4), others=values)
def test_whatever_else_is_in_a_json_file_stays(tmp_path: Path, content: dict[str, Any], others: Any) -> None:
    servers = others if isinstance(others, dict) else {"other": others}
    servers.pop(NAME, None)
    path = put(tmp_path / "file.json", json.dumps({**content, "mcpServers": servers}))
    write(plan(path, CLAUDE, LOCAL))
    after = json.loads(path.read_text())
    assert after["mcpServers"].pop(NAME) == entry(CLAUDE, LOCAL)
    assert after == {**content, "mcpServers": servers}


def test_numbers_keys_and_indentation_stay_as_they_were_written(tmp_path: Path) -> None:
    path = put(
        tmp_path / "file.json", '{\n\t"z": 1.50,\n\t"a": 1e400,\n\t"big": 123456789012345678901,\n\t"é": "√"\n}\n'
    )
    write(plan(path, CLAUDE, LOCAL))
    text = path.read_text()
    assert text.startswith(
        '{\n\t"z": 1.50,\n\t"a": 1e400,\n\t"big": 123456789012345678901,\n\t"é": "√",\n\t"mcpServers"'
    )
    assert text.endswith("}\n")


def test_the_old_file_is_kept_every_time_under_a_free_name_with_its_mode(tmp_path: Path) -> None:
    path = put(tmp_path / "file.json", '{"a": 1}')
    path.chmod(0o600)
    first = write(plan(path, CLAUDE, LOCAL))
    between = path.read_text()
    second = write(plan(path, CLAUDE, REMOTE))
    assert first is not None
    assert second is not None
    assert first != second
    assert first.read_text() == '{"a": 1}'
    assert second.read_text() == between
    assert [file.stat().st_mode & 0o777 for file in (path, first, second)] == [0o600] * 3
    assert sorted(tmp_path.iterdir()) == sorted([path, first, second]), "no temporary file stays behind"


def test_links_stay_links(tmp_path: Path) -> None:
    target = put(tmp_path / "dotfiles.json", "{}")
    link = tmp_path / "mcp.json"
    link.symlink_to(target)
    write(plan(link, CLAUDE, LOCAL))
    assert link.is_symlink()
    assert NAME in json.loads(target.read_text())["mcpServers"]


def test_what_the_user_added_to_our_entry_stays(tmp_path: Path) -> None:
    old = {"command": "/old/kernelevolve", "args": ["serve"], "env": {"CUDA_VISIBLE_DEVICES": "1"}, "timeout": 600}
    path = put(tmp_path / "file.json", json.dumps({"mcpServers": {NAME: old}}))
    made = plan(path, CLAUDE, LOCAL)
    assert made.change is Change.UPDATE
    write(made)
    new = json.loads(path.read_text())["mcpServers"][NAME]
    assert new == {**old, "type": "stdio", "command": LOCAL.command}


def test_a_change_of_transport_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    path = put(tmp_path / "file.json", json.dumps({"mcpServers": {NAME: {**entry(CLAUDE, LOCAL), "env": {"A": "1"}}}}))
    write(plan(path, CLAUDE, REMOTE))
    assert json.loads(path.read_text())["mcpServers"][NAME] == entry(CLAUDE, REMOTE)


def test_the_question_for_a_token_is_added_once(tmp_path: Path) -> None:
    path = put(tmp_path / "mcp.json", '{"inputs": [{"id": "theirs", "type": "promptString"}], "servers": {}}')
    write(plan(path, VSCODE, REMOTE))
    assert [asked["id"] for asked in json.loads(path.read_text())["inputs"]] == ["theirs", "kernelevolve-token"]
    assert plan(path, VSCODE, REMOTE).change is Change.NONE


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{\n  // a comment\n  "a": 1\n}', "line 2"),
        ('{"a": 1,}', "strict JSON"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": NaN}', "NaN"),
        ("[]", "object"),
        ('{"mcpServers": []}', "mcpServers"),
        ('{"a": "\\ud800"}', "surrogate"),
        ("{" * 100_000, "strict JSON|deep"),
        ("\ufeff{}", "BOM|strict JSON"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
    ],
)
def test_what_a_round_trip_would_lose_is_refused_and_left(tmp_path: Path, text: str, why: str) -> None:
    path = put(tmp_path / "file.json", text)
    with pytest.raises(ClientError, match=why) as caught:
        plan(path, CLAUDE, LOCAL)
    assert "left as it is" in str(caught.value)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ClientError, match="UTF-8"):
        plan(path, CLAUDE, LOCAL)
    assert registered(path, CLAUDE) is None


def test_an_entry_in_a_toml_file_is_added_behind_it(tmp_path: Path) -> None:
    text = '# mine\nmodel = "x"   # why\n\n[mcp_servers.other]\ncommand = "y"\n\n[profiles.a]\nz = 1.50\n'
    path = put(tmp_path / "config.toml", text)
    kept = write(plan(path, CODEX, LOCAL))
    assert kept is not None
    assert kept.read_text() == text
    after = path.read_text()
    assert after.startswith(text)
    assert tomllib.loads(after)["mcp_servers"] == {"other": {"command": "y"}, NAME: entry(CODEX, LOCAL)}
    assert plan(path, CODEX, LOCAL).change is Change.NONE
    assert registered(path, CODEX)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = ", "not TOML"),
        ('mcp_servers = { other = { command = "y" } }', "change other parts|not TOML"),
        ("mcp_servers = 1", "not a table"),
        (f'[mcp_servers.{NAME}]\ncommand = "/old"\n', "already"),
    ],
)
def test_a_toml_file_that_can_t_take_a_table_is_left(tmp_path: Path, text: str, why: str) -> None:
    path = put(tmp_path / "config.toml", text)
    with pytest.raises(ClientError, match=why):
        plan(path, CODEX, LOCAL)
    assert path.read_text() == text


def test_a_file_that_changed_in_the_meantime_is_left(tmp_path: Path) -> None:
    path = put(tmp_path / "file.json", "{}")
    made = plan(path, CLAUDE, LOCAL)
    path.write_text('{"new": true}')
    with pytest.raises(ClientError, match="in the meantime"):
        write(made)
    assert path.read_text() == '{"new": true}'


def test_a_folder_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="can't be read"):
        plan(tmp_path, CLAUDE, LOCAL)
    blocked = put(tmp_path / "file", "")
    with pytest.raises(ClientError, match="can't be"):
        write(plan(blocked / "mcp.json", CLAUDE, LOCAL))
