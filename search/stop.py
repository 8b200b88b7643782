"""When a search ends."""

from __future__ import annotations

from collections.abc import Sequence

from kernelevolve.evaluation.finding import Status
from kernelevolve.search.node import Node, SearchRecord, StopReason

_HARNESS_ERRORS = 3
"""Failures of the judge in a row after which going on would only burn the budget."""
_AUTHOR_FAILURES = 5
"""Orders in a row that led to nothing, after which the author is not asked again."""


def reason_to_stop(
    search: SearchRecord, leader: Node | None, elapsed_s: float, starts: Sequence[Status], mends: bool
) -> StopReason | None:
    """Why no further candidate should be asked for, or None.

    Args:
        search: the search, its starting points judged.
        leader: its leading node.
        elapsed_s: seconds since it began or was resumed.
        starts: what was found of the starting points; needed only where nothing leads.
        mends: whether the author can make a wrong candidate right.
    """
    reason = _why_no_start(starts, mends) if leader is None else _why_good_enough(search, leader)
    return reason or _why_exhausted(search, elapsed_s)


def _why_good_enough(search: SearchRecord, leader: Node) -> StopReason | None:
    options = search.options
    if options.target_speedup is not None and leader.score.speedup >= options.target_speedup:
        return StopReason.TARGET
    if options.roofline_share is not None and (leader.roofline_share or 0.0) >= options.roofline_share:
        return StopReason.ROOFLINE
    return None


def _why_exhausted(search: SearchRecord, elapsed_s: float) -> StopReason | None:
    options = search.options
    if search.harness_errors >= _HARNESS_ERRORS:
        return StopReason.HARNESS_ERROR
    # Of assistants there may be several, and each sees what became of its own.
    if search.author_failures >= _AUTHOR_FAILURES and search.synthesizer != "assistant":
        return StopReason.AUTHOR_FAILED
    if search.step + 1 >= options.evaluations:
        return StopReason.EVALUATIONS
    if options.wall_clock_s is not None and elapsed_s >= options.wall_clock_s:
        return StopReason.WALL_CLOCK
    if options.tokens is not None and search.input_tokens + search.output_tokens >= options.tokens:
        return StopReason.TOKENS
    if options.usd is not None and search.usd >= options.usd:
        return StopReason.MONEY
    if options.stall is not None and search.stalled >= options.stall:
        return StopReason.STALL
    return None


def _why_no_start(starts: Sequence[Status], mends: bool) -> StopReason | None:
    if Status.CORRECT in starts:
        return StopReason.NOT_TIMED
    if starts and set(starts) == {Status.HARNESS_ERROR}:
        return StopReason.HARNESS_ERROR
    return None if mends else StopReason.NO_CORRECT_START
