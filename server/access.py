"""Who may do what: a guard in front of every request, the same for stdio and HTTP."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolResult, ListToolsResult, TextContent

from kernelevolve.search.errors import SearchError
from kernelevolve.server.ownership import ForeignSearchError, refuse_what_is_not_theirs, scope_of, searches_in
from kernelevolve.server.scopes import Scope

if TYPE_CHECKING:
    from kernelevolve.search.store import Store
    from kernelevolve.server.tokens import TokenStore

TOOL_SCOPES: dict[str, Scope] = {
    "list_platforms": Scope.READ,
    "retrieve_hardware_docs": Scope.READ,
    "get_search": Scope.READ,
    "compile_and_verify": Scope.EVALUATE,
    "profile_kernel": Scope.EVALUATE,
    "export_kernel": Scope.EVALUATE,
    "start_search": Scope.SEARCH,
    "run_search_step": Scope.SEARCH,
    "store_pattern": Scope.SEARCH,
}
"""Tool → what its caller must be allowed. A tool that is missing here needs `admin`."""

_MOST_NOTED = 16
"""Searches of one call that the audit log names."""

WRITING_SCOPES: dict[str, tuple[str, Scope]] = {"export_kernel": ("path", Scope.SEARCH)}
"""Tool → an argument with which it writes a file, and what the caller must be allowed then."""


def wanted_scope(tool: str, arguments: Any = None) -> Scope:
    """What the caller of a tool must be allowed."""
    argument, scope = WRITING_SCOPES.get(tool, ("", Scope.ADMIN))
    if argument and isinstance(arguments, dict) and arguments.get(argument) is not None:
        return scope
    return TOOL_SCOPES.get(tool, Scope.ADMIN)


class StoredTokens(TokenVerifier):
    """Verifies bearer tokens against a state folder's."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens

    async def verify_token(self, token: str) -> AccessToken | None:
        """The caller behind a token; None where it is wrong, revoked or expired."""
        found = self._tokens.find(token)
        if found is None:
            return None
        expires = None if found.expires is None else int(datetime.fromisoformat(found.expires).timestamp())
        return AccessToken(token=token, client_id=found.name, scopes=[found.scope.value], expires_at=expires)


@dataclass(frozen=True)
class Authentication:
    """How callers over HTTP prove who they are."""

    verifier: TokenVerifier
    """Knows the tokens."""
    settings: AuthSettings
    """Where this server is reached, as the protocol wants it said."""


class Refusal(CallToolResult):
    """A tool's answer that the guard gave in its place."""


