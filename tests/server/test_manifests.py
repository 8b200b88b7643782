"""Generated files: what is committed is what the generator gives, and all of it says the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.evaluation.version import VERSION
from kernelevolve.server import manifests
from kernelevolve.server.clients import CLIENTS, NAME, LocalServer

ROOT = Path(__file__).resolve().parents[2]
SKILL = ROOT / manifests.PLUGIN / "skills" / "optimize-kernel" / "SKILL.md"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return manifests.manifests(ROOT)


def parsed(made: dict[str, str], path: str) -> Any:
    return json.loads(made[path])


def test_what_is_committed_is_what_the_generator_gives(made: dict[str, str]) -> None:
    stale = [path for path, text in made.items() if not (ROOT / path).is_file() or (ROOT / path).read_text() != text]
    assert not stale, "run `make manifests`"


def test_versions_names_and_commands_agree(made: dict[str, str]) -> None:
    documents = {path: json.loads(text) for path, text in made.items() if path.endswith(".json")}
    for path, document in documents.items():
        if path == ".claude-plugin/marketplace.json":
            (document,) = document["plugins"]
        assert document["version"] == VERSION, path
        assert document["name"].rpartition("/")[2] == NAME, path
    started = {"command": NAME, "args": ["serve"]}
    for path in (
        f"{manifests.PLUGIN}/.claude-plugin/plugin.json",
        ".cursor-plugin/plugin.json",
        "gemini-extension.json",
    ):
        assert documents[path]["mcpServers"] == {NAME: started}
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert NAME in scripts, "the command that all of them start"
    assert {"serve", "install"} <= manifests.commands()


def test_the_extension_s_version_follows_and_the_rest_of_its_files_stays(tmp_path: Path) -> None:
    shutil.copytree(ROOT / manifests.VSCODE, tmp_path / manifests.VSCODE, ignore=shutil.ignore_patterns("node_modules"))
    package = tmp_path / manifests.VSCODE / "package.json"
    before = json.loads(package.read_text())
    package.write_text(json.dumps({**before, "version": "0.0.0"}))
    made = manifests.node_packages(tmp_path)
    assert json.loads(made[f"{manifests.VSCODE}/package.json"]) == {**before, "version": VERSION}
    lock = json.loads(made[f"{manifests.VSCODE}/package-lock.json"])
    assert lock["version"] == lock["packages"][""]["version"] == VERSION
    assert manifests.node_packages(tmp_path / "without") == {}


def test_the_registry_entry_keeps_the_registry_s_rules(made: dict[str, str]) -> None:
    """The fields of the schema of 2025-12-11 and what the registry asks on top, for a PyPI package."""
    server = parsed(made, "server.json")
    assert set(server) <= {"$schema", "name", "title", "description", "version", "packages", "repository", "websiteUrl"}
    assert server["$schema"] == "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", server["name"])
    assert 3 <= len(server["name"]) <= 200
    assert 1 <= len(server["description"]) <= 100
    assert 1 <= len(server["title"]) <= 100
    assert re.fullmatch(r"\d+\.\d+\.\d+([-+.][0-9A-Za-z.-]+)?", server["version"])
    (package,) = server["packages"]
    assert set(package) <= {
        "registryType", "registryBaseUrl", "identifier", "version", "runtimeHint", "transport", "packageArguments",
        "environmentVariables", "runtimeArguments", "fileSha256",
    }  # fmt: skip
    assert (package["registryType"], package["registryBaseUrl"]) == ("pypi", "https://pypi.org")
    assert package["identifier"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    assert package["version"] == server["version"] == VERSION
    assert package["transport"] == {"type": "stdio"}
    assert package["runtimeHint"] == "uvx"
    assert [argument["value"] for argument in package["packageArguments"]] == ["serve"]
    assert {argument["type"] for argument in package["packageArguments"]} == {"positional"}
    for variable in package["environmentVariables"]:
        assert set(variable) <= {"name", "description", "format", "isRequired", "isSecret", "default", "value"}
        assert variable["format"] in ("string", "number", "boolean", "filepath")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """skillsaw: the registry's published schema, plug-ins and marketplaces of Claude Code and Cursor, skills."""
    command = [Path(sys.executable).parent / "skillsaw", "lint", "--strict", "--no-plugins", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_linter_that_knows_the_published_schemas_accepts_all(made: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(ROOT / manifests.PLUGIN, tmp_path / manifests.PLUGIN)
    for path, text in made.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    accepted = lint(tmp_path)
    assert accepted.returncode == 0, accepted.stdout
    assert "agentskills, cursor-plugin, marketplace, mcp-registry" in accepted.stdout, "it found everything"
    (tmp_path / "server.json").write_text(made["server.json"].replace('"stdio"', '"studio"'))
    refused = lint(tmp_path)
    assert refused.returncode != 0
    assert "packages[0].transport.type" in refused.stdout


def test_the_bundle_starts_what_it_holds_and_names_the_server_s_tools(made: dict[str, str]) -> None:
    bundle = parsed(made, "manifest.json")
    assert bundle["manifest_version"] == "0.4"
    assert bundle["server"]["type"] == "uv"
    assert (ROOT / bundle["server"]["entry_point"]).is_file()
    assert bundle["server"]["mcp_config"]["args"][-2:] == [NAME, "serve"]
    assert bundle["compatibility"]["runtimes"]["python"].startswith(">=3.")
    assert {"compile_and_verify", "start_search"} <= {tool["name"] for tool in bundle["tools"]}
    assert all(tool["description"] for tool in bundle["tools"])


def test_the_marketplace_lists_the_plugin_where_it_lies(made: dict[str, str]) -> None:
    (plugin,) = parsed(made, ".claude-plugin/marketplace.json")["plugins"]
    folder = ROOT / plugin["source"]
    assert json.loads((folder / ".claude-plugin" / "plugin.json").read_text())["name"] == plugin["name"]
    assert (ROOT / parsed(made, ".cursor-plugin/plugin.json")["skills"] / "optimize-kernel" / "SKILL.md").is_file()


@pytest.mark.parametrize("has_it", [False, True])
def test_the_plugin_has_a_language_server_exactly_if_the_command_exists(
    has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = frozenset({"serve", "lsp"} if has_it else {"serve"})
    monkeypatch.setattr(manifests, "commands", lambda: known)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plugin = manifests.claude_plugin(project)
    assert ("lspServers" in plugin) == has_it
    if has_it:
        assert plugin["lspServers"][NAME]["args"] == ["lsp", "--stdio"]


def test_the_guide_has_a_section_and_a_form_for_every_client(made: dict[str, str]) -> None:
    guide = made["docs/clients.md"]
    for client in CLIENTS:
        section = guide.split(f"\n## {client.title}\n", 1)[1].split("\n## ", 1)[0]
        assert client.documentation in section
        assert LocalServer(NAME).command in section
        assert f"| `{client.key}` |" in guide
        assert client.checked in guide


def test_the_skill_speaks_of_tools_that_exist(made: dict[str, str]) -> None:
    text = SKILL.read_text()
    front = text.split("---\n")[1]
    assert re.search(r"^name: optimize-kernel$", front, re.MULTILINE)
    assert len(re.search(r"^description: (.+)$", front, re.MULTILINE)[1]) <= 1024  # type: ignore[index]
    tools = {tool["name"] for tool in parsed(made, "manifest.json")["tools"]}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text)) - {"get_inputs", "search_id"}
    assert named <= tools
    assert len(tools & named) >= 7


def test_a_second_run_writes_nothing_and_a_stale_file_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(manifests, "__file__", str(tmp_path / "server" / "manifests.py"))
    assert manifests.main() == 0
    assert "wrote server.json" in capsys.readouterr().out
    (tmp_path / "server.json").write_text("{}")
    assert manifests.main() == 0
    assert capsys.readouterr().out == "wrote server.json\n"
    (tmp_path / "pyproject.toml").unlink()
    assert manifests.main() == 2
    assert "checkout" in capsys.readouterr().err
