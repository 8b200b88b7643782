"""MCP clients: where each keeps its servers, and what it needs to find this one.

`CLIENTS` is the one table: the `install` command, the documents and the install links are made from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

NAME = "kernelevolve"
"""What clients call the server."""
TOKEN_VARIABLE = "KERNELEVOLVE_TOKEN"
"""Environment variable that a client reads the bearer token from, unless another is named."""
TOKEN_INPUT = "kernelevolve-token"
"""VS Code's name for the token that it asks the user for."""


class ClientError(Exception):
    """A foreseen failure; its text says what was wrong and what to do."""


class Token(StrEnum):
    """How a client takes a bearer token without the token standing in its configuration."""

    SHELL = "${NAME}"
    """The header holds `${NAME}`; the client puts the variable's value there."""
    ENV = "${env:NAME}"
    """The same, written `${env:NAME}`."""
    FIELD = "bearer_token_env_var"
    """A field of its own names the variable."""
    PROMPT = "${input:…}"
    """The client asks the user and keeps the answer; it does not read variables in headers."""
    NONE = "none"
    """Not at all: the token itself has to stand in the configuration, where only the user should put it."""


@dataclass(frozen=True)
class LocalServer:
    """A server that the client starts and talks to over stdio."""

    command: str
    """Program, as a path or as a name on the PATH."""
    args: tuple[str, ...] = ("serve",)


@dataclass(frozen=True)
class RemoteServer:
    """A server that runs already, reached over HTTP with a bearer token.

    Raises:
        ClientError: the address or the variable's name cannot be right.
    """

    url: str
    token_variable: str = TOKEN_VARIABLE

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or parts.path in ("", "/") or re.search(r"[\s\x00-\x1f\x7f]", self.url):
            raise ClientError(
                f"{self.url!r} is not the address of an MCP server. Give all of it, such as http://127.0.0.1:8770/mcp."
            )
        if parts.username is not None or parts.query or parts.fragment:
            raise ClientError(
                f"{self.url!r} carries more than an address. The token comes from a variable: --token-variable NAME."
            )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.token_variable):
            raise ClientError(
                f"{self.token_variable!r} is not the name of an environment variable. Give the name, never the token."
            )

    @property
    def exposed(self) -> bool:
        """Whether the token would cross a network unencrypted."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost")


Server = LocalServer | RemoteServer


@dataclass(frozen=True)
class Client:
    """One row of the table."""

    key: str
    """What the user types."""
    title: str
    servers_key: str
    """The object (JSON) or table (TOML) that holds a client's servers by name."""
    user_file: str | None
    """The user's configuration; starts with `~/` or, for `$XDG_CONFIG_HOME`, with `{config}/`. None: a dialog only."""
    project_file: str | None
    """The same for one project, relative to its root."""
    documentation: str
    checked: str
    """What this row is known from, or that it is not verified."""
    traces: tuple[str, ...]
    """Folders that show that the client is here, written as `user_file` is."""
    executables: tuple[str, ...] = ()
    """Commands that show the same."""
    folder_variable: str | None = None
    """Environment variable that names the folder of `user_file`, where the client has one."""
    file_format: Literal["json", "toml"] = "json"
    local_fields: Mapping[str, Any] = field(default_factory=dict)
    """What the client wants beside `command` and `args`."""
    url_key: str | None = "url"
    """What the client calls the address. None: HTTP is not offered."""
    remote_fields: Mapping[str, Any] = field(default_factory=dict)
    token: Token = Token.SHELL
    afterwards: str = "Restart the client."
    """What the user does once the entry is there."""


