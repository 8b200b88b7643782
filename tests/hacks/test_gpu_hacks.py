"""What can be said of the hacks for GPUs without one: they are whole, and the right kernels are taken for theirs."""

from __future__ import annotations

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.device_activity import own_kernels
from kernelevolve.evaluation.language import get_language
from kernelevolve.evaluation.tasks.loading import load_task
from tests.hacks.zoo import GPU, Hack, hacks

HACKS = list(hacks(GPU))


def test_every_folder_is_a_hack() -> None:
    folders = {path.name for path in GPU.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert folders - {"shared"} == {hack.name for hack in HACKS}


@pytest.mark.parametrize("hack", HACKS, ids=lambda hack: hack.name)
def test_hack_is_whole(hack: Hack) -> None:
    assert hack.rows
    assert all(1 <= row <= 36 for row in hack.rows)
    assert hack.refused_as
    assert hack.guard()
    cheat, honest = (Candidate.from_file(path, hack.language) for path in (hack.cheat, hack.honest))
    assert cheat.source != honest.source
    for candidate in (cheat, honest):
        get_language(hack.language).read(candidate)
    assert own_kernels(honest, ()), "a twin brings a kernel of its own"
    assert load_task(str(hack.task)).task.cases
