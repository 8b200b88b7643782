"""Hybrid retrieval: words and meaning, fused by rank, filtered by platform, kind, language and version.

Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009) of full text and vectors; a passage whose document has others
among the best counts a little more. Every constant was chosen on the tuning half of the questions in
`kernelevolve bench retrieval`; differences among the neighbours of a choice are noise there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from kernelevolve.knowledge.identifiers import enrich_query, names_in, resemblance
from kernelevolve.knowledge.store import Candidate, KnowledgeStore, StoredPassage, where_clause
from kernelevolve.knowledge.versions import Requirement, installed_versions
from kernelevolve.knowledge.vocabulary import ANY, Kind, holds_for

POOL = 50
"""Passages of each side before fusion."""
_CHUNKS_PER_PASSAGE = 3
"""Chunks asked for, for each passage of the pool: several of them are of one passage."""
_RRF_K = 20
"""Less than the usual 60: with a few hundred documents the first ranks mean much."""
_DOCUMENT_WEIGHT = 0.05
"""Weight of the three best scores of a passage's document."""
_SPARE = 4
"""Passages read more than are wanted at a time."""
_SHORT = 5
"""Words up to which a query may be a name."""
_NAME_WEIGHT = 2.0
_WHOLE = 0.5
"""Resemblance of a text that holds the name whole: a heading that is little else comes first."""
_ALIKE = 0.4
"""Resemblance from which a heading's name counts."""
_ELSEWHERE = 0.5
"""Weight of what does not hold for a platform that the question names."""
_AT_HOME = 1.2
"""Weight of what is about that platform, or its vendor, and not about all."""


@dataclass(frozen=True)
class Hit:
    """A passage that answers, with how it was found."""

    stored: StoredPassage
    score: float
    lexical_rank: int | None
    """From 1; `None` if the full text did not find it."""
    dense_rank: int | None
    cosine: float | None


@dataclass(frozen=True)
class Filters:
    """What a passage must hold for."""

    platforms: tuple[str, ...] = ()
    """Resolved names; none for all."""
    kinds: tuple[Kind, ...] = ()
    languages: tuple[str, ...] = ()
    """Documents that name no language hold for all."""
    versions: Mapping[str, str] | None = None
    """Package → version at hand; the installed ones by default."""

    @property
    def where(self) -> str:
        """The part that the database can decide."""
        return where_clause(self.platforms, self.kinds)

    def admits(self, stored: StoredPassage) -> bool:
        """The part that it cannot: language and versions."""
        if self.languages and stored.languages and not set(self.languages) & set(stored.languages):
            return False
        versions = installed_versions() if self.versions is None else self.versions
        return all(Requirement.parse(text).holds(versions) for text in stored.applies_to)


