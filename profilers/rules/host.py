"""Launches, waits and copies: what the timeline says of the whole candidate."""

from __future__ import annotations

from collections.abc import Iterator

from kernelevolve.profilers.report import Bottleneck, ProfileReport
from kernelevolve.profilers.report import BottleneckKind as Kind
from kernelevolve.profilers.rules.view import found, seen


def host_rules(report: ProfileReport) -> Iterator[Bottleneck]:
    """What the timeline says about launches, waits and copies; from the code alone, how many launches there are."""
    timeline = report.timeline
    if timeline is None:
        yield from _many_launches(report)
        return
    span = timeline.busy_us + timeline.gaps_us
    if span <= 0:
        return
    gaps = timeline.gaps_us / span
    if timeline.synchronizations >= 1 and gaps > 0.05:
        yield found(
            None, Kind.HOST_SYNCHRONIZATION, gaps,
            f"The host waits for the device {timeline.synchronizations:.0f} times in one run; the device then idles "
            f"for {timeline.gaps_us:.0f} of {span:.0f} µs.",
            "Keep values on the device: no .item(), .cpu(), torch.cuda.synchronize() or data-dependent Python branches "
            "between launches.",
            seen("synchronizations", timeline.synchronizations, 0, "timeline"),
            seen("gap_share", gaps, 0.05, "timeline"),
        )  # fmt: skip
    elif timeline.launches >= 3 and gaps > 0.1:
        mean_us = timeline.busy_us / timeline.launches
        yield found(
            None, Kind.LAUNCH_BOUND, gaps,
            f"{timeline.launches:.0f} launches of {mean_us:.1f} µs each; the device idles between them for "
            f"{timeline.gaps_us:.0f} of {span:.0f} µs.",
            "Fuse the kernels into one, or let one persistent kernel loop over the steps; capture the launches in a "
            "CUDA graph where that is not possible.",
            seen("launches", timeline.launches, 3, "timeline"),
            seen("gap_share", gaps, 0.1, "timeline"),
        )  # fmt: skip
    copies = timeline.copy_us / span
    if timeline.host_copies >= 1 and copies > 0.05 and not timeline.device_copies:
        yield found(
            None, Kind.HOST_COPIES, copies,
            f"{timeline.host_copies:.0f} copies between host and device in one run.",
            "Make constants once, on the device; keep intermediate values there.",
            seen("host_copies", timeline.host_copies, 0, "timeline"),
            seen("copy_share", copies, 0.05, "timeline"),
        )  # fmt: skip
    elif timeline.device_copies >= 1 and copies > 0.05:
        yield found(
            None, Kind.LAYOUT_CONVERSION, copies,
            f"{timeline.device_copies:.0f} kernels only move or convert data and take {timeline.copy_us:.0f} of "
            f"{span:.0f} µs: {', '.join(name[:60] for name in timeline.conversions[:2])}.",
            "Read the input in the layout in which it lies: pass its strides to the kernel in place of contiguous(), "
            "transpose or cast while loading, and write the output in its final layout.",
            seen("device_copies", timeline.device_copies, 0, "timeline"),
            seen("copy_share", copies, 0.05, "timeline"),
        )  # fmt: skip


def _many_launches(report: ProfileReport) -> Iterator[Bottleneck]:
    launches = sum(code.calls for code in report.static)
    if launches >= 8:
        # A launch costs the device a few microseconds, which is what so small a piece of work takes too.
        yield found(
            None, Kind.LAUNCH_BOUND, launches / (launches + 8.0),
            f"One run makes {launches} launches.",
            "Fuse the kernels into one, or let one persistent kernel loop over the steps.",
            seen("launches", launches, 8, "static"),
        )  # fmt: skip
