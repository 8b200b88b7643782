"""AMD GPUs as platforms, one for each architecture we know."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.platform import Availability, Level, Platform, SpecSheet
from kernelevolve.evaluation.platforms.spec_sheets import spec_sheet_for
from kernelevolve.evaluation.platforms.torch_build import has_triton, torch_build

_ARCHITECTURES = ("gfx942", "gfx950")
_TOPOLOGY = Path("/sys/class/kfd/kfd/topology/nodes")
_PRODUCT_NAMES = Path("/sys/class/drm")
_WAVE = 64


def gfx_name(target_version: int) -> str:
    """The architecture behind the kernel driver's `gfx_target_version`, e.g. 90402 → `gfx942`.

    The number is major·10000 + minor·100 + stepping in decimal; the name writes minor and stepping in hexadecimal.
    """
    major, rest = divmod(target_version, 10_000)
    minor, stepping = divmod(rest, 100)
    return f"gfx{major}{minor:x}{stepping:x}"


def kfd_architectures(topology: Path = _TOPOLOGY) -> list[str]:
    """Architecture of each AMD GPU that the kernel driver lists; CPUs, which have version 0, are left out."""
    found = []
    for properties in sorted(topology.glob("*/properties")):
        for line in properties.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == "gfx_target_version" and int(value):
                found.append(gfx_name(int(value)))
    return found


def _product_name() -> str | None:
    names = [path.read_text().strip() for path in sorted(_PRODUCT_NAMES.glob("card*/device/product_name"))]
    return next((name for name in names if name), None)


class HipPlatform(Platform):
    """AMD GPUs of one architecture, e.g. `hip:gfx942`."""

    family = "hip"
    device_kind = "cuda"

    @classmethod
    def known_architectures(cls) -> tuple[str, ...]:
        """Architectures that Triton compiles for and whose limits we have."""
        return _ARCHITECTURES

    def triton_target(self) -> Any:
        """Triton's name for this platform, a `GPUTarget`."""
        from triton.backends.compiler import GPUTarget

        return GPUTarget("hip", self.architecture, _WAVE)

    def hipcc_arch_flags(self) -> list[str]:
        """Flags that make hipcc compile for this platform and nothing else."""
        return [f"--offload-arch={self.architecture}"]

    def availability(self) -> Availability:
        """Look for a matching GPU, a torch that can use it, Triton and hipcc. HIP is not initialised."""
        missing = []
        present = self.architecture in kfd_architectures()
        if not present:
            missing.append(f"No {self.architecture} GPU is listed under {_TOPOLOGY}.")
        if not torch_build().get("hip"):
            missing.append("The installed torch has no ROCm: install a ROCm build from pytorch.org.")
        runs = present and bool(torch_build().get("hip"))

        triton: tuple[Level, ...] = ()
        if not has_triton():
            missing.append("triton is not installed: pip install triton (Linux only).")
        else:
            triton = (Level.EXECUTED,) if runs else (Level.INTERPRETED, Level.COMPILED)
        hip: tuple[Level, ...] = ()
        if shutil.which("hipcc") is None:
            missing.append("hipcc is not on PATH: install ROCm's HIP compiler.")
        else:
            hip = (Level.EXECUTED, Level.COMPILED) if runs else (Level.COMPILED,)
        return Availability(
            platform=self.name,
            levels={"triton": triton, "hip": hip},
            device=(_product_name() or self.architecture) if runs else None,
            missing=tuple(missing),
        )

    def spec_sheet(self) -> SpecSheet:
        """Numbers of the GPU that is here if it says its name, else of the architecture's usual chip."""
        name = _product_name() if self.architecture in kfd_architectures() else None
        return spec_sheet_for(self.architecture, name)
