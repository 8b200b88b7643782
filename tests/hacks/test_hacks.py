"""Each reward hack is refused, for the right reason, and its honest twin is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelevolve.evaluation.finding import STATUS_OF, Status
from kernelevolve.evaluation.judge.client import Judge
from tests.hacks import threat_table
from tests.hacks.zoo import Hack, ZooError, hacks, load

HACKS = {hack.name: hack for hack in hacks() if hack.runs_on == "cpu"}
TWINS = {hack.twin: hack for hack in HACKS.values()}
ROWS_ON_GPU_ONLY = {1, 12, 15, 16}
"""Side streams, CUDA graphs, the L2 of a GPU and launch overhead have no form on a CPU."""


@pytest.mark.parametrize("name", HACKS)
def test_refuses(judge: Judge, name: str) -> None:
    hack = HACKS[name]
    entry = judge.judge(hack.request(hack.cheat)).platforms[0]
    assert entry.diagnosis is not None, f"accepted: {hack.hack}"
    assert entry.diagnosis.finding in hack.refused_as, entry.diagnosis
    assert entry.status is STATUS_OF[entry.diagnosis.finding]


@pytest.mark.parametrize("hack", TWINS.values(), ids=lambda hack: hack.name)
def test_accepts_the_honest_twin_of(judge: Judge, hack: Hack) -> None:
    entry = judge.judge(hack.request(hack.honest)).platforms[0]
    assert entry.status is Status.CORRECT, entry.diagnosis


@pytest.mark.parametrize("name", HACKS)
def test_a_cheat_differs_from_its_twin_and_names_a_guard(name: str) -> None:
    hack = HACKS[name]
    assert hack.cheat.read_text() != hack.honest.read_text()
    assert hack.guard() is not None
    assert not {STATUS_OF[finding] for finding in hack.refused_as} & {Status.CORRECT, Status.HARNESS_ERROR}


def test_every_row_of_the_table_has_a_hack() -> None:
    covered = {row for hack in HACKS.values() for row in hack.rows}
    assert covered == set(range(1, 37)) - ROWS_ON_GPU_ONLY


def test_the_threat_model_has_every_folder() -> None:
    page = threat_table.PAGE.read_text()
    assert threat_table.with_rows(page) == page, "run python -m tests.hacks.threat_table"


def test_a_folder_with_something_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hack.toml").write_text('rows = [1]\nhack = "x"\n')
    with pytest.raises(ZooError, match="missing or unknown: caught_by"):
        load(tmp_path)
