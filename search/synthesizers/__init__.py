"""Who writes the next candidate: each synthesizer is one file."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from kernelevolve.evaluation.candidate import Candidate


@dataclass(frozen=True)
class Mutation:
    """A proposed next source."""

    source: str
    """The whole source text."""
    description: str
    """What was changed, in a few words; the same words for the same change in every source of a search."""


class Synthesizer(Protocol):
    """Proposes candidates. It is told what was tried, never decides what is good."""

    name: str

    def propose(
        self,
        parent: Candidate,
        tried: Collection[str],
        setbacks: Mapping[str, int],
        randomness: random.Random,
    ) -> Mutation | None:
        """Derive one new source from a parent.

        Args:
            parent: the candidate to start from.
            tried: `Candidate.source_hash` of every source of this search.
            setbacks: description of a change → how often it was tried in this search without gain.
            randomness: the only source of chance, so that a search can be repeated.

        Returns:
            A source that was not tried, or None when nothing is left to try from this parent.
        """
        ...
