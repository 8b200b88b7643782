"""One shelf of searches for all tests of exports, and an export of two C++ kernels that win in different cases."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import start_warm_host, stop_warm_host
from kernelevolve.search.store import Store
from kernelevolve.tools.export_kernel import export_kernel
from kernelevolve.tools.export_summary import ExportRequest
from kernelevolve.tools.judges import JudgePool
from tests.export.support import ROWS_CPP, ROWS_TASK, Shelf

SLOW = Candidate(language="cpp", source=ROWS_CPP, name="slow.cpp")
FAST = Candidate(language="cpp", source="// kernelevolve: flags -O3 -march=native\n" + ROWS_CPP, name="fast.cpp")
EVEN = (1.0, 1.1, 1.2)


@pytest.fixture(scope="package")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    state = tmp_path_factory.mktemp("export-state")
    start_warm_host(state)
    pool = JudgePool(state)
    with Store(state / "searches.sqlite") as store:
        yield Shelf(state, pool, store)
    pool.close()
    stop_warm_host(state)


@pytest.fixture(scope="package")
def rows_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export-tasks") / "rows.py"
    path.write_text(ROWS_TASK)
    return path


@pytest.fixture(scope="package")
def rows_search(shelf: Shelf, rows_task: Path) -> str:
    """The first node is best where rows are wide, the second where they are many."""
    return shelf.search(
        rows_task,
        (SLOW, {"wide": (1.9, 2.0, 2.1), "tall": EVEN, "odd": EVEN}),
        (FAST, {"wide": EVEN, "tall": (2.9, 3.0, 3.1), "odd": EVEN}),
    )


@pytest.fixture(scope="package")
def rows_text(shelf: Shelf, rows_search: str) -> str:
    return export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=rows_search))[1]


Load = Callable[..., ModuleType]


@pytest.fixture(scope="package")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built kernels, shared by the tests that load an export into this process."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def load(tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a module's text, as often as one likes, each time anew."""
    monkeypatch.setenv("KERNELEVOLVE_EXPORT_CACHE", str(kernel_cache))
    names: list[str] = []

    def run(text: str) -> ModuleType:
        name = f"exported_{os.getpid()}_{tmp_path.name}_{len(names)}"
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        names.append(name)
        spec.loader.exec_module(module)
        return module

    yield run
    for name in names:
        del sys.modules[name]
