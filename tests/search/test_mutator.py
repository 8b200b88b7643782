from __future__ import annotations

import random
import subprocess
import sys

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.synthesizers.mutator import Mutator


def propose_all(parent: Candidate, seed: int = 0, setbacks: dict[str, int] | None = None) -> list[str]:
    """Everything that is proposed from one parent, in order."""
    tried, found = {parent.source_hash}, []
    while (mutation := Mutator().propose(parent, tried, setbacks or {}, random.Random(seed))) is not None:
        tried.add(Candidate(language=parent.language, source=mutation.source).source_hash)
        found.append(mutation.description)
    return found


def test_large_known_wins_come_first(row_sums: Candidate) -> None:
    assert propose_all(row_sums)[:4] == [
        "flags -O3 -march=native",
        "parallel for at loop 1 over r, schedule(static)",
        "flags -ffast-math -fno-finite-math-only",
        "omp simd reduction(+:sum) at loop 2 over c",
    ]


def test_everything_is_proposed_once_and_then_nothing(row_sums: Candidate) -> None:
    found = propose_all(row_sums)

    assert len(found) == len(set(found)) > 8


def test_chance_decides_only_between_equals_and_can_be_repeated(row_sums: Candidate) -> None:
    orders = [propose_all(row_sums, seed) for seed in range(5)]

    assert orders[0] == propose_all(row_sums, 0)
    assert len({tuple(order) for order in orders}) > 1
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len({tuple(order[:4]) for order in orders}) == 1


def test_what_brought_nothing_before_comes_last(row_sums: Candidate) -> None:
    last = propose_all(row_sums, setbacks={"flags -O3 -march=native": 2, "flags -funroll-loops": 1})[-2:]

    assert last == ["flags -funroll-loops", "flags -O3 -march=native"]


def test_other_languages_are_left_alone() -> None:
    assert propose_all(Candidate(language="cuda", source="__global__ void kernel() {}")) == []


def test_searching_needs_neither_torch_nor_triton() -> None:
    code = (
        "import sys, kernelevolve.search.engine, kernelevolve.search.report\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'triton')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
