"""The MCP server: translates tool calls into `tools/`, nothing else."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import anyio.from_thread
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.judge.client import start_warm_host, stop_warm_host, warm_host
from kernelevolve.evaluation.platform import Availability
from kernelevolve.evaluation.version import VERSION
from kernelevolve.tools.compile_and_verify import VerifyResult, compile_and_verify, verdict_text
from kernelevolve.tools.judges import Cancellation, JudgePool
from kernelevolve.tools.list_platforms import available_platforms, platforms_text

INSTRUCTIONS = """\
KernelEvolve judges kernels you write: is it right, how fast is it, what does it take of the hardware.
1. list_platforms says what can be judged here and at which level.
2. compile_and_verify takes a task (path, aten::<operator>, or the text of a task file) and your candidate; it answers
   with a verdict and, when the candidate is refused, what to change. Write the next candidate and call it again.
A Triton candidate defines kernel(...) with the reference's arguments, or class ModelNew. A C++ or CUDA candidate
defines void kernel(TensorView input, ..., TensorView output): outputs are preallocated and come last."""


class Platforms(Contract):
    """What `list_platforms` returns."""

    platforms: tuple[Availability, ...]
    """One entry for each known platform."""


def create_server(state: Path) -> MCPServer[Any]:
    """The server with its tools.

    Args:
        state: state folder, shared with the command line.
    """
    pool = JudgePool(state)

    @asynccontextmanager
    async def lifespan(_server: MCPServer[Any]) -> AsyncIterator[None]:
        # In the background: the client's first request must not wait for torch.
        ours = warm_host(state) is None
        warming = threading.Thread(target=start_warm_host, args=(state,), daemon=True)
        warming.start()
        try:
            yield
        finally:
            pool.close()
            warming.join()
            if ours:
                stop_warm_host(state)

    server: MCPServer[Any] = MCPServer(
        name="kernelevolve", title="KernelEvolve", version=VERSION, instructions=INSTRUCTIONS, lifespan=lifespan
    )

    @server.tool(
        name="compile_and_verify",
        title="Judge a kernel",
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
    )
    async def verify(
        task: Annotated[str, Field(description="Path of a task, aten::<operator>, or the text of a task file.")],
        source: Annotated[str, Field(description="The candidate's whole source.")],
        ctx: Context[Any, Any],
        language: Literal["triton", "cpp", "cuda", "hip"] = "triton",
        platforms: Annotated[list[str], Field(description="e.g. cpu, cuda:sm_90, hip:gfx950", min_length=1)] = ["cpu"],  # noqa: B006
        baselines: list[Literal["eager", "compile"]] = ["eager"],  # noqa: B006
        timed_calls: Annotated[int, Field(ge=0, le=10_000, description="0 leaves timing out.")] = 100,
        limit_s: Annotated[float, Field(gt=0, le=600, description="Seconds one answer may take.")] = 60.0,
    ) -> Annotated[CallToolResult, VerifyResult]:
        """Judge one candidate kernel against a task, on each platform: correctness, speed, resources, diagnosis."""

        def report(text: str, share: float) -> None:
            anyio.from_thread.run(ctx.report_progress, share, 1.0, text)

        cancellation = Cancellation()
        result = await _in_thread(
            lambda: compile_and_verify(
                pool, task, source, language, platforms, list(baselines), timed_calls, limit_s, report, cancellation
            ),
            cancellation,
        )
        return _result(verdict_text(result), result)

    @server.tool(
        name="list_platforms",
        title="What can be judged here",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    async def list_platforms() -> Annotated[CallToolResult, Platforms]:
        """List the platforms, the level each language reaches on this machine, and what is missing for more."""
        entries = await _in_thread(available_platforms)
        return _result(platforms_text(entries), Platforms(platforms=tuple(entries)))

    return server


def _result(text: str, value: Contract) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=value.model_dump(mode="json")
    )


async def _in_thread(work: Callable[[], Any], cancellation: Cancellation | None = None) -> Any:
    """Run blocking work off the event loop; a foreseen failure becomes a tool error that says what to do.

    When the client cancels the call, its judge is ended at once, which frees the device.
    """
    try:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    except anyio.get_cancelled_exc_class():
        if cancellation is not None:
            cancellation.cancel()
        raise
    except KernelEvolveError as error:
        raise ToolError(f"{error.finding.value}: {error}{_tail(error.log)}") from error


def _tail(log: str) -> str:
    return f"\n{log[-2000:]}" if log else ""


def serve_stdio(state: Path) -> None:
    """Serve over stdin and stdout until the client hangs up."""
    create_server(state).run("stdio")
