"""The zoo: one folder for each reward hack, with its task, the cheat and the honest twin, and what must catch it.

`hack.toml` says:

    rows        rows of the table of known hacks (docs/threat-model.md) that it belongs to
    hack        what it tries, in a sentence
    language    of cheat and honest twin
    platform    what they are judged for
    runs_on     `cpu`, or `gpu` where the hack has no form without one
    refused_as  findings of which one must refuse the cheat
    caught_by   the guard that does: `<module of evaluation/judge>.<function or class>`
    timed       whether the verdict needs timed calls
    task, cheat, honest   files, where they are not `task.py`, `cheat.*` and `honest.*` of the folder itself
    open        why nothing refuses it yet, where that is so
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.request import JudgeRequest

ROOT = Path(__file__).parent
GPU = ROOT / "gpu"
"""The hacks that have no form without a GPU."""
_GPU_BUDGET_S = 1.0
"""Timed seconds on each side of a verdict there, where a call takes microseconds."""
_NEEDED = {"rows", "hack", "language", "platform", "runs_on", "refused_as", "caught_by", "timed"}
_OPTIONAL = {"task", "cheat", "honest", "open"}


class ZooError(Exception):
    """A folder of the zoo is not as it must be."""


@dataclass(frozen=True)
class Hack:
    """One hack."""

    name: str
    rows: tuple[int, ...]
    hack: str
    language: str
    platform: str
    runs_on: str
    refused_as: frozenset[Finding]
    caught_by: str
    timed: bool
    task: Path
    cheat: Path
    honest: Path
    open: str = ""

    @property
    def twin(self) -> tuple[Any, ...]:
        """What is judged to show that the honest twin is accepted; hacks that share a twin share this."""
        return self.honest, self.task, self.platform, self.timed

    def request(self, source: Path, platform: str | None = None) -> JudgeRequest:
        """What to ask the judge for, about the cheat or the honest twin.

        Args:
            source: either.
            platform: the one that is here, where it is not the hack's own.
        """
        return JudgeRequest(
            task=str(self.task),
            candidate=Candidate.from_file(source, self.language),
            platforms=(platform or self.platform,),
            timed_calls=40 if self.timed else 0,
            limit_s=30.0,
            **({"timing_budget_s": _GPU_BUDGET_S} if self.runs_on == "gpu" else {}),
        )

    def guard(self) -> Any:
        """The guard itself.

        Raises:
            ZooError: there is none of that name.
        """
        module, _dot, path = self.caught_by.partition(".")
        try:
            return attrgetter(path)(importlib.import_module(f"kernelevolve.evaluation.judge.{module}"))
        except (ImportError, AttributeError) as error:
            raise ZooError(f"{self.name}: there is no guard {self.caught_by!r}: {error}") from error


def load(folder: Path) -> Hack:
    """Read one folder.

    Raises:
        ZooError: something is missing, unknown or does not exist.
    """
    fields = tomllib.loads((folder / "hack.toml").read_text())
    if _NEEDED - fields.keys() or fields.keys() - _NEEDED - _OPTIONAL:
        wrong = (_NEEDED - fields.keys()) | (fields.keys() - _NEEDED - _OPTIONAL)
        raise ZooError(f"{folder.name}/hack.toml: missing or unknown: {', '.join(sorted(wrong))}")
    if fields["runs_on"] not in ("cpu", "gpu"):
        raise ZooError(f"{folder.name}/hack.toml: runs_on is cpu or gpu, not {fields['runs_on']!r}")
    files = {name: _file(folder, name, fields.pop(name, None)) for name in ("task", "cheat", "honest")}
    fields["rows"] = tuple(fields["rows"])
    fields["refused_as"] = frozenset(Finding(name) for name in fields["refused_as"])
    return Hack(name=folder.name, **fields, **files)


def _file(folder: Path, kind: str, given: str | None) -> Path:
    if given is not None:
        path = (folder / given).resolve()
        if not path.is_file():
            raise ZooError(f"{folder.name}/hack.toml: there is no {given}")
        return path
    found = sorted(folder.glob(f"{kind}.*"))
    if len(found) != 1:
        raise ZooError(f"{folder.name} needs one file {kind}.*, or its name in hack.toml; there are {len(found)}")
    return found[0]


def hacks(root: Path = ROOT) -> Iterator[Hack]:
    """Every hack in the folders right below `root`, by name."""
    for description in sorted(root.glob("*/hack.toml")):
        yield load(description.parent)
