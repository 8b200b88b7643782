"""Deep search: from a diagnosis to the few passages that an author should read next.

Two stages, as in the paper (section 3.2): an index of what each document is about narrows platform, then concern; then
the passages of those documents are ranked by the words of the situation. References are followed, near repetitions left
out, the whole fitted into a budget. A model may choose among the finalists; none is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kernelevolve.knowledge.base import URI, KnowledgeBase
from kernelevolve.knowledge.facts import SHEET_DOCUMENTS
from kernelevolve.knowledge.quoting import SHIPPED, quoted, without_marks
from kernelevolve.knowledge.retrieval import POOL, Filters, Hit
from kernelevolve.knowledge.situation import Phase, Situation
from kernelevolve.knowledge.store import StoredPassage
from kernelevolve.knowledge.vocabulary import ANY, BOTTLENECKS, TOPICS, Kind

CHARACTERS_PER_TOKEN = 4.0
"""Of English prose with code, for the tokenizers in use."""
_DOCUMENTS = 8
_PASSAGES_OF_ONE = 2
_ALIKE = 0.6
"""Share of common word triples from which two passages say the same."""
_CUT = 1_400
"""Characters of one passage at most."""
_KIND_WEIGHT: dict[Phase, dict[Kind, float]] = {
    Phase.WRITE: {Kind.SAMPLE: 2.0, Kind.GUIDANCE: 1.5, Kind.CONSTRAINT: 1.0, Kind.PATTERN: 1.0},
    Phase.MEND: {Kind.CONSTRAINT: 2.0, Kind.GUIDANCE: 1.5},
    Phase.TUNE: {Kind.PATTERN: 2.0, Kind.HARDWARE: 1.5, Kind.GUIDANCE: 1.0, Kind.SAMPLE: 0.5},
}

Refine = Callable[[Situation, Sequence[StoredPassage]], Sequence[int]]
"""Chooses among numbered passages: a model, where one is configured. Returns the positions to keep, best first."""


@dataclass(frozen=True)
class Advice:
    """What to read, with why."""

    passages: tuple[StoredPassage, ...]
    reasons: tuple[str, ...]
    """For each passage: what of the situation it answers."""
    text: str
    """All of it for a prompt, within the budget."""


def deep_search(
    base: KnowledgeBase, situation: Situation, budget_tokens: int = 1_500, refine: Refine | None = None
) -> Advice:
    """The passages that help most in a situation.

    Args:
        base: the knowledge base.
        situation: where the author stands.
        budget_tokens: for the whole text.
        refine: see `Refine`.

    Raises:
        KnowledgeError: the platform is unknown.
    """
    platforms = base.resolve([situation.platform])
    filters = Filters(platforms=platforms, languages=(situation.language,) if situation.language else ())
    heads = [head for head in _index(base, filters.where) if filters.admits(head)]
    query = _query(situation)
    hits = base.retriever.search(query, filters, POOL)
    nearness: dict[str, float] = {}
    for place, hit in enumerate(hits):
        nearness.setdefault(hit.stored.passage.document_id, 3.0 * (1 - place / len(hits)))
    scores = {
        head.passage.document_id: _score(head, situation, platforms[0], nearness.get(head.passage.document_id, 0.0))
        for head in heads
        if not head.passage.document_id.startswith(SHEET_DOCUMENTS)
    }
    by_id = {head.passage.document_id: head for head in heads}
    chosen = sorted(scores, key=lambda name: -scores[name])[:_DOCUMENTS]
    # What the two best refer to belongs to the matter even where it is tagged otherwise.
    for name in chosen[:2]:
        for other in by_id[name].related:
            if other in scores and other not in chosen and scores[other] > 0:
                chosen.insert(min(4, len(chosen)), other)
    found = _passages(base, chosen[: _DOCUMENTS + 2], hits)
    found = _without_repetition(found)
    if refine is not None and found:
        kept = refine(situation, found)
        found = [found[position] for position in dict.fromkeys(kept) if 0 <= position < len(found)]
    return _fitted(found, situation, budget_tokens)


def _index(base: KnowledgeBase, where: str) -> list[StoredPassage]:
    """The first passage of every document: what documents say about themselves."""
    base.open()
    return base.store.select("position = 0" + (f" AND {where}" if where else ""))


def _query(situation: Situation) -> str:
    parts = [situation.words]
    parts += [BOTTLENECKS[name] for name in situation.bottlenecks if name in BOTTLENECKS]
    parts += [TOPICS[name] for name in situation.topics if name in TOPICS]
    parts.append(situation.language)
    return " ".join(part for part in parts if part)[:1_000] or "how to write a fast kernel"


def _score(head: StoredPassage, situation: Situation, platform: str, nearness: float) -> float:
    """How much a document is about a situation: diagnosis first, then the operator, then the chip."""
    score = nearness
    for place, name in enumerate(situation.bottlenecks[:4]):
        if name in head.bottlenecks:
            score += 3.0 / (1 + 0.5 * place)
    score += 2.0 * len(set(situation.topics[:2]) & set(head.topics))
    score += 1.0 * len(set(situation.topics[2:]) & set(head.topics))
    score += 1.5 if platform in head.platforms else 0.0 if ANY in head.platforms else 0.75
    score += 0.5 if situation.language and situation.language in head.languages else 0.0
    score += _KIND_WEIGHT[situation.phase].get(head.kind, 0.0)
    return score


def _passages(base: KnowledgeBase, documents: Sequence[str], hits: Sequence[Hit]) -> list[StoredPassage]:
    """Of each document the passages that rank best for the situation, else its first."""
    ranked: dict[str, list[StoredPassage]] = {}
    for hit in hits:
        ranked.setdefault(hit.stored.passage.document_id, []).append(hit.stored)
    found = []
    for name in documents:
        best = ranked.get(name, [])[:_PASSAGES_OF_ONE]
        if not best:
            whole = base.store.document(name)
            # The opening of a document answers its title's question.
            best = whole[:1]
        found += best
    return found


def _without_repetition(passages: Sequence[StoredPassage]) -> list[StoredPassage]:
    kept: list[StoredPassage] = []
    for passage in passages:
        triples = _triples(passage.passage.text)
        if all(_overlap(triples, _triples(other.passage.text)) < _ALIKE for other in kept):
            kept.append(passage)
    return kept


@lru_cache(maxsize=2_048)
def _triples(text: str) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9_.]+", text.lower())
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def _overlap(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    smaller = min(len(one), len(other))
    return len(one & other) / smaller if smaller else 0.0


def _reason(stored: StoredPassage, situation: Situation) -> str:
    parts = [name.replace("_", " ") for name in situation.bottlenecks if name in stored.bottlenecks]
    parts += [name.replace("_", " ") for name in situation.topics if name in stored.topics]
    return ", ".join(parts) or "related"


def _fitted(found: Sequence[StoredPassage], situation: Situation, budget_tokens: int) -> Advice:
    room = int(budget_tokens * CHARACTERS_PER_TOKEN)
    kept, reasons, lines = [], [], []
    for stored in found:
        text = stored.passage.text
        if len(text) > _CUT:
            text = text[:_CUT].rsplit("\n", 1)[0] + f"\n[more: {URI}{stored.passage.id}]"
        reason = _reason(stored, situation)
        if stored.origin != SHIPPED:
            text = quoted(text, stored.origin)
        heading = without_marks(stored.passage.heading)
        entry = f"### {heading}\n({reason}; {URI}{stored.passage.document_id})\n{text}"
        if len(entry) + 2 > room:
            continue
        room -= len(entry) + 2
        kept.append(stored)
        reasons.append(reason)
        lines.append(entry)
    return Advice(tuple(kept), tuple(reasons), "\n\n".join(lines))
