"""The table of clients: every row is complete, and whatever is made from it says the same."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from kernelevolve.server.client_links import command_line, links
from kernelevolve.server.clients import (
    CLIENTS,
    NAME,
    TOKEN_INPUT,
    Client,
    ClientError,
    LocalServer,
    RemoteServer,
    Server,
    Token,
    by_hand,
    document,
    entry,
    get_client,
    place,
    snippet,
)

AWKWARD = LocalServer('/opt/a "b" \\c/é/kernelevolve', ("serve", "--state", "/tmp/a b+c/d=e&f"))
REMOTE = RemoteServer("https://kernels.example:8443/mcp", "MY_TOKEN")
SERVERS: list[Server] = [AWKWARD, REMOTE]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.key)
SECRET = "kev_secret"


def takes(client: Client, server: Server) -> bool:
    return isinstance(server, LocalServer) or client.url_key is not None


@every_client
@pytest.mark.parametrize("server", SERVERS, ids=["local", "remote"])
def test_the_snippet_parses_to_the_document(client: Client, server: Server) -> None:
    if not takes(client, server):
        with pytest.raises(ClientError, match="stdio"):
            entry(client, server)
        return
    parse = tomllib.loads if client.file_format == "toml" else json.loads
    assert parse(snippet(client, server)) == document(client, server)


@every_client
def test_command_and_arguments_arrive_as_they_are(client: Client) -> None:
    made = entry(client, AWKWARD)
    assert (made["command"], tuple(made["args"])) == (AWKWARD.command, AWKWARD.args)


@every_client
def test_no_configuration_holds_a_token(client: Client) -> None:
    if not takes(client, REMOTE):
        pytest.skip("not offered over HTTP")
    text = snippet(client, REMOTE)
    assert REMOTE.url in text
    if client.token is Token.PROMPT:
        assert f"${{input:{TOKEN_INPUT}}}" in text
        assert document(client, REMOTE)["inputs"][0]["password"] is True
    else:
        assert REMOTE.token_variable in text
    # Where the client could only be given the token itself, no program writes the file.
    assert (by_hand(client, REMOTE) is not None) == (client.token is Token.NONE)


@pytest.mark.parametrize("server", SERVERS, ids=["local", "remote"])
def test_vs_code_s_links_decode_to_its_configuration(server: Server) -> None:
    client = get_client("vscode")
    web, direct = links(client, server)
    query = parse_qs(urlsplit(web).query, strict_parsing=True)
    assert urlsplit(web).netloc == "insiders.vscode.dev"
    assert query["name"] == [NAME]
    assert json.loads(query["config"][0]) == entry(client, server)
    assert json.loads(query.get("inputs", ["[]"])[0]) == document(client, server).get("inputs", [])
    named = json.loads(unquote(direct.removeprefix("vscode:mcp/install?")))
    assert named.pop("name") == NAME
    assert named.pop("inputs", []) == document(client, server).get("inputs", [])
    assert named == entry(client, server)
    assert json.loads((command_line(client, server) or ())[-1])["name"] == NAME


@pytest.mark.parametrize("server", SERVERS, ids=["local", "remote"])
def test_cursor_s_links_decode_to_its_configuration(server: Server) -> None:
    client = get_client("cursor")
    for link, start in zip(links(client, server), ["https://cursor.com/", "cursor://anysphere."], strict=True):
        assert link.startswith(start)
        query = parse_qs(urlsplit(link).query, strict_parsing=True)
        assert query["name"] == [NAME]
        assert json.loads(base64.b64decode(query["config"][0], validate=True)) == entry(client, server)


@every_client
def test_commands_carry_the_whole_server(client: Client) -> None:
    for server in filter(lambda server: takes(client, server), SERVERS):
        words: Any = command_line(client, server)
        if words is None:
            continue
        said = words[-1] if client.key == "vscode" else "\0".join(words)
        if isinstance(server, LocalServer):
            wanted = json.dumps([*server.args], ensure_ascii=False)[1:-1].replace(", ", ",")
            assert (wanted if client.key == "vscode" else "\0".join([server.command, *server.args])) in said
        else:
            assert server.url in said
            assert server.token_variable in said


def test_keys_are_unique_and_unknown_ones_name_the_known() -> None:
    keys = [client.key for client in CLIENTS]
    assert len(set(keys)) == len(keys)
    with pytest.raises(ClientError, match="claude-code, vscode"):
        get_client("emacs")


def test_variables_move_files(tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    environment = {"CODEX_HOME": "/elsewhere", "XDG_CONFIG_HOME": "/config"}
    assert place(get_client("codex"), "user", environment, home, project) == Path("/elsewhere/config.toml")
    assert place(get_client("zed"), "user", environment, home, project) == Path("/config/zed/settings.json")
    assert place(get_client("zed"), "user", {}, home, project) == home / ".config/zed/settings.json"
    assert place(get_client("cursor"), "project", {}, home, project) == project / ".cursor/mcp.json"
    with pytest.raises(ClientError, match="project"):
        place(get_client("windsurf"), "project", {}, home, project)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8770/mcp", "http:///mcp", "http://host", "http://host/", "ftp://host/mcp", "http://host:99999/mcp",
     "http://host/mcp x", f"http://user:{SECRET}@host/mcp", f"http://host/mcp?token={SECRET}", "http://host/mcp\n"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ClientError):
        RemoteServer(url)


@pytest.mark.parametrize("name", ["", "1A", "a-b", "$TOKEN", "kev_abc=", "A B", "A\n"])
def test_what_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(ClientError, match="environment variable"):
        RemoteServer("http://host/mcp", name)


def test_a_token_in_the_clear_is_noticed() -> None:
    assert RemoteServer("http://kernels.example/mcp").exposed
    assert not RemoteServer("https://kernels.example/mcp").exposed
    assert not RemoteServer("http://127.0.0.1:8770/mcp").exposed
    assert not RemoteServer("http://[::1]:8770/mcp").exposed