class Guard(ServerMiddleware[Any]):
    """Refuses tools that a caller may not use, hides them from its list, and writes down what was asked.

    Args:
        most: what anybody may do at most: `--read-only` is `Scope.READ`.
        audit: file for one line of JSON for each tool call; None for none.
        store: the searches, opened when first asked for; None where nobody can have one of his own.
    """

    def __init__(
        self, most: Scope = Scope.ADMIN, audit: Path | None = None, store: Callable[[], Store] | None = None
    ) -> None:
        self._most = most
        self._audit = audit
        self._store = store
        self._lock = threading.Lock()

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Guard one message."""
        if ctx.method == "tools/list":
            return self._without_hidden(await call_next(ctx))
        foreign = await self._foreign(ctx)
        if ctx.method != "tools/call":
            if foreign is not None:
                raise MCPError(code=INVALID_PARAMS, message=str(foreign))
            return await call_next(ctx)
        name = str((ctx.params or {}).get("name", ""))
        asked = list(searches_in(ctx.method, ctx.params or {}))
        wanted = wanted_scope(name, (ctx.params or {}).get("arguments"))
        if not self._allows(wanted):
            self.note(name, "refused", 0.0, asked)
            text = f"{name} needs the scope {wanted.value!r}; {self._why()}"
            return Refusal(content=[TextContent(type="text", text=text)], is_error=True)
        if foreign is not None:
            theirs = isinstance(foreign, ForeignSearchError)
            self.note(name, "refused" if theirs else "error", 0.0, asked)
            kind = Refusal if theirs else CallToolResult
            return kind(content=[TextContent(type="text", text=str(foreign))], is_error=True)
        began = time.monotonic()
        outcome = "failed"
        try:
            result = within_limit(await call_next(ctx))
            outcome = outcome_of(result)
            return result
        finally:
            self.note(name, outcome, time.monotonic() - began, asked)

    async def _foreign(self, ctx: ServerRequestContext[Any, Any]) -> SearchError | None:
        """Why a message may not be served, where it names a search that its caller does not have."""
        token, store = get_access_token(), self._store
        if token is None or store is None:
            return None
        try:
            await anyio.to_thread.run_sync(
                lambda: refuse_what_is_not_theirs(token, ctx.method, ctx.params or {}, lambda key: store().search(key))
            )
        except SearchError as error:
            return error
        return None

    def _without_hidden(self, result: HandlerResult) -> HandlerResult:
        """The list of tools as this caller sees it. An older protocol's comes as the value that goes on the wire."""
        if isinstance(result, ListToolsResult):
            return result.model_copy(update={"tools": [tool for tool in result.tools if self._may(tool.name)]})
        if result is None:
            return None  # To a notification there is no answer.
        if isinstance(result, dict):
            return {**result, "tools": [tool for tool in result["tools"] if self._may(tool["name"])]}
        raise TypeError(f"a list of tools came as {type(result).__name__}")

    def _may(self, tool: str) -> bool:
        return self._allows(wanted_scope(tool))

    def _allows(self, wanted: Scope) -> bool:
        return self._most.allows(wanted) and _scope_of_caller().allows(wanted)

    def _why(self) -> str:
        if not self._most.allows(_scope_of_caller()):
            return f"this server was started for {self._most.value!r} alone (--read-only)."
        return f"this token has {_scope_of_caller().value!r}. Ask for a token with a wider scope."

    def note(self, tool: str, outcome: str, seconds: float, asked: Iterable[str] = ()) -> None:
        """Write down what came of a call of the present caller.

        Args:
            tool: which tool.
            outcome: `ok`, `error` (an answer that says what went wrong), `refused`, `failed`, `task` (its end gets a
                line of its own), `cancelled`.
            seconds: how long it took.
            asked: searches that the call named.
        """
        if self._audit is None:
            return
        caller = get_access_token()
        with self._lock:
            write_audit(self._audit, "local" if caller is None else caller.client_id, tool, outcome, seconds, asked)


def write_audit(audit: Path, caller: str, tool: str, outcome: str, seconds: float, asked: Iterable[str] = ()) -> None:
    """Write down one call, as a line of JSON.

    Args:
        audit: the file; several servers may share it.
        caller: who asked.
        tool: what for.
        outcome: see `Guard.note`.
        seconds: how long it took.
        asked: searches that the call named.
    """
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "caller": caller,
        "tool": tool[:100],
        "searches": [search_id[:40] for search_id in islice(dict.fromkeys(asked), _MOST_NOTED)],
        "outcome": outcome,
        "seconds": round(seconds, 3),
    }
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    # One write of one line, so that lines of several servers never mix.
    descriptor = os.open(audit, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def within_limit(result: HandlerResult) -> HandlerResult:
    """A tool's answer with its texts cut to `TEXT_LIMIT` characters together, whatever wrote them: errors too."""
    # A server's start must not wait for them.
    from kernelevolve.search.prompt import shorten
    from kernelevolve.tools.compile_and_verify import TEXT_LIMIT

    if isinstance(result, dict) and isinstance(result.get("content"), list):
        # The value that goes on the wire.
        room, content = TEXT_LIMIT, []
        for block in result["content"]:
            if block.get("type") == "text":
                block = {**block, "text": shorten(block["text"], room)}
                room -= len(block["text"])
            content.append(block)
        return {**result, "content": content}
    if isinstance(result, CallToolResult):
        wire = within_limit({"content": [block.model_dump(by_alias=True) for block in result.content]})
        return result.model_copy(update={"content": CallToolResult.model_validate(wire).content})
    return result


def outcome_of(result: HandlerResult) -> str:
    """`ok`, `refused` by the guard, `error` where the tool says so, `task` where the end is still to come.

    Past its handler a result is a plain dict.
    """
    if isinstance(result, Refusal):
        return "refused"
    if isinstance(result, dict):
        if result.get("resultType") == "task":
            return "task"
        return "error" if result.get("isError") else "ok"
    return "error" if isinstance(result, CallToolResult) and result.is_error else "ok"


def _scope_of_caller() -> Scope:
    return scope_of(get_access_token())
