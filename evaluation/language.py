"""A language: how a candidate's source is read, built and turned into something callable."""

from __future__ import annotations

import abc
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.platform import Level, Platform
from kernelevolve.evaluation.plug_ins import load_plug_ins
from kernelevolve.evaluation.resources import KernelResources


class EntryPoint(StrEnum):
    """What the source defines."""

    MODULE = "ModelNew"
    """A `torch.nn.Module`, built with the task's init inputs and called with its inputs (KernelBench)."""
    FUNCTION = "kernel"
    """A function. In a module-form task it gets the inputs and then the reference's parameters and buffers."""


class Artifact(Contract):
    """A built candidate, as it travels to the worker process."""

    language: str
    """Name of the language plug-in."""
    entry: EntryPoint
    """Which entry point to call."""
    writes_outputs: bool
    """True when the entry point gets preallocated outputs as its last arguments and returns nothing."""
    source: str = ""
    """Source text, for languages that compile at the first call."""
    library: Path | None = None
    """Shared library, for languages that are built ahead."""
    resources: tuple[KernelResources, ...] = ()
    """Resources that the build already knows."""
    notes: tuple[str, ...] = ()
    """What the build wants said in the verdict."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Build options that belong in the receipt, e.g. compiler and flags."""


class Language(abc.ABC):
    """A language plug-in, registered under the entry point group `kernelevolve.languages`.

    `read` and `build` run in the judge's process and must not run candidate code; `load` runs in the worker.
    """

    name: str

    @abc.abstractmethod
    def read(self, candidate: Candidate) -> EntryPoint:
        """Parse the source and find the entry point.

        Raises:
            CandidateError: `SYNTAX_ERROR`, `MISSING_ENTRY_POINT` or `FORBIDDEN_CONSTRUCT`.
        """

    @abc.abstractmethod
    def supports(self, platform: Platform) -> bool:
        """Whether candidates of this language make sense on a platform at all."""

    def levels(self, candidate: Candidate, platform: Platform) -> tuple[Level, ...]:
        """Levels at which a candidate can be judged for a platform on this machine, best first."""
        return platform.availability().levels.get(self.name, ())

    @property
    def is_authored(self) -> bool:
        """Whether candidates of a search may be written in it."""
        return True

    @property
    def is_interpreted(self) -> bool:
        """Whether a device that is not here is made up for by Triton's interpreter."""
        return False

    @abc.abstractmethod
    def build(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> Artifact:
        """Compile ahead of time, where the language does that; off the device lock.

        Args:
            candidate: what to build.
            platform: what to build it for.
            scratch: folder of this candidate alone.
            limit_s: seconds the build may take.

        Raises:
            CandidateError: the compiler refused the source; `log` holds what it said.
            PlatformError: there is no compiler here.
        """

    def code(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> list[KernelCode]:
        """Compile ahead of time and hand over what the compiler made of each kernel, stage by stage.

        Args:
            candidate: what to compile.
            platform: what to compile it for.
            scratch: folder of this candidate alone.
            limit_s: seconds it may take.

        Raises:
            CandidateError: the compiler refused the source.
            PlatformError: there is no compiler here, or this language has nothing to show.
        """
        raise PlatformError(
            Finding.LANGUAGE_ON_PLATFORM,
            f"{self.name} has no static view.",
            "Profile it where the device is.",
        )

    @abc.abstractmethod
    def load(self, artifact: Artifact, interpret: bool) -> Callable[..., Any]:
        """Make the entry point callable, inside the worker: the class `ModelNew` or the function `kernel`."""


_BUILT_IN = {
    "triton": "kernelevolve.evaluation.languages.triton:TritonLanguage",
    "cpp": "kernelevolve.evaluation.languages.cpp:CppLanguage",
    "cuda": "kernelevolve.evaluation.languages.cuda:CudaLanguage",
    "hip": "kernelevolve.evaluation.languages.hip:HipLanguage",
    "export": "kernelevolve.evaluation.export.language:ExportLanguage",
}


@cache
def languages() -> dict[str, type[Language]]:
    """Name → plug-in class."""
    return load_plug_ins("kernelevolve.languages", _BUILT_IN)


def get_language(name: str) -> Language:
    """Find a language by name.

    Raises:
        PlatformError: no such language; the text lists those there are.
    """
    found = languages().get(name)
    if found is None:
        raise PlatformError(
            Finding.UNKNOWN_LANGUAGE, f"There is no language {name!r}.", f"Known: {', '.join(languages())}."
        )
    return found()
