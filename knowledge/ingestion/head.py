"""What a Markdown file's own YAML head may say about it, in the words of `knowledge/WRITING.md`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from pydantic import ValidationError

from kernelevolve.knowledge.document import Document
from kernelevolve.knowledge.vocabulary import Kind

_HONOURED = ("kind", "topics", "bottlenecks", "languages", "applies_to", "severity", "related", "sources", "checked")
"""The title is the reader's matter; what a document holds for is said by who adds it."""
_HIGHEST = "should"
"""`must` is shown whatever is asked, so only shipped documents, which are tested, have it."""


def with_head(document: Document, head: Mapping[str, Any]) -> tuple[Document, tuple[str, ...]]:
    """A document with what its head says, and a note for everything that could not be taken.

    Heads of other systems (Hugo, Jekyll …) have fields of the same names: a value that means nothing here is left out.
    """
    given = {name: head[name] for name in _HONOURED if head.get(name) not in (None, "", [])}
    notes: list[str] = []
    if isinstance(given.get("checked"), date):
        given["checked"] = given["checked"].isoformat()
    if given.get("kind") == Kind.PATTERN:
        notes.append("its head's kind 'pattern' is left out: patterns are kept with their proof (pattern add)")
        del given["kind"]
    if given.get("severity") == "must":
        notes.append("its head's severity 'must' is for shipped documents; it is filed as 'should'")
        given["severity"] = _HIGHEST
    while True:
        try:
            return Document.model_validate({**document.model_dump(), **_with_severity(given, document)}), tuple(notes)
        except ValidationError as error:
            problem = error.errors()[0]
            name = str(problem["loc"][0]) if problem["loc"] else "kind"
            if name not in given:
                raise
            notes.append(f"its head's {name} is left out: {problem['msg'].removeprefix('Value error, ')}")
            del given[name]


def _with_severity(given: Mapping[str, Any], document: Document) -> dict[str, Any]:
    """Constraints, and only they, have a severity."""
    is_constraint = given.get("kind", document.kind) == Kind.CONSTRAINT
    return {**given, "severity": given.get("severity", _HIGHEST) if is_constraint else ""}
