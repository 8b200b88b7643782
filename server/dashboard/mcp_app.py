"""The search tree as an MCP App: one HTML page that a client shows beside what `get_search` answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mcp.server.apps import Apps, ResourceCsp

import kernelevolve.search

URI = "ui://kernelevolve/search-tree"
"""Where clients read the page."""
SEARCH_TREE_META: dict[str, Any] = {"ui": {"resourceUri": URI, "visibility": ["model", "app"]}}
"""What a tool says of itself so that a client shows the page."""
_STATIC = Path(__file__).parent / "static"
# Not by `search.page`, which loads a template engine that a server on stdio has no use for.
_SHARED = Path(kernelevolve.search.__path__[0])
_MODULES = ("tree_model.js", "tree_view.js", "mcp_app.js")
_BETWEEN_MODULES = re.compile(r"^import .*;\n|^export (?=const|class|function)", re.MULTILINE)


def search_tree_page() -> str:
    """The page, with its style and its script inside: clients show it where nothing else can be fetched."""
    style = "\n".join(path.read_text(encoding="utf-8") for path in (_SHARED / "look.css", _STATIC / "dashboard.css"))
    # One scope in place of modules that would have to be fetched; they share no name.
    script = "\n".join(_BETWEEN_MODULES.sub("", (_STATIC / name).read_text(encoding="utf-8")) for name in _MODULES)
    if "</script" in script or "</style" in style:
        raise ValueError("a module or a style sheet would end its element")
    frame = (_STATIC / "mcp_app.html").read_text(encoding="utf-8")
    return frame.replace("/* style */", style).replace("/* script */", script)


def search_tree_app() -> Apps:
    """The extension `io.modelcontextprotocol/ui` with the page; clients that don't declare it get text as before."""
    apps = Apps()
    apps.add_html_resource(
        URI,
        search_tree_page(),
        name="search_tree",
        title="Tree of a search",
        description="Candidates of a search under those they come from, with their speed-ups.",
        csp=ResourceCsp(connect_domains=[], resource_domains=[]),
        prefers_border=True,
    )
    return apps
