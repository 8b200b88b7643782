"""Whole searches on a real operator with the real judge: an assistant over MCP, a model over HTTP, the command line."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.search.driver import optimize
from kernelevolve.search.node import StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import OrderState
from kernelevolve.search.store import Store
from kernelevolve.search.synthesizers.endpoint import Endpoint, EndpointSettings
from kernelevolve.server.mcp_server import create_server
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT
from tests.conftest import SCALE_CPP, SCALE_TASK
from tests.search.endpoint_stand_in import Ending, Refuses, Says, StandIn

QUICK = {"minutes": 5, "orders": 1}
IDEAS = [
    ("-O3", lambda source: "// kernelevolve: flags -O3 -march=native\n" + source),
    ("multiply by a wrong number", lambda source: source.replace("1.0f;", "1.25f;")),
    ("a comment", lambda source: source + "// another comment\n"),
    ("one bracket too many", lambda source: source.rstrip() + "\n}\n"),
    ("threads", lambda source: source.replace("  for (", "  #pragma omp parallel for\n  for (", 1)),
]


def talk(state: Path, conversation: Callable[[Client], Awaitable[Any]]) -> Any:
    """Have a conversation with a server in this process."""

    async def run() -> Any:
        async with Client(create_server(state)) as client:
            return await conversation(client)

    return anyio.run(run)


def source_in(prompt: str) -> str:
    """The candidate to build on, as an assistant would find it in a prompt."""
    found = re.search(r"## Candidate to build on.*?```cpp\n(.*?)\n```", prompt, re.DOTALL)
    assert found is not None, prompt
    return found[1]


def test_an_assistant_drives_a_search_from_the_first_order_to_the_winner(warm_state: Path) -> None:
    """The scripted client reads each order's prompt, writes its next idea and hands it in, until it is told to stop."""

    async def conversation(client: Client) -> list[Any]:
        arguments = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "evaluations": 6, "agent": "script"}
        steps = [await client.call_tool("start_search", {**arguments, **QUICK})]
        search_id = steps[0].structured_content["summary"]["search_id"]
        for what, change in IDEAS:
            (order,) = steps[-1].structured_content["orders"]
            prompt = (await client.read_resource(order["prompt_uri"])).contents[0].text
            submission = {
                "order_id": order["order"]["order_id"], "source": change(source_in(prompt)), "description": what
            }  # fmt: skip
            steps.append(
                await client.call_tool("run_search_step", {"search_id": search_id, "submissions": [submission]})
            )
        steps.append(await client.call_tool("get_search", {"search_id": search_id, "view": "tree"}))
        return steps

    *steps, tree = talk(warm_state, conversation)

    assert all(not step.is_error and len(step.content[0].text) <= TEXT_LIMIT for step in steps)
    statuses = [step.structured_content["answers"][0]["status"] for step in steps[1:]]
    assert statuses[:4] == ["correct", "wrong", "correct", "compile_error"]
    assert "wrong_values" in steps[2].content[0].text
    assert "error:" in steps[4].content[0].text
    summary = steps[-1].structured_content["summary"]
    assert (summary["reason"], summary["evaluations"]) == ("evaluations", 6)
    assert summary["confirmed"]
    assert summary["winner"]["author"] in ("script", "")
    assert steps[-1].structured_content["orders"] == []
    assert len(tree.structured_content["nodes"]) == 6


def test_what_an_assistant_can_get_wrong_is_answered_and_loses_nothing(warm_state: Path) -> None:
    async def conversation(client: Client) -> tuple[Any, list[Any], Any]:
        arguments = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "evaluations": 9, **QUICK}
        first = await client.call_tool("start_search", arguments)
        other = await client.call_tool("start_search", arguments)
        search_id = first.structured_content["summary"]["search_id"]
        order = first.structured_content["orders"][0]["order"]["order_id"]
        foreign = other.structured_content["orders"][0]["order"]["order_id"]
        bad = [
            {"order_id": "nothing.o7", "source": SCALE_CPP},
            {"order_id": foreign, "source": SCALE_CPP + "// x\n"},
            {"order_id": order, "source": "   \n"},
            {"order_id": order, "source": "x" * 3_000_000},
            {"order_id": order, "source": SCALE_CPP + "// y\n", "language": "cobol"},
        ]
        answer = await client.call_tool("run_search_step", {"search_id": search_id, "submissions": bad, "orders": 0})
        right = [{"order_id": order, "source": SCALE_CPP + "// right\n"}]
        again = await client.call_tool("run_search_step", {"search_id": search_id, "submissions": right, "orders": 0})
        held = {"search_id": other.structured_content["summary"]["search_id"], "orders": 0, "extend": [foreign]}
        longer = await client.call_tool("run_search_step", held)
        assert not longer.is_error, longer.content[0].text
        refused = [
            await client.call_tool("run_search_step", {"search_id": search_id, "extend": [foreign]}),
            await client.call_tool("run_search_step", {"search_id": "no-such-search"}),
            await client.call_tool("start_search", {**arguments, "policy": "wishful"}),
            await client.call_tool("start_search", {**arguments, "policy": "beam", "policy_parameters": {"width": 0}}),
            await client.call_tool("start_search", {**arguments, "evaluations": 0}),
            await client.call_tool("start_search", {**arguments, "synthesizer": "endpoint"}),
            await client.call_tool("get_search", {"search_id": search_id, "view": "node", "step": 77}),
        ]
        return answer, refused, again

    answer, refused, again = talk(warm_state, conversation)

    answers = answer.structured_content["answers"]
    assert [entry["accepted"] for entry in answers] == [False] * 5
    for entry, words in zip(
        answers, ("no order", "belongs to search", "empty", "not a candidate", "cobol"), strict=True
    ):
        assert words in entry["text"], entry
    assert again.structured_content["answers"][0]["accepted"], again.content[0].text
    texts = [result.content[0].text for result in refused]
    assert all(result.is_error for result in refused), texts
    for text, words in zip(
        texts,
        ("does not belong", "no search", "beam, best_of_n", "width", "greater than or equal to 1", "URL", "no node"),
        strict=True,
    ):
        assert words in text, text


