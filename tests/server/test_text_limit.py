"""No tool answers with more than 8,000 characters of text, whatever it is asked; the rest is behind links."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client

from kernelevolve.server.access import TOOL_SCOPES
from kernelevolve.server.mcp_server import create_server
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT
from tests.conftest import SCALE_CPP, SCALE_TASK

LONG = "".join(f"// {number} {'word ' * 20}\n" for number in range(800))
JUNK = "\n".join(f'static_assert(false, "{"long " * 60}{number}");' for number in range(100))
NOWHERE = "z" * 30_000


def text_of(result: Any) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


def links_of(result: Any) -> list[str]:
    return [str(block.uri) for block in result.content if block.type == "resource_link"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_every_tool_keeps_to_the_limit(warm_state: Path, mode: Literal["auto", "legacy"]) -> None:
    lengths: dict[str, int] = {}

    async def conversation() -> None:
        async with Client(create_server(warm_state), mode=mode) as client:

            async def call(tool: str, **arguments: Any) -> Any:
                answer = await client.call_tool(tool, arguments)
                lengths[tool] = max(lengths.get(tool, 0), len(text_of(answer)))
                return answer

            await call("list_platforms")
            asked = await call("retrieve_hardware_docs", query="shared memory", limit=20, neighbours=3)
            assert links_of(asked)
            await call("retrieve_hardware_docs", query=NOWHERE)
            await call("compile_and_verify", task=SCALE_TASK, source=JUNK + SCALE_CPP, language="cpp", timed_calls=0)
            await call("compile_and_verify", task=NOWHERE, source="x")
            await call("compile_and_verify", task="\0", source="x", platforms=[NOWHERE])
            began = await call(
                "start_search", task=SCALE_TASK, source=LONG + SCALE_CPP, language="cpp", orders=16, evaluations=60
            )
            assert not began.is_error, text_of(began)
            assert f"search://{began.structured_content['summary']['search_id']}" in links_of(began)
            await call("start_search", task=SCALE_TASK, policy=NOWHERE)
            search_id = began.structured_content["summary"]["search_id"]
            orders = [given["order"]["order_id"] for given in began.structured_content["orders"]]
            submissions = [
                {"order_id": order, "source": f"{JUNK}// {order}\n{SCALE_CPP}", "description": "word " * 100}
                for order in orders
            ]
            stepped = await call("run_search_step", search_id=search_id, submissions=submissions[:6], orders=4)
            assert not stepped.is_error, text_of(stepped)
            await call("run_search_step", search_id=NOWHERE)
            for view in ("summary", "best", "tree", "node", "order", "events"):
                seen = await call("get_search", search_id=search_id, view=view, step=3 if view == "node" else None)
                assert not seen.is_error, text_of(seen)
            await call("get_search", search_id=NOWHERE)
            profiled = await call("profile_kernel", node=f"{search_id}.0", parts=["static"])
            assert any(uri.startswith("profile://") for uri in links_of(profiled)), text_of(profiled)
            await call("profile_kernel", node=NOWHERE)
            pattern = {
                "name": "w" * 100, "mechanism": "because " * 200, "method": "do " * 1000, "conditions": "always",
                "operator": "elementwise", "platform": "cpu", "language": "cpp",
            }  # fmt: skip
            await call("store_pattern", pattern=pattern, nodes=[f"{search_id}.{step}" for step in range(5)])
            await call("store_pattern", pattern=pattern, nodes=[NOWHERE])
            exported = await call("export_kernel", search_id=search_id)
            # Whether plain code beats the reference depends on the machine.
            assert (f"search://{search_id}/export" in links_of(exported)) != ("nothing to export" in text_of(exported))
            await call("export_kernel", search_id=search_id, path=NOWHERE)

    anyio.run(conversation)
    assert set(lengths) == set(TOOL_SCOPES)
    assert max(lengths.values()) <= TEXT_LIMIT
    # The limit was reached: what was asked for is more than fits.
    assert lengths["start_search"] > TEXT_LIMIT * 0.8
