"""Tools, resources and prompts of fixed content that the conformance suite asks for by name."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import Field

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
        "a5f645400000000049454e44ae426082"
    )
).decode()
WAV = base64.b64encode(b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0").decode()
_STEP_S = 0.05
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}}}},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def text(value: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=value)])


def _resource(uri: str, mime_type: str, content: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=content))


def add_content(server: MCPServer[Any]) -> None:
    _add_tools(server)
    _add_notifying_tools(server)
    _add_resources(server)
    _add_prompts(server)
    _add_older_methods(server)


def _add_tools(server: MCPServer[Any]) -> None:
    image = ImageContent(type="image", data=PNG, mime_type="image/png")

    @server.tool(name="test_simple_text", description="Test simple text, for the conformance suite.")
    async def simple_text() -> CallToolResult:
        return text("This is a simple text response for testing.")

    @server.tool(name="test_image_content", description="Test image content, for the conformance suite.")
    async def image_content() -> CallToolResult:
        return CallToolResult(content=[image])

    @server.tool(name="test_audio_content", description="Test audio content, for the conformance suite.")
    async def audio_content() -> CallToolResult:
        return CallToolResult(content=[AudioContent(type="audio", data=WAV, mime_type="audio/wav")])

    @server.tool(name="test_embedded_resource", description="Test embedded resource, for the conformance suite.")
    async def embedded_resource() -> CallToolResult:
        return CallToolResult(
            content=[_resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
        )

    @server.tool(
        name="test_multiple_content_types", description="Test multiple content types, for the conformance suite."
    )
    async def multiple() -> CallToolResult:
        mixed = _resource("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}')
        return CallToolResult(content=[TextContent(type="text", text="Multiple content types test:"), image, mixed])

    @server.tool(name="test_error_handling", description="Test error handling, for the conformance suite.")
    async def error_handling() -> CallToolResult:
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool(name="json_schema_2020_12_tool", description="Takes arguments of a schema written by hand.")
    async def by_hand() -> CallToolResult:
        return text("done")

    # The SDK makes schemas of signatures; this one shows that keywords it never writes come through.
    listed = server._tool_manager.get_tool("json_schema_2020_12_tool")
    assert listed is not None
    listed.parameters = SCHEMA

    @server.tool(name="test_custom_header", description="Test custom header, for the conformance suite.")
    async def custom_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "here",
    ) -> CallToolResult:
        return text(region)


def _add_notifying_tools(server: MCPServer[Any]) -> None:
    @server.tool(name="test_tool_with_progress", description="Test tool with progress, for the conformance suite.")
    async def with_progress(ctx: Context[Any, Any]) -> CallToolResult:
        for share in (0, 50, 100):
            await ctx.report_progress(share, 100, f"{share} of 100")
            await anyio.sleep(_STEP_S)
        return text("done")

    @server.tool(name="test_tool_with_logging", description="Test tool with logging, for the conformance suite.")
    async def with_logging(ctx: Context[Any, Any]) -> CallToolResult:
        for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.log("info", message)
            await anyio.sleep(_STEP_S)
        return text("done")

    @server.tool(name="test_logging_tool", description="Test logging tool, for the conformance suite.")
    async def logging_tool(ctx: Context[Any, Any]) -> CallToolResult:
        await ctx.log("info", "only for clients that asked for logs")
        return text("done")

    @server.tool(name="test_trigger_tool_change", description="Test trigger tool change, for the conformance suite.")
    async def tool_change(ctx: Context[Any, Any]) -> CallToolResult:
        await ctx.notify_tools_changed()
        return text("done")

    @server.tool(
        name="test_trigger_prompt_change", description="Test trigger prompt change, for the conformance suite."
    )
    async def prompt_change(ctx: Context[Any, Any]) -> CallToolResult:
        await ctx.notify_prompts_changed()
        return text("done")


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        return "Watched resource content"


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt(name="test_simple_prompt", description="Test simple prompt, for the conformance suite.")
    def simple() -> list[UserMessage]:
        return [UserMessage("This is a simple prompt for testing.")]

    @server.prompt(
        name="test_prompt_with_arguments", description="Test prompt with arguments, for the conformance suite."
    )
    def with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
        return [UserMessage(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]

    @server.prompt(
        name="test_prompt_with_embedded_resource",
        description="Test prompt with embedded resource, for the conformance suite.",
    )
    def with_resource(resourceUri: str) -> list[UserMessage]:
        embedded = _resource(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [UserMessage(embedded), UserMessage("Please process the embedded resource above.")]

    @server.prompt(name="test_prompt_with_image", description="Test prompt with image, for the conformance suite.")
    def with_image() -> list[UserMessage]:
        image = ImageContent(type="image", data=PNG, mime_type="image/png")
        return [UserMessage(image), UserMessage("Please analyze the image above.")]


def _add_older_methods(server: MCPServer[Any]) -> None:
    """Methods of older revisions that the product does not serve, and the suite wants from a server of everything."""

    async def acknowledge(_ctx: Any, _params: Any) -> EmptyResult:
        return EmptyResult()

    low = server._lowlevel_server
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, acknowledge)
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, acknowledge)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, acknowledge)
