"""Tools that the conformance suite's scenarios of the Tasks extension ask for by name."""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, CallToolResult, InputRequiredResult

from kernelevolve.server.mcp_tasks import LONG_TOOLS, LongTool
from tests.conformance.asking_fixtures import accepted, elicit
from tests.conformance.content_fixtures import text

ALL_LONG_TOOLS = {
    **LONG_TOOLS,
    "slow_compute": LongTool(),
    "failing_job": LongTool(required=True),
    "protocol_error_job": LongTool(),
    "confirm_delete": LongTool(),
    "multi_input": LongTool(),
    "test_tool_with_task": LongTool(required=True, asks_first=True),
}


def add_task_tools(server: MCPServer[Any]) -> None:
    @server.tool(name="greet", description="Greet, for the conformance suite.")
    async def greet(name: str) -> CallToolResult:
        return text(f"Hello, {name}!")

    @server.tool(name="slow_compute", description="Slow compute, for the conformance suite.")
    async def slow_compute(seconds: float, label: str = "") -> CallToolResult:
        await anyio.sleep(seconds)
        return text(f"{label} done after {seconds:g} s")

    @server.tool(name="failing_job", description="Failing job, for the conformance suite.")
    async def failing_job() -> CallToolResult:
        await anyio.sleep(1.0)
        raise ToolError("This job always fails.")

    @server.tool(name="protocol_error_job", description="Protocol error job, for the conformance suite.")
    async def protocol_error_job() -> CallToolResult:
        raise MCPError(INTERNAL_ERROR, "This job ends with a protocol error.")

    @server.tool(name="confirm_delete", description="Confirm delete, for the conformance suite.")
    async def confirm_delete(filename: str, ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        if (confirmed := accepted(ctx, "confirm", "confirm")) is None:
            return InputRequiredResult(input_requests={"confirm": elicit(f"Delete {filename}?", "confirm", "boolean")})
        return text(f"{filename} {'deleted' if confirmed else 'kept'}")

    @server.tool(name="multi_input", description="Multi input, for the conformance suite.")
    async def multi_input(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        wanted = {"name": elicit("Your name?", "name"), "confirm": elicit("Sure?", "confirm", "boolean")}
        if wanted.keys() - (ctx.input_responses or {}).keys():
            return InputRequiredResult(input_requests=wanted)
        return text(f"{accepted(ctx, 'name', 'name')}: {accepted(ctx, 'confirm', 'confirm')}")

    @server.tool(name="test_tool_with_task", description="Test tool with task, for the conformance suite.")
    async def with_task(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        if (name := accepted(ctx, "user_name", "name")) is None:
            return InputRequiredResult(input_requests={"user_name": elicit("What is your name?", "name")})
        await anyio.sleep(0.5)
        return text(f"Hello, {name}!")
