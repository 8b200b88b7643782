from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Collection, Mapping

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.order import Order, OrderState, Phase
from kernelevolve.search.prompt import Prompt
from kernelevolve.search.synthesizers import Assignment
from kernelevolve.search.synthesizers.mutator import Mutator

ORDER = Order(order_id="s.o1", search_id="s", number=1, phase=Phase.EXPAND, state=OrderState.OPEN)


def propose_all(
    *parents: Candidate,
    lines: tuple[tuple[str, ...], ...] = (),
    seed: int = 0,
    setbacks: Mapping[str, int] | None = None,
) -> list[str]:
    """Everything that is proposed from the same parents, in order."""
    tried, found = {parent.source_hash for parent in parents}, []

    def known(mutations: Collection[str]) -> Mapping[str, int]:
        return {name: count for name, count in (setbacks or {}).items() if name in mutations}

    def compose() -> Prompt:
        raise AssertionError("the mutator reads no prompt")

    while True:
        chance = random.Random(seed)
        proposal = Mutator().propose(Assignment(ORDER, parents, lines, tried.__contains__, known, chance, compose))
        if proposal is None:
            return found
        tried.add(Candidate(language=parents[0].language, source=proposal.source).source_hash)
        found.append(proposal.description)


def test_large_known_wins_come_first(row_sums: Candidate) -> None:
    assert propose_all(row_sums)[:4] == [
        "flags -O3 -march=native",
        "parallel for at loop 1 over r, schedule(static)",
        "flags -ffast-math -fno-finite-math-only",
        "omp simd reduction(+:sum) at loop 2 over c",
    ]


def test_loops_that_run_through_memory_in_leaps_are_interchanged_early(row_sums: Candidate) -> None:
    columns = (
        row_sums.source.split("  for")[0]
        + """\
  for (int64_t c = 0; c < cols; ++c)
    for (int64_t r = 0; r < rows; ++r) op[c] += xp[r * cols + c];
}
"""
    )

    proposed = propose_all(Candidate(language="cpp", source=columns))
    assert "interchange loop 1 over c and loop 2 over r" in proposed[2:5]


def test_everything_is_proposed_once_and_then_nothing(row_sums: Candidate) -> None:
    found = propose_all(row_sums)

    assert len(found) == len(set(found)) > 8


def test_chance_decides_only_between_equals_and_can_be_repeated(row_sums: Candidate) -> None:
    orders = [propose_all(row_sums, seed=seed) for seed in range(5)]

    assert orders[0] == propose_all(row_sums, seed=0)
    assert len({tuple(order) for order in orders}) > 1
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len({tuple(order[:4]) for order in orders}) == 1


def test_what_brought_nothing_before_comes_last(row_sums: Candidate) -> None:
    last = propose_all(row_sums, setbacks={"flags -O3 -march=native": 2, "flags -funroll-loops": 1})[-2:]

    assert last == ["flags -funroll-loops", "flags -O3 -march=native"]


def test_of_two_parents_the_first_gets_what_the_second_has(row_sums: Candidate) -> None:
    alone = propose_all(row_sums)
    wanted = alone[-2:]

    mixed = propose_all(row_sums, row_sums, lines=((), ("", *wanted)), setbacks=dict.fromkeys(wanted, 9))
    assert sorted(mixed[:2]) == sorted(wanted)
    assert sorted(mixed) == sorted(alone)


def test_other_languages_are_left_alone() -> None:
    assert propose_all(Candidate(language="cuda", source="__global__ void kernel() {}")) == []


def test_searching_needs_neither_torch_nor_triton() -> None:
    code = (
        "import sys, kernelevolve.search.driver, kernelevolve.search.report\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'triton')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
