"""Each reward hack is refused, for the right reason, and its honest twin is not.

One file for each hack: `HACK` says what it tries. A hack that is not refused yet says why in `OPEN`.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.evaluation.finding import STATUS_OF, Status
from kernelevolve.evaluation.verdict import PlatformVerdict
from tests.conftest import Give

FILES = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith(("test_", "__")))
HACKS: dict[str, dict[str, Any]] = {path.stem: runpy.run_path(str(path)) for path in FILES}


class AcceptedError(AssertionError):
    """The judge called a cheat correct."""


def _parameters() -> list[Any]:
    def marks(hack: dict[str, Any]) -> Any:
        return pytest.mark.xfail(strict=True, raises=AcceptedError, reason=hack["OPEN"]) if "OPEN" in hack else ()

    return [pytest.param(name, marks=marks(hack)) for name, hack in HACKS.items()]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The task of each hack, as a file."""
    folder = tmp_path_factory.mktemp("hacked")
    paths = {name: folder / f"{name}.py" for name in HACKS}
    for name, path in paths.items():
        path.write_text(HACKS[name]["TASK"])
    return paths


def judged(give: Give, hack: dict[str, Any], source: str, task: Path) -> PlatformVerdict:
    calls = 40 if hack.get("TIMED") else 0
    platform = hack["PLATFORM"]
    return give(source, hack["LANGUAGE"], task=task, platform=platform, timed_calls=calls).platforms[0]


@pytest.mark.parametrize("name", _parameters())
def test_refuses(give: Give, tasks: dict[str, Path], name: str) -> None:
    assert HACKS[name]["CHEAT"] != HACKS[name]["HONEST"]
    entry = judged(give, HACKS[name], HACKS[name]["CHEAT"], tasks[name])
    if entry.diagnosis is None:
        raise AcceptedError(HACKS[name]["HACK"])
    assert entry.diagnosis.finding in HACKS[name]["REFUSED_AS"], entry.diagnosis
    assert entry.status is STATUS_OF[entry.diagnosis.finding]


def _twins() -> list[str]:
    """Hacks whose honest twins differ: many share one."""
    keys = ("TASK", "HONEST", "PLATFORM", "TIMED")
    return list({tuple(hack.get(key) for key in keys): name for name, hack in HACKS.items()}.values())


@pytest.mark.parametrize("name", _twins())
def test_accepts_the_honest_twin_of(give: Give, tasks: dict[str, Path], name: str) -> None:
    entry = judged(give, HACKS[name], HACKS[name]["HONEST"], tasks[name])
    assert entry.status is Status.CORRECT, entry.diagnosis
