"""`retrieve_hardware_docs`: a question to ranked passages with sources and links, or to exact numbers."""

from __future__ import annotations

from collections.abc import Sequence

from kernelevolve.knowledge.answer import KnowledgeAnswer, PassageFound
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.quoting import SHIPPED, quoted, without_marks
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT

_PASSAGE_LIMIT = 1_600
"""Characters of one passage before it is cut; the link leads to the rest."""


def retrieve_hardware_docs(
    base: KnowledgeBase,
    query: str,
    platforms: Sequence[str] = (),
    kinds: Sequence[str] = (),
    languages: Sequence[str] = (),
    versions: dict[str, str] | None = None,
    limit: int = 6,
    neighbours: int = 0,
) -> tuple[KnowledgeAnswer, str]:
    """The answer as a value, and as text for a model within `TEXT_LIMIT`.

    Raises:
        KnowledgeError: see `KnowledgeBase.ask`.
    """
    answer = base.ask(
        query,
        platforms=platforms,
        kinds=kinds,
        languages=languages,
        versions=versions,
        limit=limit,
        neighbours=neighbours,
    )
    return answer, answer_text(answer)


def answer_text(answer: KnowledgeAnswer, limit: int = TEXT_LIMIT) -> str:
    """Numbers first, then passages as far as they fit, then rules and links."""
    lines = []
    for number in answer.numbers:
        note = f" ({number.note})" if number.note else ""
        lines.append(f"{number.chip}: {number.property} = {number.text}{note}")
        lines.append(f"  sources, read {number.checked}: {'; '.join(number.sources)}; sheet {number.uri}")
    if not answer.passages and not answer.numbers:
        where = f" for {', '.join(answer.platforms)}" if answer.platforms else ""
        lines.append(
            f"Nothing found{where}. Try other words, fewer filters, or add manuals: kernelevolve knowledge add."
        )
    tail = [f"note: {note}" for note in answer.notes]
    if answer.rules:
        tail.append("Rules that always hold here:")
        tail += [f"- {rule.title.split(' › ')[0]} ({rule.uri})" for rule in answer.rules]
    tail_text = shorten_end("\n".join(tail), limit // 4)
    head = shorten_end("\n".join(lines), limit // 3)
    room = limit - len(head) - len(tail_text) - 4
    blocks = []
    links = [
        f"[{place}] {without_marks(passage.title)} ({passage.uri})" for place, passage in enumerate(answer.passages, 1)
    ]
    for place, (passage, link) in enumerate(zip(answer.passages, links, strict=True), 1):
        block = passage_block(place, passage)
        # Links of passages that come later must still find room.
        rest = sum(len(other) + 2 for other in links[place:])
        if len(block) + 2 + rest <= room:
            blocks.append(block)
        elif len(link) + 2 <= room:
            block = link
            blocks.append(link)
        else:
            break
        room -= len(block) + 2
    return "\n\n".join(part for part in (head, "\n\n".join(blocks), tail_text) if part)


def passage_block(number: int, passage: PassageFound) -> str:
    """One passage with its link and sources; what is not shipped is marked as quoted."""
    text = passage.text
    if len(text) > _PASSAGE_LIMIT:
        text = text[:_PASSAGE_LIMIT].rsplit("\n", 1)[0] + "\n[…]"
    if passage.origin != SHIPPED:
        text = quoted(text, passage.origin)
    facts = [", ".join(passage.platforms)]
    if passage.applies_to:
        facts.append(f"holds for {', '.join(passage.applies_to)}")
    if passage.confidence in ("secondary", "public_summary"):
        facts.append(passage.confidence.replace("_", " "))
    sources = f"\nSources: {'; '.join(passage.sources[:3])}" if passage.sources else ""
    title = passage.title
    if passage.origin != SHIPPED:
        # Outside the marks stands only what can neither open nor close them.
        title, sources = without_marks(title), without_marks(sources)
    return f"[{number}] {title}\n{passage.uri} · {' · '.join(facts)}\n{text}{sources}"


def shorten_end(text: str, limit: int) -> str:
    """A text cut at its end, saying so."""
    return text if len(text) <= limit else text[: max(0, limit - 2)].rsplit("\n", 1)[0] + "\n…"
