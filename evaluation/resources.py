"""What a compiled kernel takes on a target: registers, spills, shared memory, occupancy."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from kernelevolve.evaluation.contract import Contract


class KernelResources(Contract):
    """What one compiled kernel takes on one target, read from the artifact."""

    kernel: str
    """Kernel name."""
    target: str
    """Platform name, e.g. `hip:gfx950`."""
    registers: int | None = None
    """Registers per thread (NVIDIA) or vector registers per lane, architected and accumulation together (AMD)."""
    scalar_registers: int | None = None
    """Scalar registers per wave (AMD)."""
    spills: int | None = None
    """Spilled registers per thread: 32-bit words of local memory (NVIDIA) or spilled vector registers (AMD)."""
    shared_bytes: int | None = None
    """Shared memory (LDS) per block, bytes."""
    code_bytes: int | None = None
    """Size of the machine code, bytes."""
    threads_per_block: int | None = None
    """Threads per block."""
    occupancy: float | None = None
    """Resident warps over the most the multiprocessor holds, 0 to 1."""
    occupancy_limiter: str | None = None
    """What bounds the occupancy: `registers`, `shared memory`, `warps`, `blocks`."""
    launch: dict[str, Any] = Field(default_factory=dict)
    """Launch options that shaped it: `num_warps`, `num_stages`, constant arguments."""
