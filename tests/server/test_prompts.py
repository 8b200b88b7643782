"""Prompts as a client lists and fills them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kernelevolve.server.access import TOOL_SCOPES
from tests.server.test_mcp import talk

ARGUMENTS: dict[str, dict[str, str]] = {
    "optimize_operator": {"task": "aten::softmax", "platform": "cuda:sm_90"},
    "port_kernel": {"task": "t.py", "source": "x = '```'\n{not a field}", "platform": "hip:gfx950"},
    "explain_profile": {"profile": "profile://abc"},
    "write_hardware_docs": {"platform": "my_chip"},
}


def filled(state: Path, name: str, arguments: dict[str, str]) -> str:
    answer = talk(state, lambda client: client.get_prompt(name, arguments))
    (message,) = answer.messages
    return str(message.content.text)


def test_they_are_listed_with_their_arguments(warm_state: Path) -> None:
    listed = talk(warm_state, lambda client: client.list_prompts())
    prompts = {prompt.name: prompt for prompt in listed.prompts}
    assert set(prompts) == set(ARGUMENTS)
    assert all(prompt.title and prompt.description for prompt in prompts.values())
    assert all(argument.description for prompt in prompts.values() for argument in prompt.arguments)
    assert {argument.name for argument in prompts["optimize_operator"].arguments if argument.required} == {"task"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_tool_that_they_name_is_there(warm_state: Path, name: str) -> None:
    text = filled(warm_state, name, ARGUMENTS[name])
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text)) - {"my_chip"}
    assert named <= set(TOOL_SCOPES), named - set(TOOL_SCOPES)
    for value in ARGUMENTS[name].values():
        assert value.splitlines()[0] in text
    assert len(text) < 3_000


def test_a_source_cannot_close_its_fence(warm_state: Path) -> None:
    text = filled(warm_state, "port_kernel", ARGUMENTS["port_kernel"])
    assert "````\nx = '```'" in text
    assert text.rstrip().endswith("````")
