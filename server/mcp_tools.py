"""All tools, resources and prompts of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer

from kernelevolve.server.consent import ask_before_unsandboxed
from kernelevolve.server.mcp_export import add_export_tools
from kernelevolve.server.mcp_knowledge import add_knowledge_tools
from kernelevolve.server.mcp_profiles import add_profile_tools
from kernelevolve.server.mcp_prompts import add_prompts
from kernelevolve.server.mcp_searches import add_search_tools
from kernelevolve.server.mcp_verify import add_verify_tools
from kernelevolve.tools.advice import Advisor

if TYPE_CHECKING:
    from kernelevolve.knowledge.base import KnowledgeBase
    from kernelevolve.search.store import Store
    from kernelevolve.tools.judges import JudgePool


def add_tools(
    server: MCPServer[Any],
    state: Path,
    pool: JudgePool,
    base: Callable[[], KnowledgeBase],
    store: Callable[[], Store],
) -> None:
    """Give a server all of them.

    Args:
        server: gets them.
        state: state folder.
        pool: where judges come from.
        base: the knowledge base.
        store: the searches, opened when first asked for.
    """
    ask_before_unsandboxed(server, pool)
    add_verify_tools(server, pool)
    add_search_tools(server, pool, store, Advisor(base, pool.lend, state))
    add_knowledge_tools(server, base, store)
    add_profile_tools(server, pool, base, store)
    add_export_tools(server, pool, store)
    add_prompts(server)
