"""A platform: what a candidate is judged for, and what can be done for it on this machine."""

from __future__ import annotations

import abc
import re
from enum import StrEnum
from functools import cache

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.plug_ins import load_plug_ins


class Level(StrEnum):
    """How well a candidate could be judged; a verdict never names a better one than was reached."""

    EXECUTED = "executed"
    INTERPRETED = "interpreted"
    COMPILED = "compiled"
    SIMULATED = "simulated"


class Quantity(Contract):
    """One number of a spec sheet."""

    value: float
    """In base units."""
    unit: str
    """Base unit, e.g. `B/s`; empty for a count."""
    text: str = ""
    """The number as people write it, e.g. `3.35 TB/s`."""
    sources: tuple[str, ...]
    """Addresses or titles of the documents that give the number."""
    checked: str
    """ISO date on which the sources were read."""
    note: str = ""
    """What a reader must know to use the number rightly."""


class SpecSheet(Contract):
    """The numbers of one chip, with what its architecture gives it."""

    chip: str
    """Marketing name, e.g. `NVIDIA H200 SXM`."""
    key: str = ""
    """Short name, e.g. `h200_sxm`; empty for a device we do not know."""
    vendor: str = ""
    """`nvidia`, `amd`, `meta`, `intel`."""
    architecture: str = ""
    """What compilers call it, e.g. `sm_90`."""
    family: str = ""
    """Name of the generation in the knowledge base, e.g. `hopper`."""
    aliases: tuple[str, ...] = ()
    """Other names by which people ask for the chip."""
    device_names: tuple[str, ...] = ()
    """Ends of the driver's device name that identify this chip."""
    usual: bool = False
    """Whether the architecture's name alone stands for this chip."""
    facts: dict[str, Quantity] = Field(default_factory=dict)
    """Field (`evaluation/platforms/sheets/fields/`) → number."""

    @property
    def memory_bandwidth(self) -> Quantity | None:
        """Peak device memory bandwidth, bytes per second."""
        return self.facts.get("memory_bandwidth")

    @property
    def last_level_cache(self) -> Quantity | None:
        """Size in bytes of the cache that a cold-cache measurement must flush."""
        return self.facts.get("last_level_cache")

    @property
    def peak_flops(self) -> dict[str, Quantity]:
        """Peak dense rate by dtype, operations per second (matrix units where they exist; `float32` the vector's)."""
        prefix = "peak_flops."
        return {name.removeprefix(prefix): fact for name, fact in self.facts.items() if name.startswith(prefix)}


class Availability(Contract):
    """What can be done for one platform on this machine, and what is missing for more."""

    platform: str
    """Platform name, e.g. `cuda:sm_90`."""
    levels: dict[str, tuple[Level, ...]]
    """Language → levels that can be reached here, best first."""
    device: str | None = None
    """Name of the device that executes, if there is one."""
    missing: tuple[str, ...] = ()
    """What would have to be installed or plugged in for a better level, one sentence each."""


class Platform(abc.ABC):
    """A platform plug-in: one instance stands for one name such as `cuda:sm_90`.

    A plug-in registers a subclass under the entry point group `kernelevolve.platforms`; the entry point's name is the
    part before the colon. Nothing in it may import torch or triton before `availability` or a later method is called.
    """

    family: str
    """The part of the name before the colon."""
    device_kind: str
    """The torch device type that executes it: `cpu` or `cuda` (ROCm's torch calls its devices `cuda` too)."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture

    @property
    def name(self) -> str:
        """Full name, e.g. `cuda:sm_90`, or `cpu`."""
        return f"{self.family}:{self.architecture}" if self.architecture else self.family

    @classmethod
    @abc.abstractmethod
    def known_architectures(cls) -> tuple[str, ...]:
        """Architectures this family knows; `('',)` for a family without any."""

    @abc.abstractmethod
    def availability(self) -> Availability:
        """Look at this machine. Never initialises a device."""

    @abc.abstractmethod
    def spec_sheet(self) -> SpecSheet:
        """The chip's numbers; of the device that is here if there is one, else of the architecture's usual chip."""


_BUILT_IN = {
    "cpu": "kernelevolve.evaluation.platforms.cpu:CpuPlatform",
    "cuda": "kernelevolve.evaluation.platforms.cuda:CudaPlatform",
    "hip": "kernelevolve.evaluation.platforms.hip:HipPlatform",
}


@cache
def platform_families() -> dict[str, type[Platform]]:
    """Family name → plug-in class."""
    return load_plug_ins("kernelevolve.platforms", _BUILT_IN)


_NAME = re.compile(r"^(?P<family>[a-z0-9_]+)(?::(?P<architecture>[A-Za-z0-9_.+-]+))?$")


def get_platform(name: str) -> Platform:
    """Find a platform by name.

    Raises:
        PlatformError: no such family or architecture; the text lists those there are.
    """
    match = _NAME.match(name.strip())
    families = platform_families()
    family = families.get(match["family"]) if match else None
    if match is None or family is None:
        raise PlatformError(
            Finding.UNKNOWN_PLATFORM,
            f"There is no platform {name!r}.",
            f"Known platforms: {', '.join(known_platforms())}.",
        )
    architecture = match["architecture"] or ""
    known = family.known_architectures()
    if architecture not in known:
        raise PlatformError(
            Finding.UNKNOWN_PLATFORM,
            f"Platform {match['family']!r} has no architecture {architecture!r}.",
            f"Known: {', '.join(known_platforms(match['family']))}.",
        )
    return family(architecture)


def known_platforms(family: str | None = None) -> list[str]:
    """Names of all platforms, or of one family's."""
    return [
        cls(architecture).name
        for key, cls in platform_families().items()
        if family in (None, key)
        for architecture in cls.known_architectures()
    ]
