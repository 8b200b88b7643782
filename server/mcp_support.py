"""What every MCP tool of this server shares: work off the event loop, results, progress, errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.search.errors import SearchError
from kernelevolve.server.setting_files import SettingError
from kernelevolve.tools.judges import Cancellation


def reporter(ctx: Context[Any, Any]) -> Callable[[str, float], None]:
    """A function that a working thread may call to report progress to the client."""

    def report(text: str, share: float) -> None:
        anyio.from_thread.run(ctx.report_progress, share, 1.0, text)

    return report


def result(text: str, value: Contract) -> CallToolResult:
    """Text for the model and the same as a value."""
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=value.model_dump(mode="json")
    )


async def in_thread(work: Callable[[], Any], cancellation: Cancellation | None = None) -> Any:
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
    except (SearchError, KnowledgeError, SettingError) as error:
        raise ToolError(str(error)) from error


def _tail(log: str) -> str:
    return f"\n{log[-2000:]}" if log else ""
