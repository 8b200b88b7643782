"""The judge's own clock around a candidate's calls: what the worker says of its times must fit what is seen here."""

from __future__ import annotations

from collections.abc import Callable

_LENGTHS_MS = (60.0, 30.0, 15.0, 8.0, *(4.0,) * 20)
"""How long each try lasts, by the worker's word. On a busy machine a short one is likelier to run undisturbed."""
_FEWEST, _MOST = 4, 2000
_SLACK_MS = {"cpu": 0.05, "cuda": 0.2}
"""What one call may take more than the stopwatch in the worker sees: the loop around it, and on a GPU its launch."""
_FACTOR = 1.5
"""How much longer a call may look from outside: clocks rise and fall."""


def seen_from_outside(burst_ms: Callable[[int], float], claim_ms: float, kind: str) -> tuple[bool, float]:
    """Whether bursts of calls, timed here, can be what the worker claims.

    Every disturbance makes a burst longer, never shorter, so one that is short enough settles it, and a claim that is
    too small is never confirmed by chance. (The difference of two bursts could be: the shorter one may be disturbed.)

    Args:
        burst_ms: makes that many calls one after another and says how long it took here, milliseconds.
        claim_ms: what the worker says of one call, milliseconds.
        kind: `cpu` or `cuda`.

    Returns:
        Whether the claim fits, and the shortest time of one call that was seen, milliseconds.
    """
    allowed_ms = _FACTOR * claim_ms + _SLACK_MS[kind]
    shortest_ms = float("inf")
    for length_ms in _LENGTHS_MS:
        count = max(_FEWEST, min(_MOST, int(length_ms / max(claim_ms, 1e-3))))
        shortest_ms = min(shortest_ms, burst_ms(count) / count)
        if shortest_ms <= allowed_ms:
            return True, shortest_ms
    return False, shortest_ms
