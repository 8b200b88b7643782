"""Each hack that needs a GPU is refused there for the right reason, and its honest twin is not."""

from __future__ import annotations

import pytest

from kernelevolve.evaluation.finding import STATUS_OF, Status
from kernelevolve.evaluation.judge.client import Judge
from tests.gpu.test_gpu import MISSING, platform  # noqa: F401 - a fixture
from tests.hacks.zoo import GPU, Hack, hacks

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
HACKS = {hack.name: hack for hack in hacks(GPU)}
TWINS = {hack.twin: hack for hack in HACKS.values()}


def _marked(hack: Hack) -> object:
    return pytest.param(hack.name, marks=pytest.mark.xfail(strict=True, reason=hack.open) if hack.open else ())


@pytest.mark.parametrize("name", map(_marked, HACKS.values()))
def test_refuses(judge: Judge, platform: str, name: str) -> None:  # noqa: F811
    hack = HACKS[name]
    entry = judge.judge(hack.request(hack.cheat, platform)).platforms[0]
    assert entry.diagnosis is not None, "it was accepted"
    assert entry.diagnosis.finding in hack.refused_as, entry.diagnosis
    assert entry.status is STATUS_OF[entry.diagnosis.finding]


@pytest.mark.parametrize("hack", TWINS.values(), ids=lambda hack: hack.name)
def test_accepts_the_honest_twin_of(judge: Judge, platform: str, hack: Hack) -> None:  # noqa: F811
    entry = judge.judge(hack.request(hack.honest, platform)).platforms[0]
    assert entry.status is Status.CORRECT, entry.diagnosis
