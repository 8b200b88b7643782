"""Profiles as users see them: command line, MCP, the prompt of an order, the report of a search."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mcp import MCPError

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.knowledge.vocabulary import BOTTLENECKS
from kernelevolve.profilers.report import BottleneckKind, ProfileReport
from kernelevolve.profilers.text import TEXT_LIMIT
from kernelevolve.search.memory import Explanation
from kernelevolve.tools.advice import Advisor
from kernelevolve.tools.profile_kernel import IN_KNOWLEDGE, profile_id, stored_profile
from tests.conftest import SCALE_CPP, SCALE_TASK, SCALE_TRITON
from tests.server.test_mcp import talk, text_of

STRIDED = SCALE_TRITON.replace("y = torch.empty_like(x)", "y = torch.empty_like(x)").replace(
    "index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
    "lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n    index = lane % 96 * 8 + lane // 96",
)


def kernelevolve(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kernelevolve.server", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=200, check=False)


def profile_tool(state: Path, **given: Any) -> Any:
    arguments = {"task": SCALE_TASK, "source": SCALE_TRITON, "platform": "cuda:sm_90", "parts": ["static"], **given}
    return talk(state, lambda client: client.call_tool("profile_kernel", arguments))


def test_the_tool_answers_in_short_and_keeps_the_whole(warm_state: Path) -> None:
    async def conversation(client: Any) -> Any:
        arguments = {"task": SCALE_TASK, "source": STRIDED, "platform": "cuda:sm_90", "parts": ["static"]}
        answer = await client.call_tool("profile_kernel", arguments)
        whole = await client.read_resource(answer.structured_content["profile"])
        return answer, whole

    answer, whole = talk(warm_state, conversation)
    assert not answer.is_error, text_of(answer)
    text = text_of(answer)
    assert len(text) <= TEXT_LIMIT
    assert "uncoalesced_access" in text
    found = {entry["kind"]: entry for entry in answer.structured_content["bottlenecks"]}
    assert found["uncoalesced_access"]["knowledge"], "no document is linked"
    report = ProfileReport.model_validate_json(whole.contents[0].text)
    assert report.static[0].accesses
    assert answer.structured_content["profile"] == f"profile://{profile_id(report)}"


def test_a_profile_that_is_not_there_is_a_protocol_error(warm_state: Path) -> None:
    async def conversation(client: Any) -> str:
        try:
            await client.read_resource("profile://nothing")
        except MCPError as error:
            return str(error)
        return "no error"

    assert "nothing" in talk(warm_state, conversation)
    with pytest.raises(TaskError, match="no profile"):
        stored_profile(warm_state, "../receipts")


def test_a_node_of_a_search_is_profiled_by_its_name(warm_state: Path) -> None:
    async def conversation(client: Any) -> Any:
        arguments = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "platform": "cpu"}
        started = await client.call_tool("start_search", arguments)
        search_id = started.structured_content["summary"]["search_id"]
        profiled = await client.call_tool("profile_kernel", {"node": f"{search_id}.0", "parts": ["static"]})
        unknown = await client.call_tool("profile_kernel", {"node": f"{search_id}.77", "parts": ["static"]})
        nothing = await client.call_tool("profile_kernel", {"parts": ["static"]})
        return profiled, unknown, nothing

    profiled, unknown, nothing = talk(warm_state, conversation)
    assert not profiled.is_error, text_of(profiled)
    assert "for cpu" in text_of(profiled)
    assert unknown.is_error
    assert "77" in text_of(unknown)
    assert nothing.is_error
    assert "node of a search" in text_of(nothing)


def test_bad_arguments_are_explained(warm_state: Path) -> None:
    assert "counters" in text_of(profile_tool(warm_state, parts=["nsight"]))
    assert "Only correct candidates" in text_of(
        profile_tool(
            warm_state, source=SCALE_CPP.replace("1.0f", "1.5f"), language="cpp", platform="cpu", parts=["perf"]
        )
    )


def test_the_command_prints_json_and_text(scale_task: Path, tmp_path: Path) -> None:
    candidate = tmp_path / "scale.py"
    candidate.write_text(SCALE_TRITON)
    command = ["profile", str(scale_task), str(candidate), "-p", "cuda:sm_90", "--part", "static"]
    command += ["--state", str(tmp_path / "state")]
    run = kernelevolve(*command, "--json")
    assert run.returncode == 0, run.stderr
    report = ProfileReport.model_validate(json.loads(run.stdout))
    assert report.static[0].kernel == "scale"
    shown = kernelevolve(*command)
    assert shown.returncode == 0
    assert "scale" in shown.stdout
    assert "report.json" in shown.stdout.replace("\n", "")


def test_the_command_refuses_what_does_not_compile(scale_task: Path, tmp_path: Path) -> None:
    candidate = tmp_path / "scale.py"
    candidate.write_text(SCALE_TRITON.replace("tl.load(", "tl.lod("))
    command = ["profile", str(scale_task), str(candidate), "-p", "cuda:sm_90", "--part", "static"]
    run = kernelevolve(*command, "--state", str(tmp_path / "state"), "--json")
    assert run.returncode != 0
    assert json.loads(run.stdout)["status"] == "compile_error"


def test_an_author_is_told_why_its_parent_is_slow(judge: Judge, scale_task: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def lend() -> Any:
        asked.append("judge")
        return nullcontext(judge)

    advisor = Advisor(lambda: SimpleNamespace(), lend, tmp_path)  # type: ignore[arg-type, return-value]
    candidate = Candidate(language="triton", source=STRIDED)
    found = advisor.explain(str(scale_task), "cuda:sm_90", candidate)
    assert "uncoalesced_access" in found.text
    assert "uncoalesced" in found.bottlenecks
    assert advisor.explain(str(scale_task), "cuda:sm_90", candidate) == found
    assert asked == ["judge"], "the same candidate was profiled twice"
    broken = Candidate(language="cpp", source="void kernel(TensorView x) { nonsense }")
    assert "could not be profiled" in advisor.explain(str(scale_task), "cpu", broken).text
    assert Advisor(lambda: SimpleNamespace()).explain("task", "cpu", candidate) == Explanation("")  # type: ignore[arg-type, return-value]


def test_every_bottleneck_has_its_word_in_the_knowledge_base() -> None:
    assert set(IN_KNOWLEDGE) == set(BottleneckKind)
    assert set(IN_KNOWLEDGE.values()) <= set(BOTTLENECKS)
