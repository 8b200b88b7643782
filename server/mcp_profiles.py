"""`profile_kernel` and the `profile://` resources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.profilers.report import Bottleneck, Part, ProfileReport, RooflinePoint
from kernelevolve.profilers.text import TEXT_LIMIT, profile_text
from kernelevolve.server.consent import Consent
from kernelevolve.server.mcp_support import in_thread, link, read_in_thread, reporter, result
from kernelevolve.tools.judges import Cancellation, JudgePool

if TYPE_CHECKING:
    from kernelevolve.knowledge.base import KnowledgeBase
    from kernelevolve.search.store import Store


def _of_node(store: Store, node_id: str, platform: str | None) -> tuple[str, str, str, str]:
    """Task, source, language and platform of a node."""
    node = store.node(node_id)
    search = store.search(node.search_id)
    candidate = store.candidate(node)
    return search.task, candidate.source, candidate.language, platform or search.platform


class KernelProfile(Contract):
    """What `profile_kernel` returns; everything that was seen is behind `profile`."""

    profile: str
    """Address of the whole report, `profile://…`."""
    trace: str | None
    """File on the server's machine that opens in ui.perfetto.dev, where something ran."""
    bottlenecks: tuple[Bottleneck, ...]
    """Ranked, the most costly first."""
    roofline: tuple[RooflinePoint, ...]
    """Where each case lies."""
    parts: tuple[Part, ...]
    """Sources of evidence and how each went."""
    notes: tuple[str, ...]
    """What a reader should know."""

    @classmethod
    def of(cls, report: ProfileReport, name: str, trace: Path) -> KernelProfile:
        """The short form of a report."""
        return cls(
            profile=f"profile://{name}",
            trace=str(trace) if trace.is_file() else None,
            bottlenecks=report.bottlenecks,
            roofline=report.roofline,
            parts=report.parts,
            notes=report.notes,
        )


def add_profile_tools(
    server: MCPServer[Any], pool: JudgePool, base: Callable[[], KnowledgeBase], store: Callable[[], Store]
) -> None:
    """`profile_kernel` and the resource of a report.

    Args:
        server: gets them.
        pool: where judges come from.
        base: the knowledge base, for links.
        store: the searches, opened when first asked for.
    """

    @server.tool(
        name="profile_kernel",
        title="Say why a kernel is slow",
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
    )
    async def profile(
        ctx: Context[Any, Any],
        consent: Consent,
        task: Annotated[str, Field(description="Path of a task, aten::<operator>, or the text of a task file.")] = "",
        source: Annotated[str, Field(description="The candidate's whole source.")] = "",
        node: Annotated[
            str | None, Field(description="<search id>.<step>, in place of task, source, language and platform.")
        ] = None,
        language: Literal["triton", "cpp", "cuda", "hip"] = "triton",
        platform: Annotated[
            str | None, Field(description="e.g. cuda:sm_90; need not be here. Default: the node's, else cpu.")
        ] = None,
        parts: Annotated[
            list[str],
            Field(description="static (no device, fast), timeline, proton, counters, perf; none for all that fit."),
        ] = [],  # noqa: B006
        case: Annotated[str | None, Field(description="Case to run; the heaviest if left out.")] = None,
        more: Annotated[bool, Field(description="Collect a second, larger set of counters.")] = False,
        limit_s: Annotated[float, Field(gt=0, le=600, description="Seconds one profiled run may take.")] = 120.0,
    ) -> Annotated[CallToolResult, KernelProfile]:
        """Rank what keeps a kernel slow, with the evidence and what to try. Only correct candidates are run."""
        cancellation = Cancellation()

        def work() -> CallToolResult:
            from kernelevolve.tools.profile_kernel import profile_folder, profile_id, profile_kernel

            what: tuple[str, str, str, str] = (task, source, language, platform or "cpu")
            if node is not None:
                what = _of_node(store(), node, platform)
            elif not task or not source:
                raise TaskError(
                    Finding.TASK_UNREADABLE,
                    "There is nothing to profile.",
                    "Give task and source, or a node of a search.",
                )
            report = profile_kernel(pool, *what, parts, case, more, limit_s, base, reporter(ctx), cancellation)
            name = profile_id(report)
            short = KernelProfile.of(report, name, profile_folder(pool.state, name) / "trace.pftrace")
            return result(
                f"{profile_text(report, TEXT_LIMIT - 100)}\nwhole report: {short.profile}",
                short,
                [link(short.profile, "whole report")],
            )

        answer: CallToolResult = await in_thread(work, cancellation)
        return answer

    @server.resource("profile://{profile}", title="A whole profile", mime_type="application/json")
    async def profile_resource(profile: str) -> str:
        """Everything that was seen, by kernel, with the evidence."""

        def read() -> str:
            from kernelevolve.tools.profile_kernel import stored_profile

            return stored_profile(pool.state, profile).model_dump_json(indent=1)

        return await read_in_thread(read)
