"""Hover and completion over words of the field, from the knowledge base."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from kernelevolve.server.language_server.documents import OpenFile
from kernelevolve.server.language_server.positions import Positions


async def explained(
    file: OpenFile, targets: Sequence[str], positions: Positions, line: int, column: int
) -> types.Hover | None:
    """What a word means, for the configured targets; None where there is nothing to say."""
    return None


async def completed(file: OpenFile, targets: Sequence[str], line: int, column: int) -> list[types.CompletionItem]:
    """What may come here."""
    return []
