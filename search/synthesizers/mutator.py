"""The synthesizer without a model: changes to the parent's source that keep its meaning, largest known wins first."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.synthesizers import Mutation
from kernelevolve.search.synthesizers.cpp_edits import cpp_edits
from kernelevolve.search.synthesizers.edit import Edit
from kernelevolve.search.synthesizers.triton_edits import triton_edits

_EDITS: dict[str, Callable[[str], list[Edit]]] = {"cpp": cpp_edits, "triton": triton_edits}


class Mutator:
    """Proposes one small change at a time; combinations arise because the next parent is the best so far."""

    name = "mutator"

    def propose(
        self,
        parent: Candidate,
        tried: Collection[str],
        setbacks: Mapping[str, int],
        randomness: random.Random,
    ) -> Mutation | None:
        """See `Synthesizer.propose`. Changes that brought nothing before come last; chance only orders equals."""
        edits_of = _EDITS.get(parent.language)
        if edits_of is None:
            return None
        edits = edits_of(parent.source)
        order = sorted(edits, key=lambda edit: (setbacks.get(edit.description, 0), edit.rank, randomness.random()))
        for edit in order:
            source = edit.apply(parent.source)
            if Candidate(language=parent.language, source=source).source_hash not in tried:
                return Mutation(source, edit.description)
        return None
