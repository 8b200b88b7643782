"""Guards over what calls did on a GPU: each takes records of the driver's and says what is wrong, or None."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.intervals import covered
from kernelevolve.evaluation.judge.statistics import median
from kernelevolve.evaluation.verdict import Diagnosis

_SLACK_US = 1.0
"""How far apart the driver's time stamps of two kernels in order may lie the wrong way round, microseconds."""
_BUSY_SLACK_MS = 0.002
"""How much longer the kernels of a call may run under the profiler than the events around it say: what a kernel of a
few microseconds varies by. More would be twice the time of a small one."""
_MOSTLY = 0.5
"""Share of the device time from which on borrowed kernels are said, and looked at."""
_SHOWN = 6

WHOLE_WORK = "Do the whole work in every call."


@dataclass(frozen=True)
class Work:
    """One piece of device work: a kernel, a copy or a fill."""

    name: str
    stream: int
    begin_us: float
    end_us: float

    @property
    def is_kernel(self) -> bool:
        """Whether code ran, as opposed to a copy or a fill by the driver."""
        return not self.name.startswith(("Memcpy", "Memset"))

    @property
    def span(self) -> tuple[float, float]:
        """Beginning and end, microseconds."""
        return self.begin_us, self.end_us


@dataclass(frozen=True)
class Call:
    """The device work of one call, and the window between the markers around it on the measured stream."""

    work: tuple[Work, ...]
    begin_us: float
    end_us: float

    @property
    def names(self) -> list[str]:
        """What ran, sorted; one entry for each time."""
        return sorted(work.name for work in self.work)

    @property
    def busy_ms(self) -> float:
        """Time during which anything of it ran, milliseconds."""
        return covered(work.span for work in self.work) / 1e3


def dissect(records: object) -> Call:
    """Tell a call's work from the markers of `Recorder.record`.

    Raises:
        CandidateError: these are no records of one call, or the markers are not where they must be.
    """
    work = sorted(map(_work, records if isinstance(records, list) else [None]), key=lambda piece: piece.begin_us)
    marks = [piece for piece in work if piece.stream == work[0].stream]
    if len(marks) < 3 or not marks[0].name == marks[1].name == marks[-1].name:
        raise CandidateError(
            Finding.RESULT_FORGED,
            f"The markers around a call are missing from the driver's records: {_shown(piece.name for piece in work)}.",
            "Leave the profiler and the current stream alone.",
        )
    ours = {id(marks[0]), id(marks[1]), id(marks[-1])}
    theirs = tuple(piece for piece in work if id(piece) not in ours)
    return Call(theirs, marks[1].end_us, marks[-1].begin_us)


def _work(record: object) -> Work:
    match record:
        case [str(name), int(stream), int() | float() as begin, int() | float() as end] if begin <= end:
            return Work(name, stream, float(begin), float(end))
    raise CandidateError(Finding.RESULT_FORGED, f"The worker answered {str(record)[:80]} for a record of the driver's.")


def launches_nothing(calls: Sequence[Call]) -> Diagnosis | None:
    """Every call must run at least one kernel."""
    if all(any(work.is_kernel for work in call.work) for call in calls):
        return None
    return Diagnosis(finding=Finding.NO_DEVICE_WORK, summary="A timed call launched no kernel.", advice=WHOLE_WORK)


def kernels_change(calls: Sequence[Call]) -> Diagnosis | None:
    """Every call must run the same kernels, whether it has seen its inputs before or not."""
    first = Counter(calls[0].names)
    for number, call in enumerate(calls[1:], 2):
        names = Counter(call.names)
        if names == first:
            continue
        return Diagnosis(
            finding=Finding.KERNELS_CHANGE,
            summary=f"Calls launch different kernels: call 1 alone {_shown((first - names).elements()) or 'none'}, "
            f"call {number} alone {_shown((names - first).elements()) or 'none'}.",
            advice=WHOLE_WORK,
        )
    return None


def outlives_its_call(calls: Sequence[Call]) -> Diagnosis | None:
    """All work must lie between what the measured stream does before a call and what it does next."""
    for call in calls:
        late = [work.name for work in call.work if work.end_us > call.end_us + _SLACK_US]
        early = [work.name for work in call.work if work.begin_us < call.begin_us - _SLACK_US]
        if late or early:
            how = "not finished when the stream of the call goes on" if late else "begun before that stream comes to it"
            return Diagnosis(
                finding=Finding.CLOCK_DISAGREES,
                summary=f"A call's work is {how}: {_shown(late or early)}.",
                advice="Work on another stream must wait for the current one, and the current one for it "
                "(`side.wait_stream(current)`, at the end `current.wait_stream(side)`).",
            )
    return None


def busier_than_claimed(calls: Sequence[Call], claim_ms: float) -> Diagnosis | None:
    """The kernels of a call must not run longer than the events around it say.

    The calls seen here find a cold cache, like the timed ones, and events around kernels hold the gaps between them
    too. The median counts: one call may have been held up.
    """
    busy_ms = median([call.busy_ms for call in calls])
    if busy_ms <= 1.25 * claim_ms + _BUSY_SLACK_MS:
        return None
    return Diagnosis(
        finding=Finding.CLOCK_DISAGREES,
        summary=f"The candidate's calls take {claim_ms:.4g} ms between the events around them, but keep the "
        f"GPU for {busy_ms:.4g} ms.",
        advice="All work must happen in every call, on the current stream or ordered before what comes next.",
    )


