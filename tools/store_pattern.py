"""`store_pattern`: keep a technique with the judged nodes that prove it."""

from __future__ import annotations

from collections.abc import Sequence

from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.pattern import PatternText, Proof, StoredPattern
from kernelevolve.knowledge.patterns import PatternShelf
from kernelevolve.search.node import Node
from kernelevolve.search.store import Store


def store_pattern(
    base: KnowledgeBase, store: Store, text: PatternText, nodes: Sequence[str], duplicate_of: str | None = None
) -> tuple[StoredPattern, str]:
    """Look up the nodes, check their receipts, keep the pattern.

    Args:
        base: where patterns are kept.
        store: where the nodes are.
        text: what the author says.
        nodes: `<search id>.<step>` of judged nodes that show it, tries that failed included.
        duplicate_of: a pattern that this one is in other words.

    Returns:
        The pattern as a value, and as text for a model.

    Raises:
        KnowledgeError: no node, a receipt that does not hold, an unknown word.
        SearchError: there is no such node.
    """
    stored = PatternShelf(base).store(text, [_proof(store, name) for name in dict.fromkeys(nodes)], duplicate_of)
    return stored, stored_text(stored)


def stored_text(stored: StoredPattern) -> str:
    """What became of it."""
    pattern = stored.pattern
    lines = [
        f"{'Stored' if stored.new else 'Added to'} pattern {pattern.pattern_id}: {pattern.text.name} — "
        f"{pattern.status.value}, helped in {pattern.successes} of {pattern.successes + pattern.failures} tries, "
        f"{pattern.gain:.2f}x on average."
    ]
    for entry in stored.evidence:
        gain = "not correct" if entry.gain is None else f"{entry.gain:.3f}x [{entry.low:.3f}, {entry.high:.3f}]"
        lines.append(f"- {entry.node_id}: {entry.outcome.value}, {gain} against the {entry.against}")
    if not stored.evidence:
        lines.append("Nothing new: these nodes were its evidence already.")
    if stored.neighbours:
        lines.append(
            f"Sound alike: {', '.join(stored.neighbours)}. If one is the same, store it again with duplicate_of."
        )
    return "\n".join(lines)


def _proof(store: Store, name: str) -> Proof:
    _, dot, step = name.strip().rpartition(".")
    if not dot or not step.isdigit():
        raise KnowledgeError(f"{name!r} is no node; write <search id>.<step>, e.g. the id and step get_search shows.")
    node = store.node(name.strip())
    parent = store.node(node.parents[0]) if node.parents else None
    return Proof(
        node_id=node.node_id,
        verdict=_verdict(store, node),
        parent=None if parent is None else _verdict(store, parent),
    )


def _verdict(store: Store, node: Node) -> Verdict:
    return store.confirmation(node) or store.verdict(node)
