"""What every editor's test needs: a home of its own, a file with a kernel, the servers it can start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SCALE_TASK, SCALE_TRITON

ROOT = Path(__file__).resolve().parents[2]
CONTRACT_SERVER = Path(__file__).with_name("contract_server.py")


@dataclass(frozen=True)
class Desk:
    """One user's machine: a home, a project with a task and a Triton file, a log of what the contract server got."""

    home: Path
    project: Path
    log: Path

    @property
    def kernel(self) -> Path:
        return self.project / "triton.py"

    @property
    def contract_server(self) -> list[str]:
        return [sys.executable, str(CONTRACT_SERVER), str(self.log)]

    @property
    def real_server(self) -> list[str]:
        program = Path(sys.executable).with_name("kernelevolve")
        return [str(program), "lsp", "--stdio", "--state", str(self.home / "state")]

    def run(self, words: list[object], limit_s: float = 280, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run an editor as this user; none of its files outside the home."""
        environment = {
            "HOME": str(self.home), "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "LANG": "C.UTF-8", "TERM": "dumb", "XDG_RUNTIME_DIR": str(self.home), **variables,
        }  # fmt: skip
        return subprocess.run(
            [str(word) for word in words], cwd=self.project, env=environment, capture_output=True, text=True,
            timeout=limit_s, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def got(self) -> list[dict[str, Any]]:
        """What the contract server wrote down."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.is_file() else []


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    made = Desk(home, project, tmp_path / "server.jsonl")
    (project / "task.py").write_text(SCALE_TASK)
    made.kernel.write_text(SCALE_TRITON)
    return made
