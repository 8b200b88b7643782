"""`kernelevolve install`: make the server known to an MCP client."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from kernelevolve.server.command_options import JsonFlag, StateOption, print_json
from kernelevolve.server.exit_codes import ExitCode
from kernelevolve.server.rendering import stderr_console, table

if TYPE_CHECKING:
    from kernelevolve.server.client_files import Plan
    from kernelevolve.server.clients import Client, Server


def install(
    client: Annotated[
        str | None, typer.Argument(help="Client to install for. Left out: the clients that are on this machine.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the entry into the client's file; the old file is kept.")
    ] = False,
    scope: Annotated[str, typer.Option(help="user, or project: the file in this folder.")] = "user",
    http: Annotated[
        str | None, typer.Option(help="A server that runs already, by its address, e.g. http://127.0.0.1:8770/mcp.")
    ] = None,
    token_variable: Annotated[
        str | None,
        typer.Option(help="With --http: environment variable with the token. Default: KERNELEVOLVE_TOKEN."),
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="Program that the client starts. Default: this installation's kernelevolve.")
    ] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make this server known to an MCP client: shows what would be written and where, --write writes it."""
    if scope not in ("user", "project"):
        raise typer.BadParameter(f"{scope!r} is neither user nor project.", param_hint="--scope")
    if token_variable is not None and http is None:
        raise typer.BadParameter(
            "A token is for a server at an address: give --http too.", param_hint="--token-variable"
        )
    if http is not None and (command is not None or state is not None):
        raise typer.BadParameter("A server at an address was started with its own --state.", param_hint="--http")
    if client is None and write:
        raise typer.BadParameter("Say for which client; without one, this lists them.", param_hint="CLIENT")
    with _client_errors(as_json):
        if client is None:
            found = overview()
            if as_json:
                print_json(found)
            else:
                Console().print(overview_view(found))
            return
        value, view, refused = run_install(client, write, scope, _server(http, token_variable, command, state))
    if as_json:
        print_json(value)
    else:
        Console().print(view, soft_wrap=True)
    if refused:
        stderr_console().print(refused, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(ExitCode.UNSUPPORTED)


def overview() -> list[dict[str, Any]]:
    """Each known client: whether it is on this machine, and whether the server is in its configuration already.

    `registered` is None where the file holds comments or can't be read.
    """
    from kernelevolve.server.client_files import registered
    from kernelevolve.server.clients import CLIENTS, expanded, place

    environment, home = os.environ, Path.home()
    entries = []
    for client in CLIENTS:
        folders = [expanded(trace, environment, home) for trace in client.traces]
        command = next((name for name in client.executables if shutil.which(name)), None)
        file = place(client, "user", environment, home, Path.cwd())
        entries.append(
            {
                "client": client.key,
                "title": client.title,
                "found": command is not None or any(folder.is_dir() for folder in folders),
                "command": command,
                "file": None if file is None else str(file),
                "registered": False if file is None else registered(file, client),
                "checked": client.checked,
            }
        )
    return entries


def overview_view(entries: list[dict[str, Any]]) -> RenderableType:
    """The clients for people, those that are here first."""
    rows = table("client", "here", "server known to it", "its file")
    words = {True: "yes", False: "no", None: "can't tell: comments in it, or not readable"}
    for entry in sorted(entries, key=lambda entry: not entry["found"]):
        known = "–" if entry["file"] is None else words[entry["registered"]]
        rows.add_row(entry["client"], "yes" if entry["found"] else "no", known, Text(entry["file"] or "a dialog"))
    return Group(rows, Text("kernelevolve install CLIENT shows what would be written, --write writes it.", style="dim"))


def run_install(key: str, write: bool, scope: str, server: Server) -> tuple[dict[str, Any], RenderableType, str]:
    """Show or write the entry of one client.

    Args:
        key: the client.
        write: write it, or show it only.
        scope: `user` or `project`.
        server: what the client is to start or to call.

    Returns:
        What happened as JSON, the same for people, and why nothing was written though it should have been, or "".

    Raises:
        ClientError: there is no such client, or it does not take such a server.
    """
    from kernelevolve.server import client_files, client_links, clients
    from kernelevolve.server.client_files import Change

    client = clients.get_client(key)
    path = clients.place(client, scope, os.environ, Path.home(), Path.cwd())
    text = clients.snippet(client, server)
    made: Plan | None = None
    refused = clients.by_hand(client, server) or ""
    if path is not None and not refused:
        try:
            made = client_files.plan(path, client, server)
        except clients.ClientError as error:
            refused = str(error)
    written = write and made is not None and made.change is not Change.NONE
    kept = client_files.write(made) if written and made is not None else None
    value = {
        "client": client.key,
        "file": None if path is None else str(path),
        "change": None if made is None else made.change.value,
        "written": written,
        "kept": None if kept is None else str(kept),
        "by_hand": refused or None,
        "snippet": text,
        "entry": clients.entry(client, server),
        "command_line": client_links.command_line(client, server, scope),
        "links": client_links.links(client, server),
        "notes": _notes(client, server, scope),
        "checked": client.checked,
    }
    return value, _view(value, client, written), refused if write else ""


def _view(value: dict[str, Any], client: Client, written: bool) -> RenderableType:
    states = {
        "create": "does not exist yet",
        "add": "the server is not in it",
        "update": "holds another entry of the server",
        "none": "says so already",
        None: "by hand",
    }
    change = value["change"]
    head = (
        states[change] if not written else f"written; the old file is {value['kept']}" if value["kept"] else "written"
    )
    lines = [Text.assemble((client.title, "bold"), f"  {value['file'] or 'a dialog'}: {head}"), Text(value["snippet"])]
    lines += [Text(f"or: {shlex.join(value['command_line'])}")] if value["command_line"] else []
    lines += [Text(f"or: {link}") for link in value["links"]]
    notes = [*value["notes"], *([client.afterwards] if written else []), f"Known from {client.checked}."]
    notes += [value["by_hand"]] if value["by_hand"] and not written else []
    notes += [] if written or change in (None, "none") else ["Write it with --write."]
    return Group(*lines, *(Text(note, style="dim") for note in notes))


def _notes(client: Client, server: Server, scope: str) -> list[str]:
    from kernelevolve.server.clients import RemoteServer, Token

    notes = []
    if isinstance(server, RemoteServer):
        if client.token in (Token.SHELL, Token.ENV, Token.FIELD):
            notes.append(f"{client.title} reads {server.token_variable} from the environment that it is started in.")
        if server.exposed:
            notes.append("The token crosses the network unencrypted: put a TLS proxy in front and use https.")
        return notes
    if scope == "project" and "/" in server.command:
        notes.append("The path is this machine's. To share the file, give a name on the PATH: --command kernelevolve.")
    settings = sorted(name for name in os.environ if name.startswith("KERNELEVOLVE_") and name != "KERNELEVOLVE_STATE")
    if settings:
        notes.append(f"Set here, and unknown to a client that is started elsewhere: {', '.join(settings)}.")
    return notes


def _server(http: str | None, token_variable: str | None, command: str | None, state: Path | None) -> Server:
    """What the client is to reach, as the options say."""
    from kernelevolve.server.clients import TOKEN_VARIABLE, ClientError, LocalServer, RemoteServer

    if http is not None:
        return RemoteServer(http, TOKEN_VARIABLE if token_variable is None else token_variable)
    # An editor is not started from this shell: what the environment says here has to stand in the command.
    named = state or (Path(os.environ["KERNELEVOLVE_STATE"]) if os.environ.get("KERNELEVOLVE_STATE") else None)
    args = ("serve", *(("--state", str(named.resolve())) if named is not None else ()))
    if command is not None:
        found = shutil.which(command)
        if found is None:
            raise ClientError(f"{command} is not a program that can be run. Give its path, or leave --command out.")
        # A name stays a name, for files that are shared; a path has to hold from any folder.
        path = Path(found).parent.resolve() / Path(found).name
        return LocalServer(str(path) if "/" in command else command, args)
    own = Path(sys.executable).parent / "kernelevolve"
    if own.is_file():
        return LocalServer(str(own), args)
    return LocalServer(sys.executable, ("-m", "kernelevolve.server", *args))


@contextmanager
def _client_errors(as_json: bool) -> Iterator[None]:
    from kernelevolve.server.clients import ClientError

    try:
        yield
    except ClientError as error:
        if as_json:
            print_json({"status": "client", "summary": str(error)})
        else:
            stderr_console().print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(ExitCode.USAGE) from error
