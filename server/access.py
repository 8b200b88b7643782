"""Who may do what: a guard in front of every request, the same for stdio and HTTP."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.types import CallToolResult, ListToolsResult, TextContent

from kernelevolve.server.tokens import Scope, TokenStore

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


class Guard(ServerMiddleware[Any]):
    """Refuses tools that a caller may not use, hides them from its list, and writes down what was asked.

    Args:
        most: what anybody may do at most: `--read-only` is `Scope.READ`.
        audit: file for one line of JSON for each tool call; None for none.
    """

    def __init__(self, most: Scope = Scope.ADMIN, audit: Path | None = None) -> None:
        self._most = most
        self._audit = audit
        self._lock = threading.Lock()

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Guard one message."""
        if ctx.method == "tools/list":
            return self._without_hidden(await call_next(ctx))
        if ctx.method != "tools/call":
            return await call_next(ctx)
        name = str((ctx.params or {}).get("name", ""))
        wanted = wanted_scope(name, (ctx.params or {}).get("arguments"))
        if not self._allows(wanted):
            self._note(name, "refused", 0.0)
            text = f"{name} needs the scope {wanted.value!r}; {self._why()}"
            return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)
        began = time.monotonic()
        outcome = "failed"
        try:
            result = await call_next(ctx)
            outcome = "error" if isinstance(result, CallToolResult) and result.is_error else "ok"
            return result
        finally:
            self._note(name, outcome, time.monotonic() - began)

    def _without_hidden(self, result: HandlerResult) -> HandlerResult:
        """The list of tools as this caller sees it. An older protocol's comes as the value that goes on the wire."""
        if isinstance(result, ListToolsResult):
            return result.model_copy(update={"tools": [tool for tool in result.tools if self._may(tool.name)]})
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

    def _note(self, tool: str, outcome: str, seconds: float) -> None:
        if self._audit is None:
            return
        caller = get_access_token()
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "caller": caller.client_id if caller is not None else "local",
            "tool": tool[:100],
            "outcome": outcome,
            "seconds": round(seconds, 3),
        }
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        with self._lock:
            # One write of one line: several servers may share the file.
            descriptor = os.open(self._audit, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)


def _scope_of_caller() -> Scope:
    """The scope of the token that came with the request; everything for a client on stdio, which started the server."""
    caller = get_access_token()
    if caller is None:
        return Scope.ADMIN
    return max(
        (Scope(scope) for scope in caller.scopes if scope in set(Scope)), key=list(Scope).index, default=Scope.READ
    )
