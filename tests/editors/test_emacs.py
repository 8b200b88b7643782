"""`kernelevolve.el` in a real Emacs, in batch, over eglot."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.editors.conftest import ROOT, Desk

PACKAGE = ROOT / "editor_extensions" / "emacs" / "kernelevolve.el"
CASES = Path(__file__).with_name("emacs")
STRICT = "(setq byte-compile-error-on-warn t byte-compile-docstring-max-column 120)"
EMACS = shutil.which("emacs")


def lacks_eglot() -> bool:
    """Whether no Emacs with eglot is here."""
    if EMACS is None:
        return True
    command = [EMACS, "--batch", "-f", "package-initialize", "--eval", "(require 'eglot)"]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode != 0


pytestmark = pytest.mark.skipif(
    lacks_eglot(), reason="Emacs with eglot is missing: apt-get install emacs-nox elpa-eglot"
)


def drive(desk: Desk, case: str, server: list[str]) -> None:
    done = desk.run(
        [EMACS, "--batch", "-f", "package-initialize", "-L", PACKAGE.parent, "-l", CASES / case],
        TEST_FOLDER=str(CASES), TEST_SERVER=json.dumps(server),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


def test_hover_lenses_and_flymake(desk: Desk) -> None:
    drive(desk, "shows.el", desk.contract_server)
    assert desk.got() == [{"experimental": {"kernelevolve": {"searches": True}}}]


def test_commands_lenses_and_searches(desk: Desk) -> None:
    drive(desk, "commands.el", desk.contract_server)
    uri = desk.kernel.as_uri()
    assert desk.got()[1:] == [
        {"command": "verify", "uri": uri},
        {"command": "profile", "uri": uri},
        {"command": "verify", "uri": uri, "kernel": "scale"},
        {"command": "optimize", "uri": uri, "evaluations": 3},
        {"command": "stop", "search": "s1"},
        {"command": "applyBest", "uri": uri, "search": "s1"},
    ]


def test_the_real_server(desk: Desk) -> None:
    drive(desk, "real.el", desk.real_server)


def test_it_compiles_without_a_warning(desk: Desk) -> None:
    shutil.copy(PACKAGE, desk.project / PACKAGE.name)
    done = desk.run(
        [EMACS, "--batch", "-f", "package-initialize", "--eval", STRICT, "-f", "batch-byte-compile", PACKAGE.name]
    )
    assert done.returncode == 0, done.stderr
