"""A process that is muted when its candidate is loaded never runs a Triton kernel of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SCALE_TRITON

SCRIPT = """
import sys
from pathlib import Path
import torch
from kernelevolve.evaluation.judge.worker import _Worker
from kernelevolve.evaluation.language import Artifact, EntryPoint

made = torch.empty_like
torch.empty_like = lambda *given, **more: made(*given, **more).fill_(7.0)
artifact = Artifact(language="triton", entry=EntryPoint.FUNCTION, writes_outputs=False,
                    source=Path("source.txt").read_text())
worker = _Worker(None, "cpu")
for name in EARLIER:
    __import__(name)
worker._load((), artifact.model_dump(mode="json"), interpret=True, init=None, seed=0, mute=MUTE)
print(worker._entry(torch.ones(4, 8)).unique().tolist())
"""


@pytest.mark.parametrize(
    "earlier", [(), ("triton.language.standard",)], ids=["first", "after another import of Triton"]
)
@pytest.mark.parametrize(("mute", "answer"), [(False, "[3.0]"), (True, "[7.0]")])
def test_muted_from_loading_on(tmp_path: Path, mute: bool, answer: str, earlier: tuple[str, ...]) -> None:
    (tmp_path / "source.txt").write_text(SCALE_TRITON)
    script = SCRIPT.replace("MUTE", repr(mute)).replace("EARLIER", repr(earlier))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.strip() == answer, done.stderr
