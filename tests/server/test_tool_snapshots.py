"""What each tool says of itself, one file a tool, so that a change of it shows in review.

`UPDATE_SNAPSHOTS=1 pytest tests/server/test_tool_snapshots.py` writes the files anew.
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernelevolve.server.access import TOOL_SCOPES
from kernelevolve.server.mcp_server import INSTRUCTIONS, create_server

FOLDER = Path(__file__).parent / "snapshots"
KEYS = ("name", "title", "description", "annotations", "inputSchema", "outputSchema")
LONGEST_DESCRIPTION = 300
"""Characters of a tool's or an argument's description: a model reads all of them before its first call."""
LARGEST_FOR_A_MODEL = 16_000
"""Characters of names, descriptions and input schemas together, as JSON."""
LARGEST_LIST = 90_000
"""Characters of the whole `tools/list`, as JSON: clients keep it, models do not read the output schemas in it."""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    server = create_server(tmp_path_factory.mktemp("state"))
    found = anyio.run(server.list_tools)
    return {tool.name: tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in found}


def written(tool: dict[str, Any]) -> str:
    return (
        json.dumps({key: tool[key] for key in KEYS if key in tool}, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    )


def test_no_tool_says_anything_new(tools: dict[str, dict[str, Any]]) -> None:
    if os.environ.get("UPDATE_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        for path in FOLDER.glob("*.json"):
            path.unlink()
        for name, tool in tools.items():
            (FOLDER / f"{name}.json").write_text(written(tool), encoding="utf-8")
    kept = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert kept.keys() == tools.keys(), "UPDATE_SNAPSHOTS=1 writes them anew"
    for name, tool in tools.items():
        lines = difflib.unified_diff(kept[name].splitlines(), written(tool).splitlines(), "kept", "now", lineterm="")
        difference = "\n".join(lines)
        assert not difference, (
            f"{name} changed; if that is meant, UPDATE_SNAPSHOTS=1 writes its file anew\n{difference}"
        )


def test_every_tool_says_what_it_is(tools: dict[str, dict[str, Any]]) -> None:
    assert tools.keys() == TOOL_SCOPES.keys()
    for name, tool in tools.items():
        assert tool.get("title"), name
        assert tool.get("description"), name
        assert tool.get("outputSchema", {}).get("properties"), name
        hints = tool.get("annotations", {})
        assert {"readOnlyHint", "openWorldHint"} <= hints.keys(), name
        assert hints["readOnlyHint"] or "destructiveHint" in hints, name


def test_what_a_model_reads_is_short(tools: dict[str, dict[str, Any]]) -> None:
    for name, tool in tools.items():
        assert len(tool["description"]) <= LONGEST_DESCRIPTION, name
        for argument, schema in tool["inputSchema"].get("properties", {}).items():
            assert len(schema.get("description", "")) <= LONGEST_DESCRIPTION, (name, argument)
    read = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in tools.values()]
    assert len(json.dumps(read)) <= LARGEST_FOR_A_MODEL
    assert len(json.dumps(list(tools.values()))) <= LARGEST_LIST
    assert len(INSTRUCTIONS) <= 2_048, "some clients cut instructions there"
