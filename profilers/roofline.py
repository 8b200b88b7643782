"""Where each case lies under the roofline, by the spec sheet and by ceilings measured on the device.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures", CACM
52(4), 2009: a kernel takes at least its bytes over the bandwidth and its operations over the rate, whichever is more.
"""

from __future__ import annotations

from kernelevolve.evaluation.platform import Quantity, SpecSheet
from kernelevolve.evaluation.verdict import CaseTiming
from kernelevolve.profilers.ceilings import Ceilings
from kernelevolve.profilers.report import Ceiling, RooflinePoint

_RATE_OF = {"float32": ("tf32", "float32")}
"""dtype → units that could serve it, best first: an fp32 task may use TF32 where its tolerance allows."""


def roofline_point(timing: CaseTiming, dtype: str, sheet: SpecSheet, measured: Ceilings | None) -> RooflinePoint | None:
    """Place one timed case.

    Args:
        timing: the judge's times of the case.
        dtype: dtype of the case's inputs.
        sheet: the chip's numbers.
        measured: what this device was seen to reach, if it was measured.

    Returns:
        The point; None where the bytes are not known, or no ceiling is.
    """
    of_sheet = _ceilings(sheet.memory_bandwidth, {k: v.value for k, v in sheet.peak_flops.items()}, dtype)
    of_device = _ceilings(measured.bandwidth, measured.rates, dtype) if measured else []
    known = of_sheet or of_device
    if timing.moved_bytes is None or not known:
        return None
    time_s = timing.candidate_ms * 1e-3
    memory_s, compute_s = _least(known, timing.moved_bytes, timing.flops)

    def share(ceilings: list[Ceiling]) -> float | None:
        return max(_least(ceilings, timing.moved_bytes or 0.0, timing.flops)) / time_s if ceilings else None

    return RooflinePoint(
        case=timing.case,
        dtype=dtype,
        time_s=time_s,
        bytes=timing.moved_bytes,
        bytes_source=timing.moved_bytes_source,
        flops=timing.flops,
        intensity=timing.flops / timing.moved_bytes if timing.flops and timing.moved_bytes else None,
        ceilings=(*of_sheet, *of_device),
        bound="compute" if compute_s > memory_s else "memory",
        share_of_sheet=share(of_sheet),
        share_of_measured=share(of_device),
    )


def _ceilings(bandwidth: Quantity | float | None, rates: dict[str, float], dtype: str) -> list[Ceiling]:
    if bandwidth is None:
        return []
    source, value = ("measured", bandwidth) if isinstance(bandwidth, float) else ("spec sheet", bandwidth.value)
    found = [Ceiling(kind="bandwidth", value=value, name="device memory", source=source)]
    for name in _RATE_OF.get(dtype, (dtype,)):
        if name in rates:
            found.append(Ceiling(kind="rate", value=rates[name], name=f"{name} matrix products", source=source))
            break
    return found


def _least(ceilings: list[Ceiling], moved_bytes: float, flops: float | None) -> tuple[float, float]:
    """Seconds that the bytes and the operations need at least."""
    bandwidth = next(entry.value for entry in ceilings if entry.kind == "bandwidth")
    rate = next((entry.value for entry in ceilings if entry.kind == "rate"), None)
    return moved_bytes / bandwidth, flops / rate if flops and rate else 0.0