class Retriever:
    """Asks the store both ways at once."""

    def __init__(self, store: KnowledgeStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="retrieval")

    def search(
        self,
        query: str,
        filters: Filters,
        limit: int,
        *,
        lexical: bool = True,
        dense: bool = True,
        pool: int = POOL,
        prefer: Sequence[str] = (),
    ) -> list[Hit]:
        """The passages that answer best, best first.

        Args:
            query: a question, words, or an identifier.
            filters: what they must hold for.
            limit: how many.
            lexical: ask the full text.
            dense: ask the vectors, if there is an embedder.
            pool: candidates of each side before fusion.
            prefer: platforms that the question names; what holds for none of them comes later.
        """
        where = filters.where
        by_words = self._threads.submit(self._store.lexical, enrich_query(query), where, pool) if lexical else None
        by_meaning: list[Candidate] = []
        if dense and self._store.embedder is not None:
            (vector,) = self._store.embedder.embed([query])
            by_meaning = self._store.dense(vector, where, _CHUNKS_PER_PASSAGE * pool)
        ranked = fuse(by_words.result() if by_words else [], by_meaning, pool)
        if lexical and len(query.split()) <= _SHORT:
            ranked = self._with_names(query, ranked)
        ranked = with_documents(ranked)
        # Language and version are looked at afterwards, so some more are read than are wanted.
        found: list[Hit] = []
        step = limit + _SPARE
        for begin in range(0, len(ranked), step):
            batch = ranked[begin : begin + step]
            stored = self._store.look_up([entry.candidate for entry in batch])
            for entry in batch:
                passage = stored.get(entry.candidate.passage_id)
                if passage is not None and filters.admits(passage):
                    score = entry.score
                    if prefer:
                        score *= _at_home(passage, prefer)
                    found.append(Hit(passage, score, entry.lexical_rank, entry.dense_rank, entry.cosine))
            if len(found) >= (2 if prefer else 1) * limit:
                break
        return sorted(found, key=lambda hit: -hit.score)[:limit]

    def _with_names(self, query: str, ranked: list[Fused]) -> list[Fused]:
        """A third ranking for queries that may be a name: headings that hold one like it, texts that hold it whole."""
        stored = self._store.look_up([entry.candidate for entry in ranked])
        names = [name.lower() for name in names_in(query)]
        alike = [
            (likeness, entry.candidate.passage_id)
            for entry in ranked
            if (passage := stored.get(entry.candidate.passage_id)) is not None
            and (likeness := max(resemblance(query, passage.passage.heading), _holds(passage, names))) > _ALIKE
        ]
        alike.sort(key=lambda pair: -pair[0])
        bonus = {name: _NAME_WEIGHT / (_RRF_K + rank) for rank, (_, name) in enumerate(alike, 1)}
        again = [entry._replace(score=entry.score + bonus.get(entry.candidate.passage_id, 0.0)) for entry in ranked]
        return sorted(again, key=lambda entry: -entry.score)

    def close(self) -> None:
        """Stop the thread."""
        self._threads.shutdown(wait=False)


def _holds(stored: StoredPassage, names: Sequence[str]) -> float:
    """`_WHOLE` where a passage has one of some names whole, else 0."""
    text = stored.passage.text.lower()
    return _WHOLE if any(name in text for name in names) else 0.0


def _at_home(stored: StoredPassage, prefer: Sequence[str]) -> float:
    if not any(holds_for(stored.platforms, platform) for platform in prefer):
        return _ELSEWHERE
    return 1.0 if ANY in stored.platforms else _AT_HOME


class Fused(NamedTuple):
    """A candidate of both sides together."""

    candidate: Candidate
    score: float
    lexical_rank: int | None
    dense_rank: int | None
    cosine: float | None

    @property
    def document(self) -> str:
        """The document it is of."""
        return self.candidate.passage_id.partition("#")[0]


def fuse(by_words: Sequence[Candidate], by_meaning: Sequence[Candidate], pool: int = POOL) -> list[Fused]:
    """Reciprocal rank fusion.

    Args:
        by_words: passages from the full text, best first.
        by_meaning: chunks from the vectors, best first; a passage may come several times.
        pool: passages of `by_meaning` that count.

    Returns:
        All of them, best first.
    """
    words = {found.passage_id: (rank, found) for rank, found in enumerate(by_words, 1)}
    meaning: dict[str, tuple[int, Candidate]] = {}
    for found in by_meaning:
        if found.passage_id not in meaning and len(meaning) < pool:
            meaning[found.passage_id] = (len(meaning) + 1, found)
    fused = []
    for identifier in dict.fromkeys([*words, *meaning]):
        lexical_rank, by_word = words.get(identifier, (None, None))
        dense_rank, by_vector = meaning.get(identifier, (None, None))
        score = 0.0
        if lexical_rank is not None:
            score += 1 / (_RRF_K + lexical_rank)
        if dense_rank is not None:
            score += 1 / (_RRF_K + dense_rank)
        candidate = by_word or by_vector
        assert candidate is not None
        fused.append(Fused(candidate, score, lexical_rank, dense_rank, by_vector.score if by_vector else None))
    return sorted(fused, key=lambda entry: -entry.score)


def with_documents(ranked: Sequence[Fused]) -> list[Fused]:
    """Passages whose document has others among the best move up a little."""
    scores: dict[str, list[float]] = {}
    for entry in ranked:
        scores.setdefault(entry.document, []).append(entry.score)
    weight = {name: _DOCUMENT_WEIGHT * sum(sorted(found)[-3:]) for name, found in scores.items()}
    again = [entry._replace(score=entry.score + weight[entry.document]) for entry in ranked]
    return sorted(again, key=lambda entry: -entry.score)