def test_a_long_poll_answers_when_something_happens(warm_state: Path) -> None:
    async def conversation(client: Client) -> Any:
        arguments = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "evaluations": 3, **QUICK}
        started = await client.call_tool("start_search", arguments)
        search_id = started.structured_content["summary"]["search_id"]
        order = started.structured_content["orders"][0]["order"]["order_id"]
        found = {}

        async def wait() -> None:
            found["events"] = await client.call_tool(
                "get_search", {"search_id": search_id, "view": "events", "after": 10**9, "wait_seconds": 0.5}
            )
            found["change"] = await client.call_tool("get_search", {"search_id": search_id, "wait_seconds": 120})

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.sleep(1.0)
            submission = {"order_id": order, "source": SCALE_CPP + "// more\n"}
            arguments = {"search_id": search_id, "submissions": [submission], "orders": 0}
            await client.call_tool("run_search_step", arguments)
        return found

    found = talk(warm_state, conversation)
    assert found["events"].content[0].text == "nothing new"
    assert found["change"].structured_content["summary"]["evaluations"] == 2


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_a_model_at_an_endpoint_drives_a_search_through_its_bad_days(tmp_path: Path, wire: str) -> None:
    more = (
        (f"comment {number}", lambda source, number=number: f"{source}// {number}\n") for number in itertools.count()
    )
    ideas = itertools.chain(IDEAS, more)

    def answer(request: dict[str, Any]) -> str:
        prompt = next(str(turn["content"]) for turn in request["messages"] if turn["role"] == "user")
        what, change = next(ideas)
        return f"CHANGE: {what}\n```cpp\n{change(source_in(prompt))}\n```"

    troubles = [
        Refuses(429, "slow down"),
        Refuses(503),
        Says("CHANGE: x\n```cpp\nvoid kernel(", ending=Ending.CUT),
        Says("ok", ending=Ending.MALFORMED),
        Says("I would rather talk about it."),
        Says("```cpp\nvoid", finish="length"),
    ]
    with (
        StandIn(troubles, answer=answer) as server,
        Endpoint(
            EndpointSettings(
                url=server.url(wire),
                model="stand-in",
                format=wire,
                usd_per_million_input=1.0,
                usd_per_million_output=5.0,
            ),
            sleep=lambda seconds: False,
        ) as author,
        Store(tmp_path / "searches.sqlite") as store,
        Judge(tmp_path) as judge,
    ):
        task = tmp_path / "task.py"
        task.write_text(SCALE_TASK)
        point = Candidate(language="cpp", source=SCALE_CPP, name="kernel.cpp")
        options = OptimizeOptions(
            evaluations=6, drafts=1, timed_calls=10, confirm_timed_calls=20, confirm_baselines=("eager",)
        )
        summary = optimize(str(task), "cpu", [point], judge, store, options, synthesizer=author, brief="scale by two")

        assert summary.reason is StopReason.EVALUATIONS
        statuses = [node.status.value for node in store.nodes(summary.search_id)]
        assert statuses.count("correct") >= 3
        assert {"wrong", "compile_error"} <= set(statuses)
        assert summary.cost.output_tokens > 0
        assert summary.cost.usd == pytest.approx(
            (summary.cost.input_tokens + 5 * summary.cost.output_tokens) / 1e6, rel=1e-6
        )
        orders = store.orders(summary.search_id)
        assert {order.state for order in orders} <= {OrderState.DONE, OrderState.FAILED}
        served = [order for order in orders if order.state is OrderState.DONE and order.phase != "start"]
        assert all("Candidate to build on" in (store.prompt(order.order_id) or "") for order in served)


def test_the_command_line_lists_shows_resumes_stops_and_compares(tmp_path: Path) -> None:
    task, start = tmp_path / "task.py", tmp_path / "kernel.cpp"
    task.write_text(SCALE_TASK)
    start.write_text(SCALE_CPP)

    def command(*words: str, code: int = 0) -> Any:
        line = [sys.executable, "-m", "kernelevolve.server", *words, "--state", str(tmp_path / "state")]
        done = subprocess.run([*line, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    assert command("search", "list") == []
    optimize_it = ("optimize", str(task), "--start", str(start))
    first = command(*optimize_it, "--policy", "beam", "--evaluations", "3", "-o", "found")["search_id"]
    (listed,) = command("search", "list")
    assert (listed["search_id"], listed["policy"], listed["evaluations"]) == (first, "beam", 3)
    shown = command("search", "show", first, "--tree", "--report", str(tmp_path / "report.html"))
    assert len(shown["nodes"]) == 3
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert command("search", "resume", first, "--evaluations", "4", "-o", "more")["evaluations"] == 4
    assert command("search", "stop", first)["reason"] == "evaluations"
    assert [len(entry["best_so_far"]) for entry in command("search", "compare", first, first)] == [4, 4]
    assert "no search" in command("search", "show", "nothing", code=4)["summary"]
    assert "greedy" in command(*optimize_it, "--policy", "wishful", code=4)["advice"]
