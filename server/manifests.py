"""The files that registries, bundles and plug-ins read, made from the version, the table of clients and the server.

`python -m kernelevolve.server.manifests` writes them into the checkout it runs from; a test holds them against this.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from kernelevolve.evaluation.version import VERSION
from kernelevolve.server.client_guide import guide
from kernelevolve.server.clients import NAME, LocalServer

REGISTRY_NAME = f"io.github.kernelevolve/{NAME}"
"""Name in the MCP registry: the GitHub account that publishes, and the server. The README repeats it as `mcp-name`."""
TITLE = "KernelEvolve"
LOCAL = LocalServer(NAME)
"""The server as plug-ins start it: `kernelevolve` has to be on the PATH."""
PLUGIN = "editor_extensions/claude_code"
VSCODE = "editor_extensions/vscode"
SKILLS = f"./{PLUGIN}/skills/"
LANGUAGE_IDS = {".py": "python", ".cu": "cuda-cpp", **dict.fromkeys((".cpp", ".cc", ".cxx", ".hip"), "cpp")}
"""What the language server serves: suffixes, and the protocol's names of their languages."""
_KEYWORDS = ["cuda", "gpu", "kernels", "mcp", "optimization", "triton"]


def manifests(root: Path) -> dict[str, str]:
    """All generated files: path below the root, and content.

    Args:
        root: the checkout; its `pyproject.toml` gives name, description, licence and Python.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    build: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "server.json": registry_entry,
        "manifest.json": bundle,
        ".claude-plugin/marketplace.json": marketplace,
        f"{PLUGIN}/.claude-plugin/plugin.json": claude_plugin,
        ".cursor-plugin/plugin.json": cursor_plugin,
        "gemini-extension.json": gemini_extension,
    }
    made = {path: json.dumps(make(project), indent=2, ensure_ascii=False) + "\n" for path, make in build.items()}
    return {**made, **node_packages(root), "docs/clients.md": guide()}


def node_packages(root: Path) -> dict[str, str]:
    """The extension for VS Code: its two files are written by hand and by npm, but for the version.

    Args:
        root: the checkout; one without the extension (a package of sources, say) has none of them.
    """
    found = {}
    for name in ("package.json", "package-lock.json"):
        path = root / VSCODE / name
        if not path.is_file():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        document["version"] = VERSION
        if "packages" in document:
            document["packages"][""]["version"] = VERSION
        found[f"{VSCODE}/{name}"] = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return found


def registry_entry(project: dict[str, Any]) -> dict[str, Any]:
    """`server.json` of the MCP registry, schema of 2025-12-11."""
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": REGISTRY_NAME,
        "title": TITLE,
        "description": project["description"],
        "version": VERSION,
        "packages": [
            {
                "registryType": "pypi",
                "registryBaseUrl": "https://pypi.org",
                "identifier": project["name"],
                "version": VERSION,
                "runtimeHint": "uvx",
                "transport": {"type": "stdio"},
                "packageArguments": [{"type": "positional", "value": word} for word in LOCAL.args],
                "environmentVariables": [
                    {
                        "name": "KERNELEVOLVE_STATE",
                        "description": "Folder for searches, receipts and caches; ~/.local/state/kernelevolve if unset",
                        "format": "filepath",
                        "isRequired": False,
                    }
                ],
            }
        ],
    }


def bundle(project: dict[str, Any]) -> dict[str, Any]:
    """`manifest.json` of an MCP bundle, version 0.4, whose host runs it with uv."""
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": TITLE,
        "version": VERSION,
        "description": project["description"],
        "author": {"name": TITLE},
        "license": project["license"],
        "keywords": _KEYWORDS,
        "server": {
            "type": "uv",
            "entry_point": "server/start.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", LOCAL.command, *LOCAL.args],
            },
        },
        "tools": server_tools(),
        "compatibility": {"platforms": ["linux"], "runtimes": {"python": project["requires-python"]}},
    }


def marketplace(project: dict[str, Any]) -> dict[str, Any]:
    """The list of Claude Code plug-ins in this repository: one."""
    return {
        "name": NAME,
        "description": f"{TITLE}: {_lowered(project['description'])}",
        "owner": {"name": TITLE},
        "plugins": [
            {
                "name": NAME,
                "source": f"./{PLUGIN}",
                "description": project["description"],
                "version": VERSION,
                "license": project["license"],
            }
        ],
    }


def claude_plugin(project: dict[str, Any]) -> dict[str, Any]:
    """The plug-in for Claude Code: the server, a skill beside it, and the language server where there is one."""
    language_server = {
        "lspServers": {
            NAME: {"command": LOCAL.command, "args": ["lsp", "--stdio"], "extensionToLanguage": LANGUAGE_IDS},
        }
    }
    return {
        "name": NAME,
        "version": VERSION,
        "description": project["description"],
        "author": {"name": TITLE},
        "license": project["license"],
        "keywords": _KEYWORDS,
        "mcpServers": {NAME: _started()},
        **(language_server if "lsp" in commands() else {}),
    }


def cursor_plugin(project: dict[str, Any]) -> dict[str, Any]:
    """The plug-in for Cursor, with the skills of Claude Code's."""
    return {
        "name": NAME,
        "displayName": TITLE,
        "version": VERSION,
        "description": project["description"],
        "author": {"name": TITLE},
        "license": project["license"],
        "keywords": _KEYWORDS,
        "skills": SKILLS,
        "mcpServers": {NAME: _started()},
    }


def gemini_extension(project: dict[str, Any]) -> dict[str, Any]:
    """The extension for Gemini CLI."""
    return {
        "name": NAME,
        "version": VERSION,
        "description": project["description"],
        "mcpServers": {NAME: _started()},
    }


def commands() -> frozenset[str]:
    """The commands of `kernelevolve`."""
    from typer.main import get_command

    from kernelevolve.server.command_line import app

    return frozenset(getattr(get_command(app), "commands", {}))


def server_tools() -> list[dict[str, str]]:
    """The tools of the server, in its order: name and first line of the description."""
    from kernelevolve.server.mcp_server import create_server

    with tempfile.TemporaryDirectory() as state:
        tools = anyio.run(create_server(Path(state)).list_tools)
    return [{"name": tool.name, "description": (tool.description or "").strip().split("\n")[0]} for tool in tools]


def _started() -> dict[str, Any]:
    return {"command": LOCAL.command, "args": list(LOCAL.args)}


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:]


def main() -> int:
    """Write what differs; says which files."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "pyproject.toml").is_file():
        print(f"{root} is not a checkout: run this from one that is installed with --editable.", file=sys.stderr)
        return 2
    for name, content in manifests(root).items():
        path = root / name
        if not path.is_file() or path.read_text() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
