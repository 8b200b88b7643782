"""Who writes the next candidate: each synthesizer is one file."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.search.order import Order
from kernelevolve.search.prompt import Prompt


class Cost(Contract):
    """What writing a candidate took."""

    input_tokens: int = 0
    """Tokens sent to a model."""
    output_tokens: int = 0
    """Tokens it answered with."""
    usd: float = 0.0
    """Money, US dollars, by the prices that were configured."""


class Proposal(Contract):
    """A proposed next candidate."""

    source: str
    """The whole source text."""
    description: str
    """What was changed, in a few words; the mutator uses the same words for the same change in every source."""
    language: str | None = None
    """Name of the language, where it is not the first parent's."""
    cost: Cost = Cost()
    """What it took."""


class SynthesizerError(Exception):
    """An author cannot serve this order, or any.

    Args:
        summary: what went wrong.
        advice: what to do about it.
        fatal: whether asking again is pointless (no key, no money left, an endpoint that refuses the request).
        cost: what was spent all the same.
    """

    def __init__(self, summary: str, advice: str = "", *, fatal: bool = False, cost: Cost | None = None) -> None:
        super().__init__(f"{summary} {advice}".strip())
        self.summary = summary
        self.advice = advice
        self.fatal = fatal
        self.cost = cost or Cost()


@dataclass(frozen=True)
class Assignment:
    """All that a synthesizer may know of one order."""

    order: Order
    parents: tuple[Candidate, ...]
    """The candidates to build on, the main one first."""
    lines: tuple[tuple[str, ...], ...]
    """For each parent the changes that led to it, the latest first."""
    has_source: Callable[[str], bool]
    """Whether a candidate with this `Candidate.source_hash` is in the search, or on its way there."""
    setbacks: Callable[[Collection[str]], Mapping[str, int]]
    """For descriptions of changes: how often each brought no gain in this search; breaking the code counts double."""
    randomness: random.Random
    """The only source of chance, so that a search can be repeated."""
    compose: Callable[[], Prompt]
    """Makes the prompt; see `prompt`."""

    @cached_property
    def prompt(self) -> Prompt:
        """What an author should read. Composed when it is first asked for: the mutator never does."""
        return self.compose()


class Synthesizer(Protocol):
    """Proposes candidates. It is told what was tried, never decides what is good."""

    name: str
    reads_prompt: bool
    """Whether it acts on what a prompt says; else there is nothing to gain from drafts and clean slates."""

    def propose(self, assignment: Assignment) -> Proposal | None:
        """Write one new candidate.

        Returns:
            A proposal, or None when nothing is left to try from this parent.

        Raises:
            SynthesizerError: the author failed.
        """
        ...
