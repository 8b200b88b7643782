"""The extension for VS Code without an editor: its own tests, its package, and its protocol library on the server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kernelevolve.evaluation.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "editor_extensions" / "vscode"

pytestmark = [
    pytest.mark.skipif(shutil.which("npm") is None, reason="no npm: install Node.js 20 or newer"),
    pytest.mark.skipif(
        not (EXTENSION / "node_modules" / ".installed").is_file(),
        reason="the extension's packages are not installed (`make vscode`)",
    ),
    pytest.mark.slow,
]


def npm(script: str, **variables: str) -> str:
    """Run one of the extension's scripts; its output."""
    done = subprocess.run(
        ["npm", "run", "--silent", script], cwd=EXTENSION, env={**os.environ, **variables}, capture_output=True,
        text=True, timeout=290, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def passed(output: str) -> int:
    """How many tests Node's runner saw pass; fails if any was skipped."""
    assert re.search(r"^ℹ skipped 0$", output, re.MULTILINE), output
    found = re.search(r"^ℹ pass (\d+)$", output, re.MULTILINE)
    assert found, output
    return int(found[1])


def test_types_and_style_are_clean() -> None:
    npm("check")


def test_what_has_logic_does_as_it_should() -> None:
    files = list((EXTENSION / "test").glob("*.test.ts"))
    assert passed(npm("test")) >= 10 * len(files)


def test_the_package_holds_what_the_editor_needs_and_nothing_else() -> None:
    npm("build")
    npm("package")
    with zipfile.ZipFile(EXTENSION / "kernelevolve.vsix") as package:
        names = {name.removeprefix("extension/") for name in package.namelist() if name.startswith("extension/")}
        manifest = json.loads(package.read("extension/package.json"))
        texts = [package.read(f"extension/{name}") for name in names if name.endswith((".js", ".css", ".md", ".json"))]
    assert manifest["version"] == VERSION
    assert {manifest["main"].removeprefix("./"), manifest["icon"], "out/search_page.js", "out/search_page.css"} <= names
    walkthrough = manifest["contributes"]["walkthroughs"][0]["steps"]
    assert {step["media"]["markdown"] for step in walkthrough} <= names
    assert not [name for name in names if name.endswith((".ts", ".map", ".mjs")) or "node_modules" in name]
    assert not [text for text in texts if str(ROOT).encode() in text], "the package names no folder of this machine"


def test_every_command_of_menus_and_texts_is_contributed() -> None:
    manifest = json.loads((EXTENSION / "package.json").read_text())
    contributed = manifest["contributes"]
    known = {command["command"] for command in contributed["commands"]}
    menus = {entry["command"] for entries in contributed["menus"].values() for entry in entries}
    texts = json.dumps([contributed["viewsWelcome"], contributed["walkthroughs"]])
    views = {view["id"] for found in contributed["views"].values() for view in found}
    linked = {
        name
        for name in re.findall(r"command:(kernelevolve\.[\w.]+)", texts)
        if name.removesuffix(".focus") not in views
    }
    assert menus | linked <= known
    sources = "\n".join(path.read_text() for path in (EXTENSION / "src").glob("*.ts"))
    for name in known:
        assert f'"{name}"' in sources or f'"{name.removeprefix("kernelevolve.")}"' in sources, f"{name} does nothing"


def test_settings_that_name_programs_or_folders_are_restricted_without_trust() -> None:
    manifest = json.loads((EXTENSION / "package.json").read_text())
    trust = manifest["capabilities"]["untrustedWorkspaces"]
    settings = manifest["contributes"]["configuration"]["properties"]
    assert trust["supported"] == "limited"
    assert set(trust["restrictedConfigurations"]) == {
        name for name, setting in settings.items() if setting["scope"] == "machine-overridable"
    }


def test_the_server_speaks_with_the_protocol_library_of_the_editor() -> None:
    command = Path(sys.executable).parent / "kernelevolve"
    assert passed(npm("test:server", KERNELEVOLVE_COMMAND=str(command))) == 8
