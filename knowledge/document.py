"""A document of the knowledge base: Markdown with a YAML head that says what it holds for and where it is from."""

from __future__ import annotations

import hashlib
import re
from datetime import date
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from kernelevolve.evaluation.contract import Contract
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.facts import known_sheets
from kernelevolve.knowledge.versions import Requirement
from kernelevolve.knowledge.vocabulary import ANY, BOTTLENECKS, LANGUAGES, PLATFORM_PARENTS, TOPICS, Kind, nearest

_ID = re.compile(r"^[a-z0-9_]+(/[a-z0-9_]+)*$")
_PLATFORM = re.compile(r"^[a-z0-9_]+$")
_HEAD = re.compile(r"\A---\n(?P<head>.*?\n)---\n(?P<body>.*)\Z", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{\{(?P<key>[a-z0-9_]+)\.(?P<field>[a-z0-9_.]+)\}\}")


class Source(Contract):
    """Where facts of a document are from."""

    title: str
    url: str = ""
    grade: Literal["primary", "secondary", "measured"]
    """`primary`: by who made the thing (vendor manuals, papers, source code); `secondary`: a report of it; `measured`:
    by this project."""


class Document(Contract):
    """One document; what tools link to as `knowledge://<id>`."""

    id: str
    """Path below `content/` without its ending, e.g. `hardware/nvidia/hopper/tma`."""
    title: str = Field(min_length=8, max_length=120)
    kind: Kind
    platforms: tuple[str, ...] = Field(min_length=1)
    topics: tuple[str, ...] = ()
    bottlenecks: tuple[str, ...] = ()
    """Diagnoses that make the document worth reading."""
    languages: tuple[str, ...] = ()
    """Languages it is about; empty where that does not matter."""
    applies_to: tuple[str, ...] = ()
    """Versions it holds for, e.g. `triton>=3.9`; all must hold where the version is known."""
    severity: Literal["must", "should", "note", ""] = ""
    """Of a constraint."""
    related: tuple[str, ...] = ()
    """Ids of documents to read next."""
    sources: tuple[Source, ...] = ()
    confidence: Literal["primary", "secondary", "public_summary", "measured", "user", "learned"] = "user"
    """`public_summary`: only outlines are public (MTIA); `user`: added by this installation's owner."""
    checked: str = ""
    """ISO date on which the sources were read."""
    body: str = Field(min_length=1)
    """Markdown, numbers of spec sheets filled in."""
    origin: str = "shipped"
    """`shipped`, `user:<path>` or `learned`."""

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that is indexed."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @field_validator("id")
    @classmethod
    def _id_is_a_path(cls, value: str) -> str:
        if not _ID.match(value):
            raise ValueError(f"{value!r}: lower-case letters, digits, _ and / only")
        return value

    @field_validator("topics")
    @classmethod
    def _topics_are_known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return _known(values, TOPICS)

    @field_validator("bottlenecks")
    @classmethod
    def _bottlenecks_are_known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return _known(values, BOTTLENECKS)

    @field_validator("languages")
    @classmethod
    def _languages_are_known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return _known(values, LANGUAGES)

    @field_validator("applies_to")
    @classmethod
    def _versions_parse(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            Requirement.parse(value)
        return values

    @model_validator(mode="after")
    def _shipped_documents_cite(self) -> Document:
        # An installation's own documents may be about an accelerator that nobody else knows.
        for platform in self.platforms:
            if platform != ANY and not _PLATFORM.match(platform):
                raise ValueError(f"{platform!r} is no platform: lower-case letters, digits and _ only")
        if self.origin == "shipped":
            _known(self.platforms, {ANY, *PLATFORM_PARENTS})
            if not self.sources:
                raise ValueError("a shipped document names its sources")
            if not self.topics:
                raise ValueError("a shipped document has at least one topic")
            date.fromisoformat(self.checked)
            if self.confidence in ("user", "learned"):
                raise ValueError("confidence of a shipped document: primary, secondary, public_summary or measured")
        if (self.kind is Kind.CONSTRAINT) != bool(self.severity):
            raise ValueError("constraints, and only they, have a severity: must, should or note")
        return self


def parse_document(text: str, identifier: str, *, origin: str = "shipped") -> Document:
    """Read one Markdown file with its YAML head.

    Raises:
        KnowledgeError: no head, an unknown word, a number that no spec sheet has; the text says which.
    """
    match = _HEAD.match(text)
    if match is None:
        raise KnowledgeError(f"{identifier}: a document begins with a YAML head between two lines of '---'.")
    try:
        head = yaml.safe_load(match["head"])
    except yaml.YAMLError as error:
        raise KnowledgeError(f"{identifier}: the head is no YAML: {error}") from error
    if not isinstance(head, dict):
        raise KnowledgeError(f"{identifier}: the head must be a list of 'name: value'.")
    if isinstance(head.get("checked"), date):
        head["checked"] = head["checked"].isoformat()
    body = fill_in(match["body"].strip(), identifier)
    try:
        return Document.model_validate({"id": identifier, "origin": origin, **head, "body": body})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'head'}: {problem['msg']}" for problem in error.errors()
        )
        raise KnowledgeError(f"{identifier}: {problems}") from error


def fill_in(body: str, identifier: str) -> str:
    """Replace `{{h100_sxm5.memory_bandwidth}}` by the number of that chip's (or architecture's) spec sheet.

    Raises:
        KnowledgeError: there is no such chip, or its sheet has no such number.
    """
    sheets = known_sheets()

    def number(match: re.Match[str]) -> str:
        sheet = sheets.get(match["key"])
        if sheet is None:
            raise KnowledgeError(
                f"{identifier}: no spec sheet is named {match['key']!r}.{nearest(match['key'], sheets)}"
            )
        fact = sheet.facts.get(match["field"])
        if fact is None:
            raise KnowledgeError(
                f"{identifier}: the sheet {match['key']} has no {match['field']!r}."
                f"{nearest(match['field'], sheet.facts)}"
            )
        return fact.text

    return _PLACEHOLDER.sub(number, body)


def _known(values: tuple[str, ...], known: Any) -> tuple[str, ...]:
    for value in values:
        if value not in known:
            raise ValueError(f"there is no {value!r}.{nearest(value, known)} Known: {', '.join(sorted(known))}")
    return values
