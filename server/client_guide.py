"""`docs/clients.md`: how each client gets to know the server, written from the table of clients."""

from __future__ import annotations

import shlex

from kernelevolve.server.client_links import command_line, links
from kernelevolve.server.clients import (
    CLIENTS,
    NAME,
    TOKEN_VARIABLE,
    Client,
    LocalServer,
    RemoteServer,
    Token,
    by_hand,
    snippet,
)

LOCAL = LocalServer(NAME)
REMOTE = RemoteServer("http://127.0.0.1:8770/mcp")
_TOKENS = {
    Token.SHELL: f"`${{{TOKEN_VARIABLE}}}` in the header",
    Token.ENV: f"`${{env:{TOKEN_VARIABLE}}}` in the header",
    Token.FIELD: f"`{Token.FIELD.value}` names the variable",
    Token.PROMPT: "asks once and keeps it",
    Token.NONE: "in the file, by hand",
}
_HEAD = f"""\
# Clients

<!-- Generated from server/clients.py by `make manifests`. -->

Any MCP client can use KernelEvolve. `kernelevolve install` lists the clients on your machine, `kernelevolve install
CLIENT` shows what would be written and where, `--write` writes it: everything else in the file stays, the old file is
kept beside it, and a file that could only be changed with a loss (comments in JSON, say) is left alone.

```console
$ kernelevolve install                        # which clients are here, and do they know the server?
$ kernelevolve install claude-code --write    # over stdio: the client starts the server
$ kernelevolve install codex --write --http {REMOTE.url} --token-variable {TOKEN_VARIABLE}
$ kernelevolve install cursor --scope project # the file of this project instead of the user's
```

`install` writes the full path of its own `kernelevolve`; the forms below expect it on the PATH of the client. Over HTTP
every caller needs a token (`kernelevolve token create`). It comes from an environment variable of the client and stands
in no file, where the client can do that. All paths are those on Linux.
"""
_PLUGINS = f"""\
## Plug-ins and bundles

From a checkout. The plug-ins start `kernelevolve`, so it has to be on the PATH of the client.

```console
$ claude plugin marketplace add /path/to/checkout    # the server, and a skill that teaches the way of a search
$ claude plugin install {NAME}@{NAME}
$ gemini extensions link /path/to/checkout
```

Cursor reads `.cursor-plugin/plugin.json`, which has not been tried there. `npx @anthropic-ai/mcpb pack . {NAME}.mcpb`
makes a bundle for hosts that run Python servers with uv; it fetches PyTorch at its first start. `server.json` is the
entry for the MCP registry, which finds the package once it is on PyPI.
"""


def guide() -> str:
    """The whole document."""
    return "\n".join([_HEAD, *_overview(), "", *(_section(client) for client in CLIENTS), _PLUGINS])


def _overview() -> list[str]:
    rows = ["| client | `install` | stdio | HTTP | the token | known from |", "| --- | --- | --- | --- | --- | --- |"]
    for client in CLIENTS:
        remote = client.url_key is not None
        token = _TOKENS[client.token] if remote else "–"
        cells = [f"[{client.title}](#{_anchor(client)})", f"`{client.key}`", "yes", "yes" if remote else "no", token]
        rows.append(f"| {' | '.join([*cells, client.checked])} |")
    return rows


def _anchor(client: Client) -> str:
    return client.title.lower().replace(" ", "-")


def _section(client: Client) -> str:
    files = " or ".join(f"`{name}`" for name in (_shown(client.user_file), client.project_file) if name)
    moved = f"; `{client.folder_variable}` moves the first" if client.folder_variable else ""
    lines = [f"## {client.title}", "", f"{files or 'A dialog'}{moved}. {client.afterwards}"]
    lines[-1] += f" [Its documentation]({client.documentation})."
    lines += ["", *_form("Over stdio", client, LOCAL)]
    if client.url_key is None:
        return "\n".join([*lines, "Over HTTP: not known to work; use it over stdio.", ""])
    return "\n".join([*lines, *_form("Over HTTP", client, REMOTE)])


def _form(title: str, client: Client, server: LocalServer | RemoteServer) -> list[str]:
    lines = [f"{title}:", "", f"```{client.file_format}", snippet(client, server), "```", ""]
    if (words := command_line(client, server)) is not None:
        lines += ["```console", f"$ {shlex.join(words)}", "```", ""]
    if found := links(client, server):
        web, direct = found
        lines += [f"[Install by link]({web}), or open", "", "```text", direct, "```", ""]
    if (why := by_hand(client, server)) is not None and client.user_file is not None:
        lines += [why, ""]
    return lines


def _shown(path: str | None) -> str | None:
    return path and path.replace("{config}", "~/.config")
