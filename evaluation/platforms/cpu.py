"""The CPU as a platform: C++ runs on it, Triton is interpreted on it."""

from __future__ import annotations

import os
import platform as python_platform
import shutil
from datetime import date
from pathlib import Path

from kernelevolve.evaluation.platform import Availability, Level, Platform, Quantity, SpecSheet
from kernelevolve.evaluation.platforms.torch_build import has_triton, torch_build

_SYSFS_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}


def processor_name() -> str:
    """The processor's name, e.g. `AMD EPYC 9B14`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # not Linux
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else python_platform.processor() or python_platform.machine()


def last_level_cache_bytes() -> int | None:
    """Size of the largest cache that core 0 can reach, bytes; None where the system does not say."""
    sizes = [path.read_text().strip() for path in _SYSFS_CACHES.glob("index*/size")]
    return max((int(size[:-1]) * _UNITS[size[-1]] for size in sizes if size[-1:] in _UNITS), default=None)


def cores() -> int:
    """Logical processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class CpuPlatform(Platform):
    """The machine's own processor."""

    family = "cpu"
    device_kind = "cpu"

    @classmethod
    def known_architectures(cls) -> tuple[str, ...]:
        """There is only one CPU here, so the name has no second part."""
        return ("",)

    def availability(self) -> Availability:
        """C++ needs g++; Triton's interpreter needs triton."""
        missing = []
        if shutil.which("g++") is None:
            missing.append("g++ is not on PATH: install GCC (for example the package g++ or build-essential).")
        if not torch_build():
            missing.append("torch is not installed: pip install torch.")
        if not has_triton():
            missing.append("triton is not installed: pip install triton (Linux only).")
        return Availability(
            platform=self.name,
            levels={
                "cpp": (Level.EXECUTED,) if shutil.which("g++") and torch_build() else (),
                "triton": (Level.INTERPRETED,) if has_triton() and torch_build() else (),
            },
            device=processor_name(),
            missing=tuple(missing),
        )

    def spec_sheet(self) -> SpecSheet:
        """Name and cache of this processor. Bandwidth and rates are for the judge to measure, so they are absent."""
        cache = last_level_cache_bytes()
        facts = {}
        if cache is not None:
            source = f"{_SYSFS_CACHES}/index*/size"
            facts["last_level_cache"] = Quantity(
                value=cache,
                unit="B",
                text=f"{cache / 2**20:g} MiB",
                sources=(source,),
                checked=date.today().isoformat(),
            )
        return SpecSheet(chip=processor_name(), facts=facts)
