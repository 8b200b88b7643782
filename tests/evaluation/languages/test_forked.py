from __future__ import annotations

import os

from kernelevolve.evaluation.errors import CandidateError, PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.languages.forked import Failure, in_children


def raise_candidate_error() -> None:
    raise CandidateError(Finding.COMPILER_ERROR, "refused", "fix it", log="line 3")


def test_results_come_back_in_order():
    assert in_children([lambda number=number: number**2 for number in range(5)]) == [0, 1, 4, 9, 16]


def test_errors_come_back_whole():
    [failure] = in_children([raise_candidate_error])

    error = failure.error()
    assert isinstance(error, CandidateError)
    assert (error.finding, error.summary, error.advice, error.log) == (
        Finding.COMPILER_ERROR, "refused", "fix it", "line 3",
    )  # fmt: skip


def test_an_unforeseen_error_is_not_the_candidates():
    [failure] = in_children([lambda: 1 / 0])

    assert isinstance(failure.error(), PlatformError)
    assert "ZeroDivisionError" in failure.summary


def test_a_child_that_dies_is_noticed():
    outcomes = in_children([lambda: os._exit(3), lambda: "fine"])

    assert isinstance(outcomes[0], Failure)
    assert outcomes[1] == "fine"