CLIENTS: tuple[Client, ...] = (
    Client(
        key="claude-code", title="Claude Code", servers_key="mcpServers", user_file="~/.claude.json",
        project_file=".mcp.json", documentation="https://code.claude.com/docs/en/mcp",
        checked="running it (tests/clients)", traces=("~/.claude",), executables=("claude",),
        folder_variable="CLAUDE_CONFIG_DIR", local_fields={"type": "stdio", "env": {}}, remote_fields={"type": "http"},
        afterwards="Start a new session; /mcp shows the server.",
    ),
    Client(
        key="vscode", title="VS Code", servers_key="servers", user_file="{config}/Code/User/mcp.json",
        project_file=".vscode/mcp.json",
        documentation="https://code.visualstudio.com/docs/copilot/reference/mcp-configuration",
        checked="its documentation, 2026-11; that headers hold no variables: microsoft/vscode#336232",
        traces=("{config}/Code",), executables=("code",), local_fields={"type": "stdio"},
        remote_fields={"type": "http"}, token=Token.PROMPT,
        afterwards="MCP: List Servers starts it, and asks for the token where there is one.",
    ),
    Client(
        key="cursor", title="Cursor", servers_key="mcpServers", user_file="~/.cursor/mcp.json",
        project_file=".cursor/mcp.json", documentation="https://cursor.com/docs/mcp",
        checked="its documentation, 2026-11", traces=("~/.cursor",), executables=("cursor",),
        local_fields={"type": "stdio"}, token=Token.ENV, afterwards="Settings, MCP shows the server.",
    ),
    Client(
        key="zed", title="Zed", servers_key="context_servers", user_file="{config}/zed/settings.json",
        project_file=".zed/settings.json", documentation="https://zed.dev/docs/ai/mcp",
        checked="its documentation, 2026-11; that headers hold no variables: zed-industries/zed#60459",
        traces=("{config}/zed",), executables=("zed", "zeditor"), local_fields={"env": {}}, token=Token.NONE,
        afterwards="The agent panel's settings show the server.",
    ),
    Client(
        key="codex", title="Codex", servers_key="mcp_servers", user_file="~/.codex/config.toml",
        project_file=".codex/config.toml", documentation="https://developers.openai.com/codex/mcp",
        checked="running it (tests/clients)", traces=("~/.codex",), executables=("codex",),
        folder_variable="CODEX_HOME", file_format="toml", token=Token.FIELD,
        afterwards="Start a new session; /mcp shows the server. Project files count in trusted projects only.",
    ),
    Client(
        key="gemini", title="Gemini CLI", servers_key="mcpServers", user_file="~/.gemini/settings.json",
        project_file=".gemini/settings.json", documentation="https://geminicli.com/docs/tools/mcp-server",
        checked="running it (tests/clients)", traces=("~/.gemini",), executables=("gemini",),
        remote_fields={"type": "http"},
        afterwards="Start a new session: it starts servers in trusted folders only; /mcp shows them.",
    ),
    Client(
        key="junie", title="JetBrains Junie", servers_key="mcpServers", user_file="~/.junie/mcp/mcp.json",
        project_file=".junie/mcp/mcp.json",
        documentation="https://www.jetbrains.com/help/junie/model-context-protocol-mcp.html",
        checked="other projects' files, not verified; its documentation, 2026-11, names stdio alone",
        traces=("~/.junie",), executables=("junie",), url_key=None, token=Token.NONE,
        afterwards="Settings, Tools, Junie, MCP Settings shows the server.",
    ),
    Client(
        key="jetbrains", title="JetBrains AI Assistant", servers_key="mcpServers", user_file=None, project_file=None,
        documentation="https://www.jetbrains.com/help/ai-assistant/mcp.html",
        checked="its documentation, 2026-11, for stdio; the form for HTTP is not verified",
        traces=("{config}/JetBrains",), token=Token.NONE,
        afterwards="Settings, Tools, AI Assistant, Model Context Protocol, Add, as JSON.",
    ),
    Client(
        key="windsurf", title="Windsurf", servers_key="mcpServers", user_file="~/.codeium/windsurf/mcp_config.json",
        project_file=None, documentation="https://docs.windsurf.com/windsurf/cascade/mcp",
        checked="its documentation, 2026-11", traces=("~/.codeium/windsurf",), executables=("windsurf",),
        url_key="serverUrl", token=Token.ENV, afterwards="Press refresh in the MCP panel.",
    ),
)  # fmt: skip


