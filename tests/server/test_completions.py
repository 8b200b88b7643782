"""Completions, cache hints and requests for prompts, as a client sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import PromptReference, ResourceTemplateReference

from kernelevolve.server.mcp_server import create_server
from tests.conftest import SCALE_CPP, SCALE_TASK
from tests.server.test_mcp import talk


def complete(state: Path, where: str, argument: str, typed: str, given: dict[str, str] | None = None) -> Any:
    ref: Any = (
        ResourceTemplateReference(type="ref/resource", uri=where)
        if "://" in where
        else PromptReference(type="ref/prompt", name=where)
    )
    answer = talk(state, lambda client: client.complete(ref, {"name": argument, "value": typed}, given))
    return answer.completion


@pytest.fixture(scope="module")
def searched(warm_state: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """A state folder with a search of two nodes, its handle, and its task."""
    task = tmp_path_factory.mktemp("completed") / "scale.py"
    task.write_text(SCALE_TASK)
    wrong = SCALE_CPP.replace("1.0f;", "1.5f;")

    async def search(client: Client) -> str:
        given = {"task": str(task), "source": SCALE_CPP, "language": "cpp"}
        started = (await client.call_tool("start_search", given)).structured_content
        order = started["orders"][0]["order"]["order_id"]
        submission = {"order_id": order, "source": wrong, "description": "another constant"}
        search_id = str(started["summary"]["search_id"])
        step = {"search_id": search_id, "submissions": [submission]}
        assert not (await client.call_tool("run_search_step", step)).is_error
        return search_id

    return warm_state, talk(warm_state, search), task


def test_searches_and_what_is_in_them(searched: tuple[Path, str, Path]) -> None:
    state, search_id, task = searched
    assert search_id in complete(state, "search://{search_id}", "search_id", search_id[:3]).values
    inside = {"search_id": search_id}
    assert complete(state, "search://{search_id}/nodes/{step}", "step", "", inside).values == ["1", "0"]
    assert complete(state, "search://{search_id}/verdicts/{step}", "step", "1", inside).values == ["1"]
    assert "0" in complete(state, "search://{search_id}/orders/{number}", "number", "", inside).values
    assert str(task) in complete(state, "optimize_operator", "task", "scale").values


def test_an_unknown_search_has_nothing_to_offer(warm_state: Path) -> None:
    assert complete(warm_state, "search://{search_id}/nodes/{step}", "step", "", {"search_id": "none"}).values == []
    assert complete(warm_state, "search://{search_id}/nodes/{step}", "step", "").values == []


def test_platforms_and_languages_of_prompts(warm_state: Path) -> None:
    found = complete(warm_state, "optimize_operator", "platform", "sm_9")
    assert found.values == ["cuda:sm_90"]
    assert "hip:gfx950" in complete(warm_state, "port_kernel", "platform", "HIP").values
    assert complete(warm_state, "port_kernel", "language", "c").values == ["cuda", "cpp"]
    assert complete(warm_state, "optimize_operator", "attempts", "").values == []


def test_documents_and_their_sections(warm_state: Path) -> None:
    template = "knowledge://{+path}"
    found = complete(warm_state, template, "path", "")
    assert len(found.values) == 100
    assert found.total > 100
    assert found.has_more
    path = found.values[0]
    sections = complete(warm_state, "knowledge://{+path}#{section}", "section", "", {"path": path}).values
    assert sections
    read = talk(warm_state, lambda client: client.read_resource(f"knowledge://{path}#{sections[0]}"))
    assert read.contents[0].text
    assert "hopper" in complete(warm_state, "knowledge://platforms/{platform}/{topic}", "platform", "hop").values
    assert complete(warm_state, "knowledge://platforms/{platform}/{topic}", "topic", "mem").values


def test_profiles(warm_state: Path) -> None:
    folder = warm_state / "profiles" / "0123-cpu-small"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{}")
    assert complete(warm_state, "profile://{profile}", "profile", "0123").values == ["0123-cpu-small"]
    assert complete(warm_state, "explain_profile", "profile", "0123").values == ["profile://0123-cpu-small"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_prompt_that_is_asked_for_wrongly(tmp_path: Path, mode: str) -> None:
    async def run() -> list[MCPError]:
        refused = []
        async with Client(create_server(tmp_path), mode=mode) as client:
            for name, arguments in (("port_kernel", {"source": "x"}), ("optimise_operator", {}), ("port_kernel", None)):
                with pytest.raises(MCPError) as error:
                    await client.get_prompt(name, arguments)
                refused.append(error.value)
        return refused

    some, unknown, all_missing = anyio.run(run)
    assert [error.error.code for error in (some, unknown, all_missing)] == [-32602] * 3
    assert "task (What it must compute" in some.error.message
    assert "platform (" in some.error.message
    assert "source" not in some.error.message
    assert "optimize_operator" in unknown.error.message
    assert "source (The kernel's source)" in all_missing.error.message


def test_lists_say_how_long_they_hold(tmp_path: Path) -> None:
    async def run() -> dict[str, tuple[int, str]]:
        async with Client(create_server(tmp_path)) as client:
            answers = {
                "tools": await client.list_tools(),
                "prompts": await client.list_prompts(),
                "templates": await client.list_resource_templates(),
            }
        return {key: (answer.ttl_ms, answer.cache_scope) for key, answer in answers.items()}

    held = anyio.run(run)
    # Another token may see other tools.
    assert held["tools"][1] == "private"
    assert {held[key][1] for key in ("prompts", "templates")} == {"public"}
    assert all(held_ms > 0 for held_ms, _scope in held.values())
