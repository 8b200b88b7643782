"""What users paste: each is read as its editor reads it, and the command it names is started and spoken to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest
from lsprotocol import types
from mcp import Client, StdioServerParameters
from pytest_lsp import client_capabilities, make_test_lsp_client

from kernelevolve.server.clients import NAME, LocalServer, get_client, snippet
from kernelevolve.server.language_server.kernels import CPP_SUFFIXES
from kernelevolve.server.language_server.options import read_options
from tests.editors.conftest import ROOT

FOLDER = ROOT / "editor_extensions"
BIN = Path(sys.executable).parent


def helix() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "helix" / "languages.toml").read_text())


def helix_command() -> list[str]:
    server = helix()["language-server"]["kernelevolve"]
    return [server["command"], *server["args"]]


def jetbrains() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "jetbrains" / NAME / "template.json").read_text())
    return found


def jetbrains_command() -> list[str]:
    words: str = jetbrains()["programArgs"]["default"]
    return words.split()


def claude_code_command() -> list[str]:
    plugin = json.loads((FOLDER / "claude_code" / ".claude-plugin" / "plugin.json").read_text())
    server = plugin["lspServers"][NAME]
    return [server["command"], *server["args"]]


def neovim_command() -> list[str]:
    written = re.search(r"cmd = \{(.*?)\}", (FOLDER / "neovim" / "lsp" / "kernelevolve.lua").read_text())
    assert written is not None
    return re.findall(r"'([^']*)'", written[1])


def emacs_command() -> list[str]:
    written = re.search(r"kernelevolve-program '\((.*?)\)", (FOLDER / "emacs" / "kernelevolve.el").read_text())
    assert written is not None
    return re.findall(r'"([^"]*)"', written[1])


@pytest.mark.parametrize(
    "command", [helix_command, jetbrains_command, claude_code_command, neovim_command, emacs_command]
)
def test_the_language_server_that_it_names_starts(command: Any, tmp_path: Path) -> None:
    program, *arguments = command()
    path = BIN / program
    assert path.is_file(), f"the installation brings no command {program!r}"

    async def talk() -> types.InitializeResult:
        client = make_test_lsp_client()
        await client.start_io(str(path), *arguments, env={**os.environ, "KERNELEVOLVE_STATE": str(tmp_path)})
        asked = types.InitializeParams(capabilities=client_capabilities("visual-studio-code"), root_uri=ROOT.as_uri())
        answer = await client.initialize_session(asked)
        await client.shutdown_session()
        await client.stop()
        return answer

    answer = asyncio.run(asyncio.wait_for(talk(), 60))
    assert answer.server_info is not None
    assert answer.server_info.name == NAME
    assert answer.capabilities.hover_provider


@pytest.mark.parametrize(("client", "file"), [("zed", "zed/settings.json"), ("cursor", "cursor/mcp.json")])
def test_an_mcp_snippet_is_what_the_table_of_clients_gives_and_starts(client: str, file: str, tmp_path: Path) -> None:
    text = (FOLDER / file).read_text()
    assert text == snippet(get_client(client), LocalServer(NAME)) + "\n"
    ((name, server),) = json.loads(text)[get_client(client).servers_key].items()
    assert name == NAME
    started = StdioServerParameters(
        command=str(BIN / server["command"]),
        args=server["args"],
        env={**os.environ, "KERNELEVOLVE_STATE": str(tmp_path)},
    )

    async def list_tools() -> list[str]:
        async with Client(started) as session:
            return [tool.name for tool in (await session.list_tools()).tools]

    assert "compile_and_verify" in anyio.run(list_tools)


def test_helix_names_languages_and_settings_that_the_server_knows() -> None:
    languages = {entry["name"]: entry["language-servers"] for entry in helix()["language"]}
    assert set(languages) == {"python", "cpp"}
    for servers in languages.values():
        assert set(servers) & set(helix()["language-server"]) == {NAME}
    options = read_options(helix()["language-server"][NAME]["config"])
    assert options.complaints == ()
    assert options.targets == ("cuda:sm_90", "hip:gfx950")


def test_claude_code_sends_the_files_that_the_server_knows() -> None:
    plugin = json.loads((FOLDER / "claude_code" / ".claude-plugin" / "plugin.json").read_text())
    assert set(plugin["lspServers"][NAME]["extensionToLanguage"]) == {".py", *CPP_SUFFIXES}


def test_the_template_for_jetbrains_names_files_and_settings_that_the_server_knows() -> None:
    """The fields are those that LSP4IJ's own templates have."""
    template = jetbrains()
    assert set(template) == {"id", "name", "programArgs", "fileTypeMappings"}
    patterns = [name for mapping in template["fileTypeMappings"] for name in mapping["fileType"]["patterns"]]
    assert sorted(patterns) == sorted(f"*{suffix}" for suffix in (".py", *CPP_SUFFIXES))
    options = read_options(json.loads((FOLDER / "jetbrains" / NAME / "initializationOptions.json").read_text()))
    assert options.complaints == ()
    assert options.targets
