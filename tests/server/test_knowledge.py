"""The knowledge base through MCP and the command line, and in the prompts of a search."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.types import ResourceTemplateReference

from kernelevolve.server.exit_codes import ExitCode
from kernelevolve.server.mcp_server import create_server
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT
from tests.conftest import SCALE_CPP, SCALE_TASK

PATTERN = {
    "name": "let the compiler use vectors",
    "mechanism": "With -O3 and -march=native the loop is compiled to wide vector instructions.",
    "method": "Ask for the flags in the first line of the file.",
    "conditions": "A loop without dependences.",
    "operator": "elementwise",
    "platform": "cpu",
    "language": "cpp",
    "bottlenecks": ["not_vectorized"],
}


def talk(state: Path, conversation: Callable[[Client], Awaitable[Any]]) -> Any:
    """Have a conversation with a server in this process."""

    async def run() -> Any:
        async with Client(create_server(state)) as client:
            return await conversation(client)

    return anyio.run(run)


def ask(state: Path, **arguments: Any) -> Any:
    return talk(state, lambda client: client.call_tool("retrieve_hardware_docs", arguments))


def test_a_number_is_answered_with_its_source(warm_state: Path) -> None:
    result = ask(warm_state, query="shared memory per block on H100")

    (number,) = result.structured_content["numbers"]
    assert (number["text"], number["value"]) == ("227 KiB", 227 * 1024)
    assert number["sources"]
    assert result.content[0].text.startswith("NVIDIA H100 SXM5: shared memory per block, with the opt-in = 227 KiB")


def test_passages_come_with_links_that_can_be_read(warm_state: Path) -> None:
    async def conversation(client: Client) -> Any:
        found = await client.call_tool(
            "retrieve_hardware_docs", {"query": "avoid shared memory bank conflicts", "platforms": ["cuda:sm_90"]}
        )
        uri = found.structured_content["passages"][0]["uri"]
        section = await client.read_resource(uri)
        whole = await client.read_resource(uri.partition("#")[0])
        sheet = await client.read_resource("knowledge://chips/h100_sxm5")
        shelf = await client.read_resource("knowledge://platforms/hopper/async_copy")
        return found, [answer.contents[0].text for answer in (section, whole, sheet, shelf)]

    found, (section, whole, sheet, shelf) = talk(warm_state, conversation)
    assert len(found.content[0].text) <= TEXT_LIMIT
    assert found.structured_content["passages"][0]["text"] in section
    assert len(whole) > len(section)
    assert "227 KiB" in sheet
    assert "knowledge://hardware/nvidia/hopper/tma" in shelf


@pytest.mark.parametrize(
    ("argument", "value", "first"),
    [("platform", "hop", "hopper"), ("topic", "async", "async_copy"), ("topic", "norm", "normalization")],
)
def test_names_of_platforms_and_topics_are_completed(warm_state: Path, argument: str, value: str, first: str) -> None:
    reference = ResourceTemplateReference(type="ref/resource", uri="knowledge://platforms/{platform}/{topic}")

    answer = talk(warm_state, lambda client: client.complete(reference, {"name": argument, "value": value}))

    assert answer.completion.values[0] == first


def test_names_of_documents_are_completed(warm_state: Path) -> None:
    reference = ResourceTemplateReference(type="ref/resource", uri="knowledge://{+path}")

    answer = talk(warm_state, lambda client: client.complete(reference, {"name": "path", "value": "guidance/soft"}))

    assert "guidance/softmax" in answer.completion.values


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"query": ""}, "empty"),
        ({"query": "x" * (1 << 20)}, "1,048,576 characters"),
        ({"query": "x", "platforms": ["hoper"]}, "Did you mean 'hopper'"),
        ({"query": "x", "kinds": ["sampel"]}, "sample"),
    ],
)
def test_bad_questions_are_tool_errors_that_say_what_to_do(
    warm_state: Path, arguments: dict[str, Any], says: str
) -> None:
    result = ask(warm_state, **arguments)

    assert result.is_error
    assert says in result.content[0].text
    assert len(result.content[0].text) < TEXT_LIMIT


def test_a_document_that_is_not_there_is_a_protocol_error(warm_state: Path) -> None:
    async def conversation(client: Client) -> str:
        try:
            await client.read_resource("knowledge://guidance/softmux")
        except MCPError as error:
            return str(error)
        return "no error"

    assert "softm" in talk(warm_state, conversation)


def test_prompts_of_a_search_carry_what_the_knowledge_base_has_and_a_pattern_is_kept_with_its_proof(
    warm_state: Path,
) -> None:
    """An assistant reads its order, makes the kernel faster, and stores why; the next question finds it."""
    faster = "// kernelevolve: flags -O3 -march=native -fopenmp\n" + SCALE_CPP

    async def conversation(client: Client) -> dict[str, Any]:
        arguments = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "evaluations": 4, "minutes": 5}
        started = await client.call_tool("start_search", arguments)
        search_id = started.structured_content["summary"]["search_id"]
        (order,) = started.structured_content["orders"]
        prompt = (await client.read_resource(order["prompt_uri"])).contents[0].text
        submission = {"order_id": order["order"]["order_id"], "source": faster, "description": "vector flags"}
        await client.call_tool("run_search_step", {"search_id": search_id, "submissions": [submission], "orders": 0})
        nodes = [f"{search_id}.1"]
        unproved = await client.call_tool("store_pattern", {"pattern": PATTERN, "nodes": [f"{search_id}.99"]})
        stored = await client.call_tool("store_pattern", {"pattern": PATTERN, "nodes": nodes})
        again = await client.call_tool("store_pattern", {"pattern": PATTERN, "nodes": nodes})
        found = await client.call_tool(
            "retrieve_hardware_docs", {"query": "loop compiled to wide vector instructions", "kinds": ["pattern"]}
        )
        return {"prompt": prompt, "unproved": unproved, "stored": stored, "again": again, "found": found}

    told = talk(warm_state, conversation)
    assert "## Knowledge for this situation" in told["prompt"]
    assert "knowledge://" in told["prompt"]
    assert told["unproved"].is_error
    assert told["stored"].structured_content["new"]
    (evidence,) = told["stored"].structured_content["evidence"]
    # A draft has no parent, so it counts against the baseline.
    assert (evidence["against"], evidence["node_id"].rpartition(".")[2]) == ("baseline", "1")
    assert not told["again"].structured_content["new"]
    (passage, *_) = told["found"].structured_content["passages"]
    assert passage["origin"] == "learned"
    assert "⟦quoted from learned" in told["found"].content[0].text
    listed = command("pattern", "list", "--json", "--state", warm_state)
    assert [entry["text"]["name"] for entry in json.loads(listed.stdout)] == [PATTERN["name"]]


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """Run `kernelevolve` as a shell would."""
    line = [sys.executable, "-m", "kernelevolve.server", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=200, check=False)


def test_docs_answers_in_json_and_reads_a_document_by_its_id(warm_state: Path) -> None:
    number = command("docs", "l2 cache of H200", "--json", "--state", warm_state)
    document = command("docs", "knowledge://guidance/softmax", "--state", warm_state)

    assert json.loads(number.stdout)["numbers"][0]["text"] == "60 MiB"
    assert "Softmax" in document.stdout
    assert (number.returncode, document.returncode) == (ExitCode.OK, ExitCode.OK)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["docs", " "], "empty"),
        (["docs", "x", "--platform", "hoper"], "Did you mean 'hopper'"),
        (["docs", "x", "--version", "triton"], "name=version"),
        (["docs", "knowledge://guidance/softmux"], "Did you mean 'guidance/softmax'"),
        (["knowledge", "add", "/nowhere", "--platform", "x"], "does not exist"),
        (["knowledge", "remove", "guidance/softmax"], "comes with the package"),
        (["knowledge", "list", "--kind", "sampel"], "Did you mean 'sample'"),
        (["pattern", "show", "zzz"], "no pattern"),
        (["bench", "retrieval", "--split", "all of it"], "no split"),
    ],
)
def test_a_command_that_makes_no_sense_says_why(warm_state: Path, words: list[str], says: str) -> None:
    done = command(*words, "--state", warm_state)

    assert done.returncode == ExitCode.USAGE
    assert says in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr


def test_stats_and_list_count_the_same(warm_state: Path) -> None:
    counts = json.loads(command("knowledge", "stats", "--json", "--state", warm_state).stdout)
    listed = json.loads(command("knowledge", "list", "--json", "--state", warm_state).stdout)

    assert counts["documents"] == len(listed) > 100
    assert counts["embedder"].startswith("minilm-")


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, kernelevolve.server.mcp_server, kernelevolve.server.command_line\n"
        "print([name for name in ('torch', 'triton', 'lancedb', 'onnxruntime', 'pyarrow', 'pypdfium2')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