def get_client(key: str) -> Client:
    """The row of a client.

    Raises:
        ClientError: there is none of this name.
    """
    for client in CLIENTS:
        if client.key == key:
            return client
    raise ClientError(f"There is no client {key!r}. Known are {', '.join(client.key for client in CLIENTS)}.")


def entry(client: Client, server: Server) -> dict[str, Any]:
    """What stands under the server's name in the client's configuration.

    Raises:
        ClientError: the client does not take such a server.
    """
    if isinstance(server, LocalServer):
        extra = {key: value for key, value in client.local_fields.items() if key != "type"}
        kind = {key: value for key, value in client.local_fields.items() if key == "type"}
        return {**kind, "command": server.command, "args": list(server.args), **extra}
    if client.url_key is None:
        raise ClientError(
            f"{client.title} is not known to take servers over HTTP. Use it over stdio: leave --http out."
        )
    place = {**client.remote_fields, client.url_key: server.url}
    if client.token is Token.FIELD:
        return {**place, client.token.value: server.token_variable}
    return {**place, "headers": {"Authorization": f"Bearer {token_text(client, server)}"}}


def token_text(client: Client, server: RemoteServer) -> str:
    """What stands for the token in a header."""
    return {
        Token.SHELL: f"${{{server.token_variable}}}",
        Token.ENV: f"${{env:{server.token_variable}}}",
        Token.PROMPT: f"${{input:{TOKEN_INPUT}}}",
    }.get(client.token, f"<the token in {server.token_variable}>")


def inputs(client: Client, server: Server) -> list[dict[str, Any]]:
    """What the client asks its user for, in VS Code's form; empty for all others."""
    if client.token is not Token.PROMPT or isinstance(server, LocalServer):
        return []
    what = f"Token of KernelEvolve (the value of {server.token_variable})"
    return [{"type": "promptString", "id": TOKEN_INPUT, "description": what, "password": True}]


def document(client: Client, server: Server) -> dict[str, Any]:
    """A configuration that holds this server alone, as the client reads it."""
    asked = inputs(client, server)
    return {client.servers_key: {NAME: entry(client, server)}, **({"inputs": asked} if asked else {})}


def by_hand(client: Client, server: Server) -> str | None:
    """Why no program should write the entry for the user; None where one may."""
    if client.user_file is None:
        return f"{client.title} takes servers through a dialog: {client.afterwards}"
    if client.token is Token.NONE and isinstance(server, RemoteServer):
        return (
            f"{client.title} does not read variables in headers, so the token itself would have to stand in the file. "
            "Put it there yourself, or use the server over stdio."
        )
    return None


def snippet(client: Client, server: Server) -> str:
    """`document` as text of the client's format, without a newline at its end."""
    if client.file_format == "json":
        return json.dumps(document(client, server), indent=2, ensure_ascii=False)
    return toml_table((client.servers_key, NAME), entry(client, server))


def toml_table(path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """A table of strings and arrays of strings. JSON's strings are TOML's, but for DEL, which JSON leaves as it is."""
    lines = [f"[{'.'.join(path)}]"]
    for key, value in values.items():
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007F"))
    return "\n".join(lines)


def place(client: Client, scope: str, environment: Mapping[str, str], home: Path, project: Path) -> Path | None:
    """The file that the client reads; it need not exist.

    Args:
        scope: `user` or `project`.
        environment: variables that move files.

    Raises:
        ClientError: the client has no file of a project.
    """
    if scope == "project":
        if client.project_file is None:
            raise ClientError(f"{client.title} has no configuration of a project: leave --scope out.")
        return project / client.project_file
    if client.user_file is None:
        return None
    if client.folder_variable and (moved := environment.get(client.folder_variable)):
        return Path(moved) / Path(client.user_file).name
    return expanded(client.user_file, environment, home)


def expanded(path: str, environment: Mapping[str, str], home: Path) -> Path:
    """A path of the table on this machine."""
    config = environment.get("XDG_CONFIG_HOME") or str(home / ".config")
    return Path(path.replace("{config}", config).replace("~", str(home), 1) if path[0] in "~{" else path)
