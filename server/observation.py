"""What is seen of each call: its log line, its figures. The same for stdio and HTTP."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext

from kernelevolve.server.access import TOOL_SCOPES, outcome_of
from kernelevolve.server.limits import Refused, request_id
from kernelevolve.server.logs import event

if TYPE_CHECKING:
    from kernelevolve.server.metrics import Metrics

UNKNOWN = "unknown"
"""Stands for a name that a caller made up: those are without number."""


class Observation(ServerMiddleware[Any]):
    """Writes down every call, and counts it where somebody asks for figures.

    Args:
        metrics: the figures; None where nobody asks, as on stdio.
    """

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Observe one message."""
        if ctx.method != "tools/call":
            return await call_next(ctx)
        tool = str((ctx.params or {}).get("name", ""))
        tool = tool if tool in TOOL_SCOPES else UNKNOWN
        began, outcome = time.monotonic(), "failed"
        if self._metrics is not None:
            self._metrics.call_began()
        try:
            result = await call_next(ctx)
            outcome = outcome_of(result)
            return result
        except anyio.get_cancelled_exc_class():
            outcome = "cancelled"
            raise
        finally:
            self._ended(tool, outcome, time.monotonic() - began)

    def _ended(self, tool: str, outcome: str, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.call_ended(tool, outcome, seconds)
        caller = get_access_token()
        event(
            "tool_call",
            request=request_id.get() or secrets.token_hex(8),
            caller=caller.client_id if caller is not None else "local",
            tool=tool,
            outcome=outcome,
            seconds=round(seconds, 4),
        )

    def refused(self, what: Refused) -> None:
        """Write down a request over HTTP that was not let through."""
        if self._metrics is not None:
            self._metrics.refused(what.reason)
        event(
            "refused", logging.WARNING, request=request_id.get(), reason=what.reason, caller=what.caller or "none",
            address=what.address,
        )  # fmt: skip
