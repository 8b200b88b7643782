"""The synthesizer without a model: changes to the parent's source that keep its meaning, largest known wins first."""

from __future__ import annotations

from collections.abc import Callable

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.synthesizers import Assignment, Proposal
from kernelevolve.search.synthesizers.cpp_edits import cpp_edits
from kernelevolve.search.synthesizers.edit import Edit
from kernelevolve.search.synthesizers.triton_edits import triton_edits

_EDITS: dict[str, Callable[[str], list[Edit]]] = {"cpp": cpp_edits, "triton": triton_edits}


class Mutator:
    """Proposes one small change at a time; combinations arise because the next parent is the best so far.

    Of two parents, it gives the first what the second has and the first has not.
    """

    name = "mutator"
    reads_prompt = False

    def propose(self, assignment: Assignment) -> Proposal | None:
        """See `Synthesizer.propose`. Changes that brought nothing before come last; chance only orders equals."""
        parent = assignment.parents[0]
        edits_of = _EDITS.get(parent.language)
        if edits_of is None:
            return None
        edits = edits_of(parent.source)
        setbacks = assignment.setbacks([edit.description for edit in edits])
        wanted = set(assignment.lines[1]) if len(assignment.lines) > 1 else set()
        order = sorted(
            edits,
            key=lambda edit: (
                edit.description not in wanted,
                setbacks.get(edit.description, 0),
                edit.rank,
                assignment.randomness.random(),
            ),
        )
        for edit in order:
            source = edit.apply(parent.source)
            if not assignment.has_source(Candidate(language=parent.language, source=source).source_hash):
                return Proposal(source=source, description=edit.description)
        return None
