"""Tools and a prompt that ask the client: by requests of their own (older revisions), and in rounds of the call."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

from tests.conformance.content_fixtures import text

ENUMS: dict[str, Any] = {
    "untitledSingle": {"type": "string", "enum": ["one", "two"]},
    "titledSingle": {
        "type": "string",
        "oneOf": [{"const": "low", "title": "Low"}, {"const": "high", "title": "High"}],
    },
    "legacyEnum": {"type": "string", "enum": ["one", "two"], "enumNames": ["One", "Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["one", "two"]}},
    "titledMulti": {
        "type": "array",
        "items": {"anyOf": [{"const": "bug", "title": "Bug"}, {"const": "docs", "title": "Documents"}]},
    },
}
DEFAULTS: dict[str, Any] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
USER: dict[str, Any] = {
    "username": {"type": "string", "description": "User's response"},
    "email": {"type": "string", "description": "User's email address"},
}


def _schema(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


def elicit(message: str, field: str, kind: str = "string") -> ElicitRequest:
    return ElicitRequest(
        params=ElicitRequestFormParams(message=message, requested_schema=_schema({field: {"type": kind}}, [field]))
    )


def sample(prompt: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def accepted(ctx: Context[Any, Any], key: str, field: str) -> Any:
    """What the client filled in; None where it has not."""
    response = (ctx.input_responses or {}).get(key)
    if not isinstance(response, ElicitResult) or response.action != "accept":
        return None
    return (response.content or {}).get(field)


def add_asking(server: MCPServer[Any]) -> None:
    _add_requests(server)
    _add_rounds(server)
    _add_rounds_with_state(server)
    _add_capabilities(server)


def _add_requests(server: MCPServer[Any]) -> None:
    async def answer(ctx: Context[Any, Any], message: str, schema: dict[str, Any], label: str) -> CallToolResult:
        found = await ctx.session.elicit(message, schema, related_request_id=ctx.request_id)
        return text(f"{label}: action={found.action}, content={found.content}")

    @server.tool(name="test_sampling", description="Test sampling, for the conformance suite.")
    async def sampling(prompt: str, ctx: Context[Any, Any]) -> CallToolResult:
        message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        found = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
        if not isinstance(found.content, TextContent):
            raise ToolError("The client's model answered without text.")
        return text(f"LLM response: {found.content.text}")

    @server.tool(name="test_elicitation", description="Test elicitation, for the conformance suite.")
    async def elicitation(message: str, ctx: Context[Any, Any]) -> CallToolResult:
        return await answer(ctx, message, _schema(USER, ["username", "email"]), "User response")

    @server.tool(
        name="test_elicitation_sep1034_defaults",
        description="Test elicitation sep1034 defaults, for the conformance suite.",
    )
    async def defaults(ctx: Context[Any, Any]) -> CallToolResult:
        return await answer(ctx, "Who are you?", _schema(DEFAULTS), "Elicitation completed")

    @server.tool(
        name="test_elicitation_sep1330_enums", description="Test elicitation sep1330 enums, for the conformance suite."
    )
    async def enums(ctx: Context[Any, Any]) -> CallToolResult:
        return await answer(ctx, "Choose.", _schema(ENUMS), "Elicitation completed")


def _add_rounds(server: MCPServer[Any]) -> None:
    @server.tool(
        name="test_input_required_result_elicitation",
        description="Test input required result elicitation, for the conformance suite.",
    )
    async def one(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        if (name := accepted(ctx, "user_name", "name")) is None:
            return InputRequiredResult(input_requests={"user_name": elicit("What is your name?", "name")})
        return text(f"Hello, {name}!")

    @server.tool(
        name="test_input_required_result_sampling",
        description="Test input required result sampling, for the conformance suite.",
    )
    async def sampled(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        response = (ctx.input_responses or {}).get("capital_question")
        if response is None:
            question = sample("What is the capital of France?")
            return InputRequiredResult(input_requests={"capital_question": question})
        return text(str(response.model_dump(mode="json")))

    @server.tool(
        name="test_input_required_result_list_roots",
        description="Test input required result list roots, for the conformance suite.",
    )
    async def roots(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        response = (ctx.input_responses or {}).get("client_roots")
        if response is None:
            return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
        return text(str(response.model_dump(mode="json")))

    @server.prompt(
        name="test_input_required_result_prompt",
        description="Test input required result prompt, for the conformance suite.",
    )
    async def asking_prompt(ctx: Context[Any, Any]) -> Any:
        if (context := accepted(ctx, "user_context", "context")) is None:
            question = elicit("What context should the prompt use?", "context")
            return InputRequiredResult(input_requests={"user_context": question})
        return f"The context is {context}."


def _add_rounds_with_state(server: MCPServer[Any]) -> None:
    async def confirm(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        if ctx.request_state != "asked" or accepted(ctx, "confirm", "ok") is None:
            question = elicit("Please confirm", "ok", "boolean")
            return InputRequiredResult(input_requests={"confirm": question}, request_state="asked")
        return text("state-ok")

    # The state is sealed by the SDK, so a changed one never comes as far as the tool.
    server.tool(
        name="test_input_required_result_request_state",
        description="Test input required result request state, for the conformance suite.",
    )(confirm)
    server.tool(
        name="test_input_required_result_tampered_state",
        description="Test input required result tampered state, for the conformance suite.",
    )(confirm)

    @server.tool(
        name="test_input_required_result_multiple_inputs",
        description="Test input required result multiple inputs, for the conformance suite.",
    )
    async def multiple(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        wanted = {
            "user_name": elicit("What is your name?", "name"),
            "greeting": sample("Generate a greeting"),
            "client_roots": ListRootsRequest(),
        }
        if wanted.keys() - (ctx.input_responses or {}).keys():
            return InputRequiredResult(input_requests=wanted, request_state="asked")
        return text("all there")

    @server.tool(
        name="test_input_required_result_multi_round",
        description="Test input required result multi round, for the conformance suite.",
    )
    async def rounds(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        state = ctx.request_state or ""
        if not state:
            question = elicit("Step 1: What is your name?", "name")
            return InputRequiredResult(input_requests={"step1": question}, request_state="name:")
        if state == "name:":
            question = elicit("Step 2: What is your favorite color?", "color")
            name = accepted(ctx, "step1", "name")
            return InputRequiredResult(input_requests={"step2": question}, request_state=f"color:{name}")
        return text(f"{state.removeprefix('color:')} likes {accepted(ctx, 'step2', 'color')}")


def _add_capabilities(server: MCPServer[Any]) -> None:
    @server.tool(
        name="test_input_required_result_capabilities",
        description="Test input required result capabilities, for the conformance suite.",
    )
    async def capabilities(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        can = ctx.client_capabilities
        wanted: dict[str, Any] = {}
        if can is not None and can.sampling is not None:
            wanted["sampled"] = sample("Say something")
        if can is not None and can.elicitation is not None:
            wanted["elicited"] = elicit("Say something", "words")
        if not wanted or wanted.keys() <= (ctx.input_responses or {}).keys():
            return text("done")
        return InputRequiredResult(input_requests=wanted)

    @server.tool(name="test_missing_capability", description="Test missing capability, for the conformance suite.")
    async def missing(ctx: Context[Any, Any]) -> CallToolResult:
        can = ctx.client_capabilities
        if can is None or can.sampling is None:
            raise MCPError(
                MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling.",
                {"requiredCapabilities": {"sampling": {}}},
            )  # fmt: skip
        return text("done")

    @server.tool(
        name="test_streaming_elicitation", description="Test streaming elicitation, for the conformance suite."
    )
    async def streaming(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        await ctx.report_progress(0, 1, "about to ask")
        if (name := accepted(ctx, "user_name", "name")) is None:
            return InputRequiredResult(input_requests={"user_name": elicit("What is your name?", "name")})
        return text(str(name))
