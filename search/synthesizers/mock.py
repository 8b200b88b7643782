"""A deterministic author for tests and for comparing policies: it changes one line of the parent by rule."""

from __future__ import annotations

from collections.abc import Callable

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.synthesizers import Assignment, Proposal

_TRIES = 64


class Mock:
    """Calls a function for each candidate.

    Args:
        write: from an assignment to source and description. It draws all chance from `assignment.randomness`, and is
            asked again while the search has its source already.
    """

    name = "mock"
    reads_prompt = False

    def __init__(self, write: Callable[[Assignment], tuple[str, str]]) -> None:
        self._write = write

    def propose(self, assignment: Assignment) -> Proposal | None:
        """See `Synthesizer.propose`; None once it has come up with nothing new several times."""
        language = assignment.parents[0].language
        for _ in range(_TRIES):
            source, description = self._write(assignment)
            if not assignment.has_source(Candidate(language=language, source=source).source_hash):
                return Proposal(source=source, description=description)
        return None
