"""`export_kernel` and the resource `search://…/export`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field

from kernelevolve.server.consent import Consent
from kernelevolve.server.mcp_support import in_thread, link, read_in_thread, reporter, result
from kernelevolve.tools.export_summary import ExportRequest, ExportSummary
from kernelevolve.tools.judges import Cancellation, JudgePool

if TYPE_CHECKING:
    from kernelevolve.search.store import Store


def add_export_tools(server: MCPServer[Any], pool: JudgePool, store: Callable[[], Store]) -> None:
    """`export_kernel` and the resource of what was exported last.

    Args:
        server: gets them.
        pool: where judges come from.
        store: the searches, opened when first asked for.
    """

    @server.tool(
        name="export_kernel",
        title="Export the best kernel as a module",
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
    )
    async def export(
        search_id: str,
        ctx: Context[Any, Any],
        consent: Consent,
        steps: Annotated[
            list[int], Field(max_length=32, description="Nodes to use. None: the best, and what is faster in a case.")
        ] = [],  # noqa: B006
        also: Annotated[
            list[str], Field(max_length=8, description="Further searches of the same task, e.g. for other platforms.")
        ] = [],  # noqa: B006
        path: Annotated[
            str | None, Field(description="File to write, .py, relative to the workspace; none for no file.")
        ] = None,
        overwrite: Annotated[bool, Field(description="Replace an earlier export at `path`.")] = False,
        embed_reference: Annotated[bool, Field(description="Carry the reference along, to fall back to.")] = True,
        allow_unexecuted: Annotated[
            bool, Field(description="Take kernels that were only interpreted or compiled; the module says so.")
        ] = False,
        limit_s: Annotated[float, Field(gt=0, le=600, description="Seconds one answer may take.")] = 120.0,
    ) -> Annotated[CallToolResult, ExportSummary]:
        """Write the best nodes as one importable Python module: it chooses a kernel by shape, falls back to the
        reference for what was not checked, and is judged as a whole before you get it."""
        cancellation = Cancellation()

        def work() -> CallToolResult:
            from kernelevolve.tools.export_kernel import export_kernel, summary_text

            request = ExportRequest(
                search_id=search_id, steps=tuple(steps), also=tuple(also), embed_reference=embed_reference,
                allow_unexecuted=allow_unexecuted, limit_s=limit_s,
            )  # fmt: skip
            summary, _text = export_kernel(pool, store(), request, path, overwrite, reporter(ctx), cancellation)
            return result(summary_text(summary), summary, [link(summary.resource, "exported module")])

        answer: CallToolResult = await in_thread(work, cancellation)
        return answer

    @server.resource("search://{search_id}/export", title="An exported module", mime_type="text/x-python")
    async def export_resource(search_id: str) -> str:
        """The module that was exported last of a search."""

        def read() -> str:
            from kernelevolve.tools.export_kernel import stored_export

            return stored_export(pool.state, search_id)

        return await read_in_thread(read)
