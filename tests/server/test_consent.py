"""Who agrees to running without walls, in both eras of the protocol; servers that run nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import ElicitResult

from kernelevolve.evaluation.judge import survey
from kernelevolve.evaluation.judge.client import warm_host
from kernelevolve.evaluation.judge.protection import UNSANDBOXED, Protection
from kernelevolve.server.exit_codes import ExitCode
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.tokens import Scope, TokenStore
from kernelevolve.tools.execution import Execution
from tests.conftest import SCALE_CPP, SCALE_TASK

Era = Literal["auto", "legacy"]
VERIFY = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "timed_calls": 0}
START = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "baseline": "eager", "evaluations": 1}
PROFILE = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "parts": ["static"]}
RUNNING = {
    "compile_and_verify": VERIFY,
    "start_search": START,
    "profile_kernel": PROFILE,
    "run_search_step": {"search_id": "none"},
}
"""Every tool that may run code of tasks or candidates, with arguments."""


class User:
    """Answers questions, and remembers them."""

    def __init__(self, action: Literal["accept", "decline", "cancel"], allow: bool = True) -> None:
        self.asked: list[str] = []
        self._answer = ElicitResult(action=action, content={"allow": allow} if action == "accept" else None)

    async def __call__(self, _context: Any, question: Any) -> ElicitResult:
        self.asked.append(question.message)
        return self._answer


def talk(
    state: Path, execution: Execution, conversation: Callable[[Client], Awaitable[Any]], era: Era, user: User | None
) -> Any:
    async def run() -> Any:
        async with Client(create_server(state, execution=execution), mode=era, elicitation_callback=user) as client:
            return await conversation(client)

    return anyio.run(run)


def text_of(result: Any) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


def receipts(state: Path) -> list[dict[str, Any]]:
    path = state / "receipts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


both_eras = pytest.mark.parametrize("era", ["auto", "legacy"])


@both_eras
def test_the_user_is_asked_once_and_a_yes_is_remembered(warm_state: Path, era: Era) -> None:
    user = User("accept")
    execution = Execution(Protection.NONE)

    async def twice(client: Client) -> list[Any]:
        return [await client.call_tool("compile_and_verify", VERIFY) for _ in range(2)]

    first, second = talk(warm_state, execution, twice, era, user)
    assert not first.is_error, text_of(first)
    assert not second.is_error
    (question,) = user.asked
    assert "without a sandbox" in question
    assert str(Path.cwd()) in question
    assert receipts(warm_state)[-1]["protection"] == [UNSANDBOXED]
    assert "not confined" in text_of(first)


@both_eras
def test_another_server_and_another_workspace_ask_again(warm_state: Path, era: Era, tmp_path: Path) -> None:
    execution = Execution(Protection.NONE)
    user = User("accept")
    talk(warm_state, execution, lambda client: client.call_tool("compile_and_verify", VERIFY), era, user)
    assert execution.open_to_candidates(Path.cwd()) == ()
    assert execution.open_to_candidates(tmp_path) != ()
    assert Execution(Protection.NONE).open_to_candidates(Path.cwd()) != ()


@both_eras
@pytest.mark.parametrize("user", [User("decline"), User("cancel"), User("accept", allow=False)], ids=lambda _user: "")
def test_without_a_yes_nothing_runs(warm_state: Path, era: Era, user: User) -> None:
    before = len(receipts(warm_state))
    execution = Execution(Protection.NONE)
    result = talk(warm_state, execution, lambda client: client.call_tool("compile_and_verify", VERIFY), era, user)
    assert result.is_error
    assert "did not agree" in text_of(result)
    assert "--yes-unsandboxed" in text_of(result)
    assert len(receipts(warm_state)) == before
    assert execution.open_to_candidates(Path.cwd()) != ()


@both_eras
@pytest.mark.parametrize("tool", RUNNING)
def test_a_client_that_cannot_ask_is_told_how_to_allow_it(warm_state: Path, era: Era, tool: str) -> None:
    before = len(receipts(warm_state))
    result = talk(
        warm_state, Execution(Protection.NONE), lambda client: client.call_tool(tool, RUNNING[tool]), era, None
    )
    assert result.is_error
    assert "--yes-unsandboxed" in text_of(result)
    assert "every file of this user" in text_of(result)
    assert len(receipts(warm_state)) == before


@both_eras
def test_who_said_yes_beforehand_is_not_asked(warm_state: Path, era: Era) -> None:
    user = User("decline")
    execution = Execution(Protection.NONE, unsandboxed=True)
    result = talk(warm_state, execution, lambda client: client.call_tool("compile_and_verify", VERIFY), era, user)
    assert not result.is_error, text_of(result)
    assert user.asked == []


@both_eras
def test_behind_walls_nobody_is_asked(warm_state: Path, era: Era) -> None:
    if survey.open_walls(Protection.AUTO):
        pytest.skip("this machine cannot wall off files and network")
    user = User("decline")
    result = talk(
        warm_state, Execution(Protection.AUTO), lambda client: client.call_tool("compile_and_verify", VERIFY), era, user
    )
    assert not result.is_error, text_of(result)
    assert user.asked == []


def test_fewer_walls_than_were_asked_for_are_asked_about(warm_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = survey.Survey(
        walls=("own process group", "landlock abi 3"), enclosing=False, why_not_enclosing="unshare: not permitted",
        bubblewrap="", why_not_bubblewrap="bwrap is not installed",
    )  # fmt: skip
    monkeypatch.setattr(survey, "survey", lambda: bare)
    user = User("decline")
    execution = Execution(Protection.AUTO)
    result = talk(warm_state, execution, lambda client: client.call_tool("compile_and_verify", VERIFY), "auto", user)
    assert result.is_error
    (question,) = user.asked
    assert "the network" in question
    assert "every file" not in question


def test_the_question_is_no_argument_of_the_tools(warm_state: Path) -> None:
    listed = talk(warm_state, Execution(), lambda client: client.list_tools(), "auto", None)
    for tool in listed.tools:
        assert "consent" not in json.dumps(tool.input_schema)


@both_eras
@pytest.mark.parametrize("tool", RUNNING)
def test_no_exec_runs_nothing(tmp_path: Path, era: Era, tool: str) -> None:
    execution = Execution(Protection.NONE, off=True)
    result = talk(tmp_path, execution, lambda client: client.call_tool(tool, RUNNING[tool]), era, User("accept"))
    assert result.is_error
    if tool != "run_search_step":  # That one says first that there is no such search.
        assert "--no-exec" in text_of(result)
    assert receipts(tmp_path) == []
    assert warm_host(tmp_path) is None


def test_no_exec_answers_from_what_is_stored(warm_state: Path) -> None:
    async def make(client: Client) -> str:
        started = await client.call_tool("start_search", START)
        assert not started.is_error, text_of(started)
        search: str = started.structured_content["summary"]["search_id"]
        await client.call_tool("profile_kernel", PROFILE)
        return search

    search = talk(warm_state, Execution(), make, "auto", None)
    before = len(receipts(warm_state))

    async def look(client: Client) -> dict[str, Any]:
        answers = {
            "best": await client.call_tool("get_search", {"search_id": search, "view": "best"}),
            "order": await client.call_tool("get_search", {"search_id": search, "view": "order", "order": 0}),
            "platforms": await client.call_tool("list_platforms"),
            "documents": await client.call_tool(
                "retrieve_hardware_docs", {"query": "shared memory per block on H100", "limit": 1}
            ),
        }
        step = await client.call_tool("run_search_step", {"search_id": search})
        return {**answers, "step": step}

    answers = talk(warm_state, Execution(off=True), look, "auto", None)
    step = answers.pop("step")
    assert step.is_error
    assert "--no-exec" in text_of(step)
    for name, answer in answers.items():
        assert not answer.is_error, (name, text_of(answer))
    assert len(receipts(warm_state)) == before


# -- the command line ---------------------------------------------------------------------------------------------


def command(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kernelevolve.server", *map(str, words)]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=200, check=False, env={**os.environ, **environment}
    )


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    path = tmp_path / "candidate.cpp"
    path.write_text(SCALE_CPP)
    return path


def test_none_is_loud_on_stderr_and_in_the_receipt(warm_state: Path, scale_task: Path, candidate: Path) -> None:
    done = command(
        "verify", scale_task, candidate, "--state", warm_state, "--timed-calls", 0, "--json", "--sandbox", "none"
    )
    assert done.returncode == ExitCode.OK, done.stderr
    assert "WARNING" in done.stderr
    assert "your rights" in done.stderr
    assert json.loads(done.stdout)["receipt"]["protection"] == [UNSANDBOXED]


def test_the_environment_is_heard_and_the_flag_wins(warm_state: Path, scale_task: Path, candidate: Path) -> None:
    words = ("verify", scale_task, candidate, "--state", warm_state, "--timed-calls", 0, "--json")
    done = command(*words, KERNELEVOLVE_SANDBOX="none")
    assert json.loads(done.stdout)["receipt"]["protection"] == [UNSANDBOXED]
    done = command(*words, "--sandbox", "auto", KERNELEVOLVE_SANDBOX="none")
    assert UNSANDBOXED not in json.loads(done.stdout)["receipt"]["protection"]
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("words", [("verify", "t", "c"), ("optimize", "t"), ("profile", "t", "c"), ("serve",),
                                   ("search", "resume", "s")])  # fmt: skip
def test_an_unknown_level_is_refused_by_every_command(words: tuple[str, ...], tmp_path: Path) -> None:
    done = command(*words, "--sandbox", "chroot", "--state", tmp_path)
    assert done.returncode == (ExitCode.USAGE if words == ("serve",) else ExitCode.HARNESS)
    assert "'chroot'" in done.stderr
    assert "landlock" in done.stderr


def test_over_http_nobody_is_asked_so_the_operator_must_have_said_yes(tmp_path: Path) -> None:
    TokenStore(tmp_path).create("somebody", Scope.EVALUATE)
    done = command("serve", "--http", "127.0.0.1:1", "--sandbox", "none", "--state", tmp_path)
    assert done.returncode == ExitCode.HARNESS
    assert "--yes-unsandboxed" in done.stderr.replace("\n", " ")


def test_no_exec_over_stdio(tmp_path: Path) -> None:
    words = ["-m", "kernelevolve.server", "serve", "--no-exec", "--state", str(tmp_path)]

    async def run() -> Any:
        async with Client(StdioServerParameters(command=sys.executable, args=words)) as client:
            return await client.call_tool("compile_and_verify", VERIFY)

    result = anyio.run(run)
    assert result.is_error
    assert "--no-exec" in text_of(result)
