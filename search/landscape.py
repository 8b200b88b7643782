"""A made-up task with a known optimum, judged at once: to compare policies and to time the engine without a device.

A candidate is a text of knobs, `knob_3 = 2`. Knobs come in pairs; each pair has a best setting, which pays in full, and
a decoy, which pays for each of its halves alone (a concatenated trap function, Deb and Goldberg, 1993). Who only ever
takes the next improvement ends in the decoys. One setting of each knob breaks the candidate.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import STATUS_OF, Finding, Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.receipt import Receipt
from kernelevolve.evaluation.verdict import (
    CaseTiming,
    Diagnosis,
    Interval,
    PlatformVerdict,
    SpeedSummary,
    Verdict,
)
from kernelevolve.search.synthesizers import Assignment
from kernelevolve.search.synthesizers.mock import Mock

_KNOB = re.compile(r"^knob_(\d+) = (\d+)$", re.MULTILINE)
_FULL = 0.6
"""Logarithm of the speed-up that the best setting of a pair brings."""
_HALF_DECOY = 0.2
"""The same for each half of a decoy."""
_SPREAD = 0.005
"""Half the relative width of the intervals of its verdicts."""


@dataclass(frozen=True)
class Landscape:
    """One made-up task.

    Args:
        seed: decides where the best settings, the decoys and the broken settings lie.
        pairs: pairs of knobs.
        settings: settings of each knob; 0 is where the start is.
    """

    seed: int
    pairs: int = 4
    settings: int = 6
    _roles: tuple[tuple[int, int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        chance = random.Random(f"landscape:{self.seed}")
        roles = tuple(
            tuple(chance.sample(range(1, self.settings), 3))  # best, decoy, broken
            for _ in range(2 * self.pairs)
        )
        object.__setattr__(self, "_roles", roles)

    @property
    def start(self) -> Candidate:
        """The candidate with every knob at 0."""
        return self.candidate([0] * (2 * self.pairs))

    @property
    def optimum(self) -> float:
        """The largest speed-up there is."""
        return math.exp(_FULL)

    @staticmethod
    def candidate(knobs: list[int]) -> Candidate:
        """The candidate with these settings."""
        source = "".join(f"knob_{number} = {knob}\n" for number, knob in enumerate(knobs))
        return Candidate(language="triton", source=source, name="knobs.py")

    def knobs(self, source: str) -> list[int]:
        """The settings of a candidate."""
        found = {int(number): int(value) for number, value in _KNOB.findall(source)}
        return [found.get(number, 0) for number in range(2 * self.pairs)]

    def gains(self, knobs: list[int]) -> list[float] | None:
        """Logarithm of the speed-up in each case, one for each pair; None for a broken candidate."""
        if any(knob == role[2] for knob, role in zip(knobs, self._roles, strict=True)):
            return None
        gains = []
        for pair in range(self.pairs):
            mine, roles = knobs[2 * pair : 2 * pair + 2], self._roles[2 * pair : 2 * pair + 2]
            if all(knob == role[0] for knob, role in zip(mine, roles, strict=True)):
                gains.append(_FULL)
            else:
                gains.append(_HALF_DECOY * sum(knob == role[1] for knob, role in zip(mine, roles, strict=True)))
        return gains

    def speedup(self, source: str) -> float:
        """The speed-up of a candidate; 0 for a broken one."""
        gains = self.gains(self.knobs(source))
        return 0.0 if gains is None else math.exp(sum(gains) / len(gains))

    def judge(self, request: JudgeRequest, progress: Callable[[str, float], None] | None = None) -> Verdict:
        """Answer as the judge would; see `CanJudge`."""
        candidate, platform = request.candidate, request.platforms[0]
        gains = self.gains(self.knobs(candidate.source))
        if gains is None:
            found = Finding.WRONG_VALUES
            diagnosis = Diagnosis(finding=found, summary="A knob is at a setting that breaks the candidate.")
            entry = PlatformVerdict(
                platform=platform, status=STATUS_OF[found], level=Level.SIMULATED, diagnosis=diagnosis
            )
        else:
            timings = [
                _timing(f"pair {pair}", baseline, math.exp(gain))
                for baseline in request.baselines
                for pair, gain in enumerate(gains)
            ]
            speeds = tuple(
                SpeedSummary.of([timing for timing in timings if timing.baseline == baseline], 0.01)
                for baseline in request.baselines
            )
            entry = PlatformVerdict(
                platform=platform, status=Status.CORRECT, level=Level.SIMULATED, timings=tuple(timings), speeds=speeds
            )
        return Verdict(
            task="landscape",
            candidate=candidate.name,
            language=candidate.language,
            source_hash=candidate.source_hash,
            status=entry.status,
            platforms=(entry,),
            receipt=_receipt(self.seed, candidate.source_hash),
        )

    def author(self) -> Mock:
        """An author that turns one knob of the parent, sometimes two; of two parents it takes each pair from one."""
        return Mock(self._write)

    def _write(self, assignment: Assignment) -> tuple[str, str]:
        chance = assignment.randomness
        knobs = self.knobs(assignment.parents[0].source)
        words = []
        if len(assignment.parents) > 1:
            other = self.knobs(assignment.parents[1].source)
            for pair in range(self.pairs):
                if chance.random() < 0.5:
                    knobs[2 * pair : 2 * pair + 2] = other[2 * pair : 2 * pair + 2]
            words.append("combined")
        for number in chance.sample(range(len(knobs)), 2 if chance.random() < 0.2 else 1):
            knobs[number] = chance.choice([value for value in range(self.settings) if value != knobs[number]])
            words.append(f"knob {number} to {knobs[number]}")
        return self.candidate(knobs).source, ", ".join(words)


def _timing(case: str, baseline: str, speedup: float) -> CaseTiming:
    interval = Interval(
        speedup=speedup,
        low=speedup * (1 - _SPREAD),
        high=speedup * (1 + _SPREAD),
        confidence=0.95,
        rounds=10,
    )
    return CaseTiming(
        case=case, baseline=baseline, weight=1.0, candidate_ms=1.0 / speedup, baseline_ms=1.0, interval=interval,
        speed=interval.verdict(0.01), calls=10,
    )  # fmt: skip


def _receipt(seed: int, source_hash: str) -> Receipt:
    blank = "0" * 64
    return Receipt(
        made="", harness_version="landscape", harness_hash=blank, task_hash=f"{seed:064x}", source_hash=source_hash,
        verdict_hash=blank, machine={}, devices={}, libraries={}, protection=(), seed_commitment=blank, samples={},
        previous=blank,
    ).sealed()  # fmt: skip
