"""Every planted fault is refused; no correct kernel is, whatever order it adds in."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.verdict import PlatformVerdict
from tests.conftest import Give
from tests.numerics.kernels import FAULTY, HONEST, TASKS, Kernel


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tasks as files."""
    folder = tmp_path_factory.mktemp("numerics")
    for name, text in TASKS.items():
        (folder / f"{name}.py").write_text(text)
    return {name: folder / f"{name}.py" for name in TASKS}


def judged(give: Give, tasks: dict[str, Path], kernel: Kernel) -> PlatformVerdict:
    return give(kernel.source, kernel.language, task=tasks[kernel.task]).platforms[0]


@pytest.mark.parametrize("kernel", FAULTY, ids=lambda kernel: kernel.name)
def test_refuses(give: Give, tasks: dict[str, Path], kernel: Kernel) -> None:
    assert judged(give, tasks, kernel).status is Status.WRONG


@pytest.mark.parametrize("kernel", HONEST, ids=lambda kernel: kernel.name)
def test_accepts(give: Give, tasks: dict[str, Path], kernel: Kernel) -> None:
    entry = judged(give, tasks, kernel)
    assert entry.status is Status.CORRECT, entry.diagnosis
