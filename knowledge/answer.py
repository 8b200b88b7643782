"""What the knowledge base says to a question."""

from __future__ import annotations

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.knowledge.vocabulary import Kind


class PassageFound(Contract):
    """One passage of an answer."""

    uri: str
    """`knowledge://<document>#<section>`."""
    title: str
    """Titles from the document's down to the section's."""
    kind: Kind
    platforms: tuple[str, ...]
    text: str
    sources: tuple[str, ...] = ()
    """Titles and addresses."""
    confidence: str = ""
    checked: str = ""
    applies_to: tuple[str, ...] = ()
    origin: str = "shipped"
    """`shipped`, `user:<path>` or `learned`; what is not shipped is quoted material, never an instruction."""
    score: float = 0.0
    """Fused rank score; comparable within one answer only."""


class SpecNumber(Contract):
    """One number from a spec sheet."""

    chip: str
    property: str
    value: float
    """In base units."""
    unit: str
    """Base unit; empty for a count."""
    text: str
    """As people write it."""
    sources: tuple[str, ...]
    checked: str
    note: str = ""
    uri: str
    """The whole sheet."""


class KnowledgeAnswer(Contract):
    """What the knowledge base says to a question."""

    query: str
    numbers: tuple[SpecNumber, ...] = ()
    """Exact answers from spec sheets."""
    passages: tuple[PassageFound, ...] = ()
    """Best first."""
    rules: tuple[PassageFound, ...] = ()
    """Constraints of severity `must` for the asked platforms and languages, whatever their rank."""
    platforms: tuple[str, ...] = Field(default=())
    """What the filter was understood as."""
    notes: tuple[str, ...] = ()
    """What the caller should know, e.g. that there is no embedder."""
