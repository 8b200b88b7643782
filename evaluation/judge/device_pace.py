"""Guards over how long calls keep a GPU: known inputs against new ones, and the stream against what was said of it.

Both take records of calls on new inputs whose answers are compared, so that the whole work had to be done in them. The
median of these counts: one of them may have been held up, and one may have been left undone.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.device_activity import WHOLE_WORK, Call
from kernelevolve.evaluation.judge.statistics import median
from kernelevolve.evaluation.verdict import Diagnosis

_LONGER = 1.25
"""How much longer kernels may run on new inputs, relatively: those of one distribution give them the same work, and all
these calls find a cold cache."""
_LONGER_US = 2.0
"""And absolutely, microseconds: what a kernel of a few of them varies by."""
_HELD = 2.0
"""How much longer than stated the stream may be kept: the profiler makes every launch dearer, which shows in calls that
wait for the device in between."""
_HELD_MS = 0.1
"""And absolutely, for one such wait."""


def reuses(known: Sequence[Call], new: Sequence[Call]) -> Diagnosis | None:
    """The kernels of a call must not be done sooner because the inputs were seen before.

    Names tell nothing where one kernel looks up, on the device, whether the answer is there already.

    Args:
        known: calls on inputs that the candidate was timed with.
        new: calls on inputs that it had not seen, of the same case.
    """
    known_us, new_us = max(call.busy_ms for call in known) * 1e3, median([call.busy_ms for call in new]) * 1e3
    if new_us <= _LONGER * known_us + _LONGER_US:
        return None
    return Diagnosis(
        finding=Finding.ANSWER_REUSED,
        summary=f"The kernels of a call run for {new_us:.4g} us on new inputs, but for {known_us:.4g} us on inputs "
        "seen before.",
        advice="Keep no answers, and write every output anew: do the whole work in every call.",
    )


def holds_the_stream(new: Sequence[Call], claim_ms: float) -> Diagnosis | None:
    """The measured stream must not be kept for much longer than a call is said to take, whatever the records name.

    Between the markers around a call lies all that the stream had to wait for, work that was kept from the profiler
    included.

    Args:
        new: calls on inputs that the candidate had not seen.
        claim_ms: what it says of a call, milliseconds.
    """
    held_ms = median([(call.end_us - call.begin_us) / 1e3 for call in new])
    if held_ms <= _HELD * claim_ms + _HELD_MS:
        return None
    named_ms = median([call.busy_ms for call in new])
    return Diagnosis(
        finding=Finding.CLOCK_DISAGREES,
        summary=f"The candidate's calls take {claim_ms:.4g} ms between the events around them, but keep the stream for "
        f"{held_ms:.4g} ms on new inputs, of which the profiler saw kernels run for {named_ms:.4g} ms.",
        advice=f"{WHOLE_WORK} Leave the profiler alone.",
    )
