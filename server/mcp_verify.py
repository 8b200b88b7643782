"""`compile_and_verify` and `list_platforms`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.platform import Availability
from kernelevolve.server.consent import Consent
from kernelevolve.server.mcp_support import in_thread, reporter, result
from kernelevolve.tools.compile_and_verify import VerifyResult, compile_and_verify, verdict_text
from kernelevolve.tools.judges import Cancellation, JudgePool
from kernelevolve.tools.list_platforms import available_platforms, platforms_text


class Platforms(Contract):
    """What `list_platforms` returns."""

    platforms: tuple[Availability, ...]
    """One entry for each known platform."""


def add_verify_tools(server: MCPServer[Any], pool: JudgePool) -> None:
    """`compile_and_verify`, `list_platforms`.

    Args:
        server: gets them.
        pool: where judges come from.
    """

    @server.tool(
        name="compile_and_verify",
        title="Judge a kernel",
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
    )
    async def verify(
        task: Annotated[str, Field(description="Path of a task, aten::<operator>, or the text of a task file.")],
        source: Annotated[str, Field(description="The candidate's whole source.")],
        ctx: Context[Any, Any],
        consent: Consent,
        language: Literal["triton", "cpp", "cuda", "hip"] = "triton",
        platforms: Annotated[list[str], Field(description="e.g. cpu, cuda:sm_90, hip:gfx950", min_length=1)] = ["cpu"],  # noqa: B006
        baselines: list[Literal["eager", "compile"]] = ["eager"],  # noqa: B006
        timed_calls: Annotated[int, Field(ge=0, le=10_000, description="0 leaves timing out.")] = 100,
        limit_s: Annotated[float, Field(gt=0, le=600, description="Seconds one answer may take.")] = 60.0,
    ) -> Annotated[CallToolResult, VerifyResult]:
        """Judge one candidate kernel against a task, on each platform: correctness, speed, resources, diagnosis."""

        cancellation = Cancellation()
        verdict = await in_thread(
            lambda: compile_and_verify(
                pool, task, source, language, platforms, list(baselines), timed_calls, limit_s, reporter(ctx),
                cancellation,
            ),
            cancellation,
        )  # fmt: skip
        return result(verdict_text(verdict), verdict)

    @server.tool(
        name="list_platforms",
        title="What can be judged here",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    async def list_platforms() -> Annotated[CallToolResult, Platforms]:
        """List the platforms, the level each language reaches on this machine, and what is missing for more."""
        entries = await in_thread(available_platforms)
        return result(platforms_text(entries), Platforms(platforms=tuple(entries)))
