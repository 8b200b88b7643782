"""What every MCP tool of this server shares: work off the event loop, results, progress, errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.types import CallToolResult, ResourceLink, TextContent

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.search.errors import SearchError
from kernelevolve.server.setting_files import SettingError

if TYPE_CHECKING:
    from kernelevolve.evaluation.contract import Contract
    from kernelevolve.tools.judges import Cancellation


def reporter(ctx: Context[Any, Any]) -> Callable[[str, float], None]:
    """A function that a working thread may call to report progress to the client."""

    def report(text: str, share: float) -> None:
        anyio.from_thread.run(ctx.report_progress, share, 1.0, text)

    return report


def result(text: str, value: Contract, links: Sequence[ResourceLink] = ()) -> CallToolResult:
    """What a tool answers.

    Args:
        text: for the model, at most 8,000 characters; the guard cuts what is longer.
        value: the same as a value.
        links: resources that hold all of it.
    """
    return CallToolResult(
        content=[TextContent(type="text", text=text), *links],
        structured_content=value.model_dump(mode="json"),
    )


def link(uri: str, name: str) -> ResourceLink:
    """A resource that holds what a text had no room for."""
    return ResourceLink(type="resource_link", uri=uri, name=name)


async def read_in_thread(work: Callable[[], str]) -> str:
    """Read a resource off the event loop; what is not there is an error that says what to do."""
    try:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    except (KernelEvolveError, SearchError, KnowledgeError) as error:
        raise ResourceNotFoundError(str(error)) from error


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
        text = f"{error.finding.value}: {error}"
        if error.log:
            from kernelevolve.search.prompt import as_material

            text += f"\n{as_material(error.log[-2000:])}"
        raise ToolError(text) from error
    except (SearchError, KnowledgeError, SettingError) as error:
        raise ToolError(str(error)) from error
