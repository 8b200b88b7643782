"""Configuration files of clients: add one server, lose nothing that is there, keep the old file."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kernelevolve.server.clients import NAME, Client, ClientError, Server, document, entry, snippet

_TRANSPORT_KEYS = frozenset(
    {"type", "command", "args", "url", "serverUrl", "httpUrl", "headers", "bearer_token_env_var"}
)
"""What says how a server is reached. All other keys of an entry are the user's and stay."""
_BACKUP = ".before-kernelevolve"
_MARK = f"number:{secrets.token_hex(16)}:"


class Change(StrEnum):
    """What writing does to a file."""

    CREATE = "create"
    """There is none yet."""
    ADD = "add"
    """The server is not in it yet."""
    UPDATE = "update"
    """The server is in it, in other words."""
    NONE = "none"
    """It says the same already."""


@dataclass(frozen=True)
class Plan:
    """What a file is to hold, made without touching it."""

    path: Path
    """The file itself; links are followed."""
    before: bytes | None
    """Its content when the plan was made. None: it did not exist."""
    after: str
    change: Change


def plan(path: Path, client: Client, server: Server) -> Plan:
    """Work out what `write` would do.

    Raises:
        ClientError: the file can't be read, or can't be changed without losing something.
    """
    path = path.resolve()
    before = _read(path)
    if before is None or not before.strip():
        after = snippet(client, server) + "\n"
        return Plan(path, before, after, Change.CREATE if before is None else Change.ADD)
    text = _decoded(path, before)
    try:
        after = _with_toml(text, client, server) if client.file_format == "toml" else _with_json(text, client, server)
    except ValueError as error:
        raise ClientError(
            f"{path} can't be changed without losing something: {error} It was left as it is; add the entry yourself."
        ) from error
    if after == text:
        return Plan(path, before, after, Change.NONE)
    change = Change.UPDATE if registered(path, client) else Change.ADD
    return Plan(path, before, after, change)


def write(made: Plan) -> Path | None:
    """Carry a plan out; returns where the old file was kept, None where there was none or nothing changed.

    Raises:
        ClientError: the file changed since the plan was made, or can't be written.
    """
    if made.change is Change.NONE:
        return None
    try:
        if _read(made.path) != made.before:
            raise ClientError(f"{made.path} changed in the meantime and was left as it is. Run the command again.")
        kept = None if made.before is None else _keep(made.path)
        _replace(made.path, made.after)
    except OSError as error:
        raise ClientError(
            f"{made.path} can't be written ({error.strerror or error}). Add the entry yourself."
        ) from error
    return kept


def registered(path: Path, client: Client) -> bool | None:
    """Whether the file has a server of our name. None: it can't be read, or only with a parser that skips comments."""
    try:
        before = _read(path)
        if before is None or not before.strip():
            return False
        text = _decoded(path, before)
        content = tomllib.loads(text) if client.file_format == "toml" else _strict(text)
    except (ClientError, ValueError):
        return None
    servers = content.get(client.servers_key)
    return isinstance(servers, dict) and NAME in servers


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClientError(f"{path} can't be read ({error.strerror or error}).") from error


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ClientError(f"{path} is not UTF-8 text. It was left as it is; add the entry yourself.") from error


def _strict(text: str) -> dict[str, Any]:
    """Parse JSON; whatever a round trip would lose is a `ValueError` whose text is a sentence.

    Numbers with a point or an exponent become marked strings, so that `_text_of` writes `1.50` as `1.50`.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("an object has the same key twice.")
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"it holds {constant}, which is not JSON.")

    try:
        content = json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=_MARK.__add__)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is not strict JSON (line {error.lineno}, column {error.colno}: {error.msg.lower()}; "
            "a comment or a trailing comma?)."
        ) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply.") from error
    if not isinstance(content, dict):
        raise ValueError("it does not hold an object.")
    return content


def _with_json(text: str, client: Client, server: Server) -> str:
    content = _strict(text)
    wanted = document(client, server)
    servers = content.setdefault(client.servers_key, {})
    if not isinstance(servers, dict):
        raise ValueError(f"{client.servers_key!r} in it is not an object.")
    old = servers.get(NAME)
    new = wanted[client.servers_key][NAME]
    if isinstance(old, dict):
        new = _updated(old, new)
    unchanged = old == new
    servers[NAME] = new
    for asked in wanted.get("inputs", []):
        known = content.setdefault("inputs", [])
        if not isinstance(known, list):
            raise ValueError("'inputs' in it is not a list.")
        if not any(isinstance(one, dict) and one.get("id") == asked["id"] for one in known):
            known.append(asked)
            unchanged = False
    if unchanged:
        return text
    return _text_of(content, _indent(text)) + ("\n" if text.endswith("\n") else "")


def _text_of(content: dict[str, Any], indent: str | int) -> str:
    written = re.sub(f'"{_MARK}([^"]*)"', r"\1", json.dumps(content, indent=indent, ensure_ascii=False))
    written.encode("utf-8")  # A lone surrogate can be read and not be written: a ValueError.
    return written


def _updated(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Our entry anew, with what the user added to the old one: other keys, variables of the environment."""
    if ("command" in old) != ("command" in new):
        return dict(new)
    kept = {key: value for key, value in old.items() if key not in _TRANSPORT_KEYS}
    return {**new, **kept}


def _indent(text: str) -> str | int:
    """The indentation of the file's first indented line."""
    found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return found[1] if found else 2


def _with_toml(text: str, client: Client, server: Server) -> str:
    """The table behind the text as it is. Only what can be proven to change nothing else is returned."""
    content = _toml(text)
    servers = content.get(client.servers_key, {})
    if not isinstance(servers, dict):
        raise ValueError(f"{client.servers_key!r} in it is not a table.")
    new = entry(client, server)
    if NAME in servers:
        if {key: servers[NAME].get(key) for key in new} == new:
            return text
        raise ValueError(f"it has another [{client.servers_key}.{NAME}] already; replace it or remove it first.")
    after = f"{text.rstrip()}\n\n{snippet(client, server)}\n"
    if _toml(after) != {**content, client.servers_key: {**servers, NAME: new}}:
        raise ValueError(f"[{client.servers_key}.{NAME}] behind it would change other parts.")
    return after


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}.") from error


def _keep(path: Path) -> Path:
    """Copy a file beside itself, under a name that is free."""
    kept = path.with_name(path.name + _BACKUP)
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}{_BACKUP}-{number}")
    shutil.copy2(path, kept)
    return kept


def _replace(path: Path, text: str) -> None:
    """Put a new content in a file's place at once: whoever reads sees the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644 if status is None else status.st_mode & 0o7777)
        if status is not None and (status.st_uid, status.st_gid) != (os.getuid(), os.getgid()):
            os.chown(name, status.st_uid, status.st_gid)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
