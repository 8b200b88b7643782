"""The search tree as an MCP App, as clients of both protocol eras see it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from kernelevolve.server.dashboard.mcp_app import URI, search_tree_page
from kernelevolve.server.mcp_server import create_server

MIME_TYPE = "text/html;profile=mcp-app"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_page_is_linked_from_get_search_and_can_be_read(tmp_path: Path, mode: str) -> None:
    async def run() -> tuple[Any, Any, Any]:
        async with Client(create_server(tmp_path), mode=mode) as client:  # type: ignore[arg-type]
            tools = (await client.list_tools()).tools
            resources = (await client.list_resources()).resources
            return tools, resources, await client.read_resource(URI)

    tools, resources, read = anyio.run(run)
    linked = {tool.name: tool.meta["ui"]["resourceUri"] for tool in tools if tool.meta and "ui" in tool.meta}
    assert linked == {"get_search": URI}
    (resource,) = (resource for resource in resources if str(resource.uri) == URI)
    assert resource.mime_type == MIME_TYPE
    (content,) = read.contents
    assert content.mime_type == MIME_TYPE
    assert content.text == search_tree_page()


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = search_tree_page()
    assert len(page) < 60_000
    assert page.count("<script") == page.count("</script") == 1
    assert not re.search(r"\b(?:src|href)=|@import|url\(|fetch\(|\bimport\b .* from|^export ", page, re.MULTILINE)


def test_a_server_on_stdio_loads_nothing_for_it() -> None:
    program = (
        "import sys; import kernelevolve.server.mcp_server as server; from pathlib import Path; import tempfile;"
        "server.create_server(Path(tempfile.mkdtemp()));"
        "heavy = ('jinja2', 'pygments', 'markdown_it', 'torch', 'lancedb', 'triton');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
