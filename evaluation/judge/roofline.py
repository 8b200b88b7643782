"""The roofline floor: no kernel is faster than the hardware moves its bytes and does its operations."""

from __future__ import annotations

from kernelevolve.evaluation.platform import SpecSheet

SLACK = 0.9
"""Below this share of the floor a time is refused. Clocks above the sheet's and bytes left in caches need some room."""


def floor_ms(sheet: SpecSheet, dtype: str, moved_bytes: float, flops: float | None) -> float | None:
    """Least time of one call with a cold cache (Williams, Waterman and Patterson 2009).

    Args:
        sheet: the chip.
        dtype: dtype whose peak rate applies.
        moved_bytes: bytes that must cross device memory.
        flops: operations that must be done, if the task says.

    Returns:
        Milliseconds; None where the sheet has no bandwidth.
    """
    if sheet.memory_bandwidth is None:
        return None
    cache = sheet.last_level_cache.value if sheet.last_level_cache else 0.0
    # Writes may still lie in the last-level cache when the clock stops.
    seconds = max(0.0, moved_bytes - cache) / sheet.memory_bandwidth.value
    peak = _peak(sheet, dtype)
    if flops and peak:
        seconds = max(seconds, flops / peak)
    return seconds * 1e3


def _peak(sheet: SpecSheet, dtype: str) -> float | None:
    """The highest rate that could serve a dtype: an fp32 task may use fp32 or split tf32, so the larger of them."""
    names = {"float32": ("float32", "tf32"), "float64": ("float64",)}.get(dtype, (dtype,))
    rates = [sheet.peak_flops[name].value for name in names if name in sheet.peak_flops]
    return max(rates, default=None)
