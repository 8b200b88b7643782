"""When a search ends."""

from __future__ import annotations

from kernelevolve.evaluation.finding import Status
from kernelevolve.search.node import StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.view import SearchView

_HARNESS_ERRORS = 3
"""Failures of the judge in a row after which going on would only burn the budget."""


def reason_to_stop(view: SearchView, options: OptimizeOptions, elapsed_s: float) -> StopReason | None:
    """Why no further candidate should be judged, or None.

    Args:
        view: the search so far, its starting points judged.
        options: the budget and the goal.
        elapsed_s: seconds since the search began or was resumed.
    """
    if view.best is None:
        return _why_no_start(view)
    if options.target_speedup is not None and view.best.score.speedup >= options.target_speedup:
        return StopReason.TARGET
    last = [node.status for node in view.nodes[-_HARNESS_ERRORS:]]
    if last == [Status.HARNESS_ERROR] * _HARNESS_ERRORS:
        return StopReason.HARNESS_ERROR
    if len(view.nodes) >= options.evaluations:
        return StopReason.EVALUATIONS
    if options.wall_clock_s is not None and elapsed_s >= options.wall_clock_s:
        return StopReason.WALL_CLOCK
    if options.stall is not None and view.stalled >= options.stall:
        return StopReason.STALL
    return None


def _why_no_start(view: SearchView) -> StopReason:
    statuses = {node.status for node in view.nodes if not node.refuted}
    if Status.CORRECT in statuses:
        return StopReason.NOT_TIMED
    if statuses == {Status.HARNESS_ERROR}:
        return StopReason.HARNESS_ERROR
    return StopReason.NO_CORRECT_START
