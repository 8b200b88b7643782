"""The hacks that need a GPU, as they lie in the folders beside this file: each a cheat, its honest twin and a task."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.request import JudgeRequest

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Hack:
    """One hack: what it tries, and what must become of it."""

    name: str
    rows: tuple[int, ...]
    """Rows of the table of known hacks, docs/threat-model.md."""
    text: str
    """What it tries, in a sentence."""
    language: str
    task: Path
    cheat: Path
    honest: Path
    refused_as: frozenset[Finding]
    """What may be said of it; how soon a race or a stale buffer shows differs from run to run."""
    caught_by: str
    """The guard that was made for it."""
    timed: bool
    open: str = ""
    """Why nothing refuses it yet; empty for all others."""

    def request(self, source: Path, platform: str) -> JudgeRequest:
        """Ask for a verdict on the cheat or its twin."""
        candidate = Candidate.from_file(source, self.language)
        return JudgeRequest(
            task=str(self.task),
            candidate=candidate,
            platforms=(platform,),
            timed_calls=40 if self.timed else 0,
            timing_budget_s=1.0,
            limit_s=30.0,
        )


def hacks(folder: Path = HERE) -> Iterator[Hack]:
    """All of them, by name."""
    for path in sorted(folder.glob("*/hack.toml")):
        entry = tomllib.loads(path.read_text())
        here = path.parent
        suffix = ".cu" if entry["language"] == "cuda" else ".py"
        yield Hack(
            name=here.name,
            rows=tuple(entry["rows"]),
            text=entry["hack"],
            language=entry["language"],
            task=(here / entry["task"]).resolve(),
            cheat=here / f"cheat{suffix}",
            honest=(here / entry["honest"]).resolve(),
            refused_as=frozenset(map(Finding, entry["refused_as"])),
            caught_by=entry["caught_by"],
            timed=entry["timed"],
            open=entry.get("open", ""),
        )
