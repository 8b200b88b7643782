"""Tasks as the protocol words them: who asks, what the client declared, what goes on the wire."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import principal_components
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import MISSING_REQUIRED_CLIENT_CAPABILITY, CallToolResult, TextContent
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kernelevolve.server.task_store import TaskRecord, TaskStatus

TASKS = "io.modelcontextprotocol/tasks"
"""The extension's name, which client and server declare."""
POLL_MS = 500
"""How often a client should ask."""


def declared(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether this request's client declared the extension, in a revision that knows extensions."""
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = ctx.session.client_capabilities
    return capabilities is not None and TASKS in (capabilities.extensions or {})


def undeclared() -> MCPError:
    """The protocol's answer to a client that did not declare the extension where it must."""
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"This needs the client capability {TASKS}: declare it in the request.",
        {"requiredCapabilities": {"extensions": {TASKS: {}}}},
    )


def caller() -> str:
    """Whose tasks the caller's are. No token's holder is the one who started a server over stdio."""
    token = get_access_token()
    return "local" if token is None else "token " + json.dumps(principal_components(token))


def refused(text: str) -> CallToolResult:
    """An answer of a tool that was not begun."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def outcome(end: dict[str, Any]) -> str:
    """How a task ended, in the words of the audit log."""
    if end["status"] is not TaskStatus.COMPLETED:
        return str(end["status"].value)
    return "error" if end["result"].get("isError") else "ok"


def failure(code: int, text: str, data: Any = None) -> dict[str, Any]:
    """The end of a task by a protocol error, as arguments of `TaskStore.settle`."""
    error = {"code": code, "message": text} | ({} if data is None else {"data": data})
    return {"status": TaskStatus.FAILED, "error": error, "message": text}


def on_the_wire(task: TaskRecord) -> dict[str, Any]:
    """What every view of a task has."""
    view: dict[str, Any] = {
        "taskId": task.id,
        "status": task.status.value,
        "createdAt": _iso(task.created),
        "lastUpdatedAt": _iso(task.updated),
        "ttlMs": task.expires - task.created,
        "pollIntervalMs": POLL_MS,
    }
    if task.message is not None:
        view["statusMessage"] = task.message
    return view


def detailed(task: TaskRecord) -> dict[str, Any]:
    """A task with what belongs to its status: its result, its error, or what it asks."""
    view = on_the_wire(task)
    if task.status is TaskStatus.COMPLETED:
        view["result"] = task.result
    elif task.status is TaskStatus.FAILED:
        view["error"] = task.error
    elif task.status is TaskStatus.INPUT_REQUIRED:
        view["inputRequests"] = task.requests
    return view


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
