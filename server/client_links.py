"""Ways to register the server without touching a file: the client's own command, and links that open the client."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from kernelevolve.server.clients import NAME, Client, LocalServer, RemoteServer, Server, entry, inputs, token_text

Command = tuple[str, ...]


def command_line(client: Client, server: Server, scope: str = "user") -> Command | None:
    """The client's own command for it, as words; None where the client has none for this server and scope.

    Args:
        scope: `user` or `project`.
    """
    build = _COMMANDS.get(client.key)
    return None if build is None else build(client, server, scope)


def links(client: Client, server: Server) -> tuple[str, ...]:
    """Links that open the client and ask the user whether to install the server; empty where it has none."""
    build = _LINKS.get(client.key)
    return () if build is None else build(client, server)


def _header(client: Client, server: RemoteServer) -> str:
    return f"Authorization: Bearer {token_text(client, server)}"


def _claude_code(client: Client, server: Server, scope: str) -> Command:
    add = ("claude", "mcp", "add", "--scope", scope)
    if isinstance(server, LocalServer):
        return (*add, NAME, "--", server.command, *server.args)
    return (*add, "--transport", "http", NAME, server.url, "--header", _header(client, server))


def _gemini(client: Client, server: Server, scope: str) -> Command:
    add = ("gemini", "mcp", "add", "--scope", scope)
    if isinstance(server, LocalServer):
        return (*add, NAME, server.command, *server.args)
    return (*add, "--transport", "http", "--header", _header(client, server), NAME, server.url)


def _codex(_client: Client, server: Server, scope: str) -> Command | None:
    if scope != "user":
        return None
    if isinstance(server, LocalServer):
        return ("codex", "mcp", "add", NAME, "--", server.command, *server.args)
    return ("codex", "mcp", "add", NAME, "--url", server.url, "--bearer-token-env-var", server.token_variable)


def _vscode(client: Client, server: Server, scope: str) -> Command | None:
    if scope != "user":
        return None
    return ("code", "--add-mcp", _compact(_named(client, server)))


def _vscode_links(client: Client, server: Server) -> tuple[str, ...]:
    asked = inputs(client, server)
    query = {"name": NAME, "config": _compact(entry(client, server)), **({"inputs": _compact(asked)} if asked else {})}
    return (
        f"https://insiders.vscode.dev/redirect/mcp/install?{urlencode(query, quote_via=quote)}",
        f"vscode:mcp/install?{quote(_compact(_named(client, server)), safe='')}",
    )


def _cursor_links(client: Client, server: Server) -> tuple[str, ...]:
    packed = base64.b64encode(_compact(entry(client, server)).encode()).decode()
    query = urlencode({"name": NAME, "config": packed}, quote_via=quote)
    return (f"https://cursor.com/en/install-mcp?{query}", f"cursor://anysphere.cursor-deeplink/mcp/install?{query}")


def _named(client: Client, server: Server) -> dict[str, Any]:
    """VS Code's form for one server outside of a file."""
    asked = inputs(client, server)
    return {"name": NAME, **entry(client, server), **({"inputs": asked} if asked else {})}


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


_COMMANDS: dict[str, Callable[[Client, Server, str], Command | None]] = {
    "claude-code": _claude_code,
    "vscode": _vscode,
    "codex": _codex,
    "gemini": _gemini,
}
_LINKS: dict[str, Callable[[Client, Server], tuple[str, ...]]] = {"vscode": _vscode_links, "cursor": _cursor_links}
