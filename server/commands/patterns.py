"""`kernelevolve pattern list | show | add | remove`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.text import Text

from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.pattern import Evidence, Pattern, PatternText, StoredPattern
from kernelevolve.knowledge.patterns import PatternShelf, pattern_document
from kernelevolve.server.commands.knowledge import opened
from kernelevolve.server.rendering import table
from kernelevolve.server.settings import open_store
from kernelevolve.tools.store_pattern import store_pattern


def list_patterns(state: Path) -> list[Pattern]:
    """All patterns, confirmed ones first."""
    return PatternShelf(opened(state)).all()


def show_pattern(state: Path, pattern_id: str) -> tuple[Pattern, list[Evidence]]:
    """A pattern with its evidence."""
    shelf = PatternShelf(opened(state))
    pattern = shelf.get(pattern_id)
    return pattern, shelf.evidence(pattern.pattern_id)


def add_pattern(state: Path, file: Path, nodes: Sequence[str], duplicate_of: str | None) -> tuple[StoredPattern, str]:
    """Store what a JSON file says.

    Raises:
        KnowledgeError: the file is no pattern, or its proof does not hold.
    """
    try:
        text = PatternText.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise KnowledgeError(f"{file} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"])) or "the file"
        raise KnowledgeError(f"{file} is no pattern: {where}: {found['msg']}.") from error
    with open_store(state) as store:
        return store_pattern(opened(state), store, text, nodes, duplicate_of)


def remove_pattern(state: Path, pattern_id: str) -> Pattern:
    """Forget a pattern."""
    return PatternShelf(opened(state)).remove(pattern_id)


def patterns_view(patterns: Sequence[Pattern]) -> RenderableType:
    """Patterns as a table."""
    if not patterns:
        return Text("No patterns yet: assistants store them with store_pattern, you with `pattern add`.")
    view = table("id", "pattern", "operator", "platform", "status", "gain", "tries", "", right=("gain", "tries"))
    for pattern in patterns:
        tries = f"{pattern.successes}/{pattern.successes + pattern.failures}"
        text = pattern.text
        stale = f"stale: {pattern.stale}" if pattern.stale else ""
        view.add_row(
            pattern.pattern_id[:8], text.name, text.operator, text.platform, pattern.status.value,
            f"{pattern.gain:.2f}x", tries, stale,
        )  # fmt: skip
    return view


def pattern_view(pattern: Pattern, evidence: Sequence[Evidence]) -> RenderableType:
    """A pattern as its document."""
    parts: list[RenderableType] = [Text(f"{pattern.text.name} ({pattern.pattern_id})", style="bold")]
    if pattern.stale:
        parts.append(Text(f"stale, verify again: {pattern.stale}", style="yellow"))
    parts.append(Markdown(pattern_document(pattern, evidence).body))
    return Group(*parts)
