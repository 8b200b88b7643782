"""Requests that the protocol library would answer with too little: prompts that are asked for wrongly, and how long a
client may keep what it was told."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

_KEEP_MS = 5 * 60_000

CACHE_HINTS: dict[CacheableMethod, CacheHint] = {
    # A caller's tools are those that its token allows.
    "tools/list": CacheHint(_KEEP_MS, "private"),
    "prompts/list": CacheHint(_KEEP_MS, "public"),
    "resources/list": CacheHint(_KEEP_MS, "public"),
    "resources/templates/list": CacheHint(_KEEP_MS, "public"),
    "server/discover": CacheHint(_KEEP_MS, "public"),
}
"""How long lists stay as they are; what a resource holds may change at any time."""


class PromptRequests(ServerMiddleware[Any]):
    """Says what is wrong with a request for a prompt: the library's answer is "Internal server error".

    Args:
        server: whose prompts are asked for.
    """

    def __init__(self, server: MCPServer[Any]) -> None:
        self._server = server

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Look at one message."""
        if ctx.method == "prompts/get" and ctx.params is not None:
            await self._check(ctx.params.get("name"), ctx.params.get("arguments") or {})
        return await call_next(ctx)

    async def _check(self, name: Any, arguments: Any) -> None:
        """Refuse a prompt that is not there, and arguments that are missing.

        Raises:
            MCPError: with what is missing, and what it is.
        """
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return  # The library says what the protocol wants there.
        prompts = {prompt.name: prompt for prompt in await self._server.list_prompts()}
        prompt = prompts.get(name)
        if prompt is None:
            raise MCPError(
                INVALID_PARAMS, f"There is no prompt {name[:100]!r}. There are: {', '.join(sorted(prompts))}."
            )
        missing = [entry for entry in prompt.arguments or () if entry.required and entry.name not in arguments]
        if missing:
            wanted = "; ".join(f"{entry.name} ({(entry.description or 'text').rstrip('.')})" for entry in missing)
            raise MCPError(INVALID_PARAMS, f"The prompt {name} needs what is missing here: {wanted}.")
