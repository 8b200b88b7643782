"""The code that compilers made of one kernel, stage by stage, for whoever wants to read it."""

from __future__ import annotations

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.resources import KernelResources


class KernelCode(Contract):
    """One kernel as compiled for one target."""

    kernel: str
    """Kernel name."""
    target: str
    """Platform name, e.g. `cuda:sm_90`, `hip:gfx950`, `cpu`."""
    language: str
    """The candidate's language."""
    resources: KernelResources | None = None
    """What it takes; None on a CPU."""
    grid: tuple[int, ...] = ()
    """Blocks in each dimension at the first launch; empty where the host code's launches were not seen."""
    calls: int = 1
    """Launches in one run of the candidate."""
    stages: dict[str, str] = Field(default_factory=dict, repr=False)
    """Stage → text. Triton: `ttir`, `ttgir`, `llir`, `ptx` and `sass`, or `amdgcn`. CUDA C++: `sass`. C++: `assembly`
    (`objdump` with source lines) and `remarks` (what the vectoriser says)."""
    notes: tuple[str, ...] = ()
    """What a reader should know of how it was compiled."""