_GLOBAL = re.compile(r"__global__([^;{}]*?)\b(\w+)\s*\(")
_BOUNDS = re.compile(r"__(?:launch_bounds|cluster_dims|maxnreg)__\s*\([^()]*(?:\([^()]*\)[^()]*)*\)")
_JIT = re.compile(r"@(?:\w+\.)*jit\b.*?\bdef\s+(\w+)", re.DOTALL)
_FOREIGN = re.compile(r"\b(?:at|c10|cutlass|cublas\w*|cudnn\w*|cub|thrust)::")


def own_kernels(candidate: Candidate, compiled: Iterable[str]) -> frozenset[str]:
    """Names of the kernels that a candidate brings: those its source defines, and those that were compiled from it."""
    source = _BOUNDS.sub("", candidate.source)
    defined = [name for _before, name in _GLOBAL.findall(source)] + _JIT.findall(source)
    return frozenset([*defined, *map(_plain, compiled)])


def _plain(name: str) -> str:
    """A kernel's name without its type, namespaces and arguments."""
    name = name.removeprefix("void ").split("(", 1)[0].split("<", 1)[0]
    return name.rsplit("::", 1)[-1].strip()


def is_own(name: str, own: frozenset[str]) -> bool:
    """Whether a kernel that ran is one of a candidate's own."""
    return _plain(name) in own and not _FOREIGN.search(name)


def own_share(call: Call, own: frozenset[str]) -> float:
    """Share of a call's kernel time that its candidate's own kernels take, 0 to 1."""
    total = sum(work.end_us - work.begin_us for work in call.work if work.is_kernel)
    mine = sum(work.end_us - work.begin_us for work in call.work if work.is_kernel and is_own(work.name, own))
    return mine / total if total > 0 else 0.0


def borrows(calls: Sequence[Call], own: frozenset[str], reference: Sequence[str]) -> Diagnosis | None:
    """The work must be done by the candidate's own kernels, not by torch, a library or the reference.

    Args:
        calls: of the candidate.
        own: see `own_kernels`.
        reference: what one call of the reference runs, one entry for each time.

    Copies and fills that torch does beside own kernels are no offence; a candidate most of whose time is spent in the
    very kernels that the reference runs has called it, whatever else it launches.
    """
    call = calls[0]
    foreign = [work.name for work in call.work if work.is_kernel and not is_own(work.name, own)]
    advice = "Let kernels of the candidate's own do the work; torch may allocate, copy and reshape."
    if not any(work.is_kernel and is_own(work.name, own) for work in call.work):
        return Diagnosis(
            finding=Finding.BORROWED_KERNELS,
            summary=f"None of the kernels that a call runs is the candidate's own: {_shown(foreign)}.",
            advice=advice,
        )
    theirs = Counter(name for name in reference if not name.startswith(("Memcpy", "Memset")))
    if theirs and own_share(call, own) < _MOSTLY and not theirs - Counter(foreign):
        return Diagnosis(
            finding=Finding.BORROWED_KERNELS,
            summary=f"A call runs every kernel that the reference runs, and spends {1 - own_share(call, own):.0%} of "
            f"its time in kernels that are not the candidate's own: {_shown(foreign)}.",
            advice=advice,
        )
    return None


def brings_little(calls: Sequence[Call], own: frozenset[str]) -> Diagnosis | None:
    """Most of the time of a native candidate's calls must be spent in kernels that were compiled from its source.

    Nothing of a library is linked to it, so kernels of others run only if it went and looked for a library in its
    process. Templates of a library that its source includes are compiled from it, and count as brought.

    Args:
        calls: of a candidate in CUDA or HIP C++.
        own: see `own_kernels`.
    """
    call = calls[0]
    foreign = [work for work in call.work if work.is_kernel and _plain(work.name) not in own]
    kernels_us = sum(work.end_us - work.begin_us for work in call.work if work.is_kernel)
    foreign_us = sum(work.end_us - work.begin_us for work in foreign)
    if not foreign or foreign_us < _MOSTLY * kernels_us:
        return None
    return Diagnosis(
        finding=Finding.BORROWED_KERNELS,
        summary=f"{foreign_us / kernels_us if kernels_us else 1:.0%} of a call's time goes to kernels that the source "
        f"does not bring: {_shown(work.name for work in foreign)}.",
        advice="Write the kernels into the source, or include the templates that make them.",
    )


def borrowing_note(call: Call, own: frozenset[str]) -> str:
    """What a reader should know of a candidate whose own kernels take less than half of the time; else empty."""
    share = own_share(call, own)
    if share >= _MOSTLY:
        return ""
    foreign = (work.name for work in call.work if work.is_kernel and not is_own(work.name, own))
    return f"{1 - share:.0%} of a call's device time is not in kernels of the candidate's own: {_shown(foreign)}"


def _shown(names: Iterable[str]) -> str:
    """A few names, each once, shortened."""
    found = list(dict.fromkeys(name if len(name) <= 80 else name[:77] + "..." for name in names))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
