"""NVIDIA GPUs as platforms, one for each compute capability we know."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Any

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.platform import Availability, Level, Platform, SpecSheet
from kernelevolve.evaluation.platforms.nvml import NvmlDevice, nvml_clocks, nvml_devices
from kernelevolve.evaluation.platforms.spec_sheets import spec_sheet_for
from kernelevolve.evaluation.platforms.torch_build import has_triton, torch_build

_ARCHITECTURES = ("sm_80", "sm_89", "sm_90", "sm_100", "sm_120")
# From 9.0 on some instructions (wgmma, tcgen05, block-scaled mma) exist only for the architecture-specific target.
_SPECIFIC_FROM = 90


@dataclass(frozen=True)
class Device:
    """One GPU that can execute a platform's candidates."""

    index: int
    """Position in NVML's list. CUDA numbers devices the same way under `CUDA_DEVICE_ORDER=PCI_BUS_ID`."""
    name: str
    uuid: str
    memory_bytes: int
    driver: str


def _is_visible(device: NvmlDevice) -> bool:
    """Whether `CUDA_VISIBLE_DEVICES` lets CUDA see a device; its numbers are taken as NVML's."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return True
    entries = [entry.strip() for entry in visible.split(",") if entry.strip()]
    return any(
        entry == str(device.index) or (entry.startswith("GPU-") and device.uuid.startswith(entry)) for entry in entries
    )


class CudaPlatform(Platform):
    """NVIDIA GPUs of one compute capability, e.g. `cuda:sm_90`."""

    family = "cuda"
    device_kind = "cuda"

    @classmethod
    def known_architectures(cls) -> tuple[str, ...]:
        """Compute capabilities that Triton and nvcc compile for and whose limits we have."""
        return _ARCHITECTURES

    @property
    def capability(self) -> int:
        """Compute capability as one number: 90 for 9.0, 100 for 10.0."""
        return int(self.architecture.removeprefix("sm_"))

    def devices(self) -> list[Device]:
        """GPUs of this compute capability that CUDA may use.

        Raises:
            PlatformError: there is no driver, or it does not answer.
        """
        return [
            Device(device.index, device.name, device.uuid, device.memory_bytes, device.driver)
            for device in nvml_devices()
            if device.compute_capability == divmod(self.capability, 10) and _is_visible(device)
        ]

    def clocks(self, index: int) -> dict[str, int]:
        """Clocks of one device now and at most, MHz; see `nvml_clocks`."""
        return nvml_clocks(index)

    def triton_target(self) -> Any:
        """Triton's name for this platform, a `GPUTarget`."""
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def nvcc_arch_flags(self) -> list[str]:
        """Flags that make nvcc compile for this platform and nothing else."""
        suffix = "a" if self.capability >= _SPECIFIC_FROM else ""
        number = f"{self.capability}{suffix}"
        return ["-gencode", f"arch=compute_{number},code=sm_{number}"]

    def availability(self) -> Availability:
        """Look for a matching GPU, a torch that can use it, Triton and nvcc. CUDA is not initialised."""
        missing = []
        devices: list[Device] = []
        try:
            devices = self.devices()
        except PlatformError as error:
            missing.append(error.summary)
        else:
            if not devices:
                missing.append(f"No GPU of compute capability {self.capability / 10:.1f} is visible here.")
        if not torch_build().get("cuda"):
            missing.append("The installed torch has no CUDA: install a CUDA build from pytorch.org.")
        runs = bool(devices and torch_build().get("cuda"))

        triton: tuple[Level, ...] = ()
        if not has_triton():
            missing.append("triton is not installed: pip install triton (Linux only).")
        else:
            triton = (Level.EXECUTED,) if runs else (Level.INTERPRETED, Level.COMPILED)
        cuda: tuple[Level, ...] = ()
        if shutil.which("nvcc") is None:
            missing.append("nvcc is not on PATH: install the CUDA toolkit.")
        else:
            cuda = (Level.EXECUTED, Level.COMPILED) if runs else (Level.COMPILED,)
        return Availability(
            platform=self.name,
            levels={"triton": triton, "cuda": cuda},
            device=devices[0].name if runs else None,
            missing=tuple(missing),
        )

    def spec_sheet(self) -> SpecSheet:
        """Numbers of the GPU that is here, else of the architecture's usual chip."""
        try:
            devices = self.devices()
        except PlatformError:
            devices = []  # no driver: plan for the usual chip
        return spec_sheet_for(self.architecture, devices[0].name if devices else None)
