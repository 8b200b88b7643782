"""The MCP bundle: its own tool accepts the manifest and packs what the package needs, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.conftest import ROOT, Desk

pytestmark = pytest.mark.slow
_META = {"manifest.json", "pyproject.toml", "README.md", "LICENSE"}


@pytest.fixture
def sources(tmp_path: Path, client_program: Callable[[str], str]) -> Path:
    """The tracked files alone, as a fresh clone has them."""
    client_program("mcpb")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not in a git checkout: what would be packed cannot be told from what lies around")
    copy = tmp_path / "clone"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def test_its_tool_accepts_the_manifest(desk: Desk, client_program: Callable[[str], str]) -> None:
    client_program("mcpb")
    assert "validation passes" in desk.succeed("mcpb", "validate", ROOT / "manifest.json")


def test_the_bundle_holds_the_package_and_nothing_else(desk: Desk, sources: Path, tmp_path: Path) -> None:
    desk.succeed("mcpb", "pack", sources, tmp_path / "bundle.mcpb")
    with zipfile.ZipFile(tmp_path / "bundle.mcpb") as archive:
        packed = {name for name in archive.namelist() if not name.endswith("/")}
        manifest = json.loads(archive.read("manifest.json"))
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"].values()
    wanted = {
        str(path.relative_to(sources)) for folder in folders for path in (sources / folder).rglob("*") if path.is_file()
    }
    assert packed == wanted | _META
    assert manifest["server"]["entry_point"] in packed
