"""A folder with a small task and candidates for it, and a state folder whose compiler's cache stays warm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SCALE_CPP, SCALE_TASK
from tests.language_server.editor import SCALE_TRITON


@pytest.fixture(scope="session")
def lsp_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder that tests share."""
    return tmp_path_factory.mktemp("lsp_state")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a task, a Triton candidate and a C++ one."""
    (tmp_path / "task.py").write_text(SCALE_TASK)
    (tmp_path / "scale.py").write_text(SCALE_TRITON)
    (tmp_path / "scale.cpp").write_text(SCALE_CPP)
    return tmp_path
