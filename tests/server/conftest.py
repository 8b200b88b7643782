"""A state folder with a warm judge, which every server and command of this folder uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelevolve.evaluation.judge.client import start_warm_host, stop_warm_host


@pytest.fixture(scope="package")
def warm_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("warm")
    start_warm_host(state)
    yield state
    stop_warm_host(state)
