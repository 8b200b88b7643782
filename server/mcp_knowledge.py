"""The MCP side of the knowledge base: two tools, documents as resources."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field

from kernelevolve.knowledge.answer import KnowledgeAnswer
from kernelevolve.knowledge.pattern import PatternText, StoredPattern
from kernelevolve.knowledge.vocabulary import TOPICS
from kernelevolve.server.mcp_support import in_thread, link, read_in_thread, result
from kernelevolve.server.warm_up import GetBase

if TYPE_CHECKING:
    from kernelevolve.knowledge.base import KnowledgeBase
    from kernelevolve.search.store import Store

_DOCUMENT = "knowledge://{+path}"
_SECTION = "knowledge://{+path}#{section}"
_SHELF = "knowledge://platforms/{platform}/{topic}"

Kinds = list[Literal["constraint", "guidance", "hardware", "sample", "pattern"]]


def add_knowledge_tools(server: MCPServer[Any], base: GetBase, store: Callable[[], Store]) -> None:
    """`retrieve_hardware_docs`, `store_pattern` and the `knowledge://` resources.

    Args:
        server: gets them.
        base: answers.
        store: the searches, opened when first asked for.
    """

    @server.tool(
        name="retrieve_hardware_docs",
        title="Ask the hardware knowledge base",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    async def retrieve(
        query: Annotated[str, Field(description="A question, words, or an identifier such as tl.dot_scaled.")],
        platforms: Annotated[
            list[str], Field(description="e.g. H100, cuda:sm_90, hopper, amd, mtia, cpu; none for all.")
        ] = [],  # noqa: B006
        kinds: Kinds = [],  # noqa: B006
        languages: Annotated[list[str], Field(description="triton, cuda, hip, cpp; none for all.")] = [],  # noqa: B006
        versions: Annotated[
            dict[str, str] | None, Field(description='Answer for these, e.g. {"triton": "3.6"}; default: installed.')
        ] = None,
        limit: Annotated[int, Field(ge=1, le=20)] = 6,
        neighbours: Annotated[int, Field(ge=0, le=3, description="Passages to add around each hit.")] = 0,
    ) -> Annotated[CallToolResult, KnowledgeAnswer]:
        """Facts of hardware and how to use it: exact numbers of chips, passages with sources, rules, tested samples."""

        def work() -> CallToolResult:
            from kernelevolve.tools.retrieve_hardware_docs import retrieve_hardware_docs

            answer, text = retrieve_hardware_docs(
                base(), query, platforms, list(kinds), languages, versions, limit, neighbours
            )
            return result(text, answer, [link(passage.uri, passage.title) for passage in answer.passages])

        found: CallToolResult = await in_thread(work)
        return found

    @server.tool(
        name="store_pattern",
        title="Keep a technique with its proof",
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
    )
    async def keep(
        pattern: PatternText,
        nodes: Annotated[
            list[str],
            Field(min_length=1, max_length=32, description="<search id>.<step> that show it, failed tries too."),
        ],
        duplicate_of: Annotated[str | None, Field(description="A pattern that this one is in other words.")] = None,
    ) -> Annotated[CallToolResult, StoredPattern]:
        """Remember why something helped (or did not), proved by judged nodes, for later searches."""

        def work() -> CallToolResult:
            from kernelevolve.tools.store_pattern import store_pattern

            stored, text = store_pattern(base(), store(), pattern, nodes, duplicate_of)
            return result(text, stored)

        kept: CallToolResult = await in_thread(work)
        return kept

    @server.resource(_SHELF, title="Documents of a platform about a topic", mime_type="text/markdown")
    async def shelf_resource(platform: str, topic: str) -> str:
        """Titles and links."""
        return await read_in_thread(lambda: _shelf(base(), platform, topic))

    @server.resource(_DOCUMENT, title="A document or a spec sheet (chips/…)", mime_type="text/markdown")
    async def document_resource(path: str) -> str:
        """A document with its sources."""
        return await read_in_thread(lambda: base().read(path))

    @server.resource(_SECTION, title="A section of a document", mime_type="text/markdown")
    async def section_resource(path: str, section: str) -> str:
        """One section with its document's sources."""
        return await read_in_thread(lambda: base().read(f"{path}#{section}"))


def _shelf(base: KnowledgeBase, platform: str, topic: str) -> str:
    from kernelevolve.knowledge.store import where_clause

    where = where_clause(base.resolve([platform]))
    heads = [head for head in base.store.select(f"position = 0 AND {where}") if topic in head.topics]
    if not heads:
        return f"No document for {platform} about {topic!r}. Topics: {', '.join(sorted(TOPICS))}."
    heads.sort(key=lambda head: head.passage.document_id)
    return "\n".join(f"- {head.title} (knowledge://{head.passage.document_id})" for head in heads)
