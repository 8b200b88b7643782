"""Occupancy: how much of a multiprocessor the blocks of one kernel fill, from its resources.

Pure arithmetic over the limits in the spec sheets. The NVIDIA rules are those of CUDA's
`cuda_occupancy.h`, the AMD rules those of LLVM's AMDGPU back end (`AMDGPUBaseInfo.cpp`, `GCNSubtarget.cpp`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kernelevolve.evaluation.platforms.spec_sheets import architecture_sheets, count


@dataclass(frozen=True)
class CudaLimits:
    """What one NVIDIA multiprocessor holds."""

    warps: int
    blocks: int
    shared_bytes: int
    """Shared memory of a multiprocessor, bytes; one block may use all of it less the reserve."""
    registers: int


@cache
def cuda_limits() -> dict[str, CudaLimits]:
    """Architecture → limits, for every NVIDIA architecture whose sheet has them."""
    return {
        name: CudaLimits(
            warps=count(name, "warps_per_sm"),
            blocks=count(name, "blocks_per_sm"),
            shared_bytes=count(name, "shared_memory_per_sm"),
            registers=count(name, "registers_per_sm"),
        )
        for name, sheet in architecture_sheets().items()
        if "warps_per_sm" in sheet.facts
    }


# The same for every architecture of compute capability 8.0 and later. Granules and the four sub-partitions:
# cuda_occupancy.h (cudaOccRegAllocationGranularity, cudaOccSMemAllocationGranularity,
# cudaOccSubPartitionsPerMultiprocessor). Reserve: arch_traits.h, reserved_shared_memory_per_block.
_REGISTER_GRANULE = 256  # registers, for each warp
_PARTITIONS = 4
_SHARED_GRANULE = 128
RESERVED_SHARED_BYTES = 1024
"""Shared memory that the driver takes from each block, bytes (compute capability 8.0 and later)."""
_CUDA_WARP = 32


@dataclass(frozen=True)
class HipLimits:
    """What one AMD compute unit holds."""

    lds_bytes: int
    """Local data share of a compute unit, bytes."""
    lds_granule: int
    """Bytes in which it is handed out."""


@cache
def hip_limits() -> dict[str, HipLimits]:
    """Architecture → limits, for every AMD architecture whose sheet has them."""
    return {
        name: HipLimits(lds_bytes=count(name, "lds_per_cu"), lds_granule=count(name, "lds_granule"))
        for name, sheet in architecture_sheets().items()
        if "lds_granule" in sheet.facts
    }


# The same for gfx942 and gfx950, from LLVM: getTotalNumVGPRs, getVGPRAllocGranule, getMaxWavesPerEU, getEUsPerCU.
_VECTOR_REGISTERS = 512  # per lane and SIMD; architected and accumulation registers share them
_VECTOR_GRANULE = 8
_WAVES_PER_SIMD = 8
_SIMDS = 4
_HIP_WAVE = 64

# When several bounds are equally tight, name the one that easing another would not lift.
_PREFERENCE = ("warps", "blocks", "shared memory", "registers")


def _tightest(blocks_by_limit: dict[str, int]) -> tuple[int, str]:
    least = min(blocks_by_limit.values())
    return least, next(name for name in _PREFERENCE if blocks_by_limit.get(name) == least)


def _round_up(value: int, granule: int) -> int:
    return -(-value // granule) * granule


def cuda_occupancy(architecture: str, registers: int, shared_bytes: int, threads_per_block: int) -> tuple[float, str]:
    """Share of a multiprocessor's warps that can be resident at once.

    Args:
        architecture: e.g. `sm_90`.
        registers: registers per thread.
        shared_bytes: static and dynamic shared memory per block, bytes, without the driver's own reserve.
        threads_per_block: threads per block.

    Returns:
        Occupancy from 0 (no block fits at all) to 1, and what bounds it.

    Raises:
        KeyError: no limits are known for the architecture.
    """
    limits = cuda_limits()[architecture]
    warps = -(-threads_per_block // _CUDA_WARP)
    shared = _round_up(shared_bytes + RESERVED_SHARED_BYTES, _SHARED_GRANULE)
    blocks = {
        "warps": limits.warps // warps,
        "blocks": limits.blocks,
        "shared memory": limits.shared_bytes // shared,
    }
    if registers:
        registers_per_warp = _round_up(registers * _CUDA_WARP, _REGISTER_GRANULE)
        # The launch check counts registers as if the warps were spread over all partitions.
        if registers_per_warp * _round_up(warps, _PARTITIONS) > limits.registers:
            blocks["registers"] = 0
        else:
            warps_per_partition = limits.registers // _PARTITIONS // registers_per_warp
            blocks["registers"] = warps_per_partition * _PARTITIONS // warps
    resident, limiter = _tightest(blocks)
    return resident * warps / limits.warps, limiter


def hip_waves_per_simd(registers: int, scalar_registers: int = 0) -> int:
    """Waves that one SIMD of a CDNA 3 or CDNA 4 compute unit holds, by registers alone.

    This is what LLVM prints as `; Occupancy:` for a kernel without statically sized LDS.

    Args:
        registers: vector registers per lane, architected and accumulation together.
        scalar_registers: scalar registers per wave.
    """
    by_vector = _VECTOR_REGISTERS // max(_round_up(registers, _VECTOR_GRANULE), _VECTOR_GRANULE)
    # LLVM getOccupancyWithNumSGPRs, generations before GFX10.
    by_scalar = _WAVES_PER_SIMD if scalar_registers <= 100 else 7
    return min(max(by_vector, 1), by_scalar, _WAVES_PER_SIMD)


def hip_occupancy(
    architecture: str, registers: int, shared_bytes: int, threads_per_block: int, scalar_registers: int = 0
) -> tuple[float, str]:
    """Share of a compute unit's waves that can be resident at once.

    Args:
        architecture: e.g. `gfx942`.
        registers: vector registers per lane, architected and accumulation together.
        shared_bytes: LDS per block, bytes.
        threads_per_block: threads per block.
        scalar_registers: scalar registers per wave.

    Returns:
        Occupancy from 0 (no block fits at all) to 1, and what bounds it.

    Raises:
        KeyError: no limits are known for the architecture.
    """
    limits = hip_limits()[architecture]
    waves = -(-threads_per_block // _HIP_WAVE)
    blocks = {
        "warps": _WAVES_PER_SIMD * _SIMDS // waves,
        "registers": hip_waves_per_simd(registers, scalar_registers) * _SIMDS // waves,
    }
    if shared_bytes:
        blocks["shared memory"] = limits.lds_bytes // _round_up(shared_bytes, limits.lds_granule)
    resident, limiter = _tightest(blocks)
    return resident * waves / (_WAVES_PER_SIMD * _SIMDS), limiter
