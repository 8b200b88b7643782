"""A guard over how long calls keep a GPU: known inputs against new ones.

It takes records of calls on new inputs whose answers are compared, so that the whole work had to be done in them. The
median of these counts: one of them may have been held up, and one may have been left undone. How long the *stream* is
kept says nothing: where the host is slow to launch, honest calls keep it for several times what their kernels take.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.device_activity import Call
from kernelevolve.evaluation.judge.statistics import median
from kernelevolve.evaluation.verdict import Diagnosis

_LONGER = 1.25
"""How much longer kernels may run on new inputs, relatively: those of one distribution give them the same work, and all
these calls find a cold cache."""
_LONGER_US = 2.0
"""And absolutely, microseconds: what a kernel of a few of them varies by."""


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
