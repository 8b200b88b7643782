"""Mistakes in a text, hover and completion: asked of processes that read texts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsprotocol import types

from kernelevolve.server.language_server.child import Child, ChildError
from kernelevolve.server.language_server.documents import OpenFile
from kernelevolve.server.language_server.errors import Refused
from kernelevolve.server.language_server.positions import Positions

_READER = "kernelevolve.server.language_server.reader"
_KINDS = {
    "function": types.CompletionItemKind.Function,
    "class": types.CompletionItemKind.Class,
    "constant": types.CompletionItemKind.Constant,
    "module": types.CompletionItemKind.Module,
    "property": types.CompletionItemKind.Property,
    "text": types.CompletionItemKind.Text,
}


@dataclass(frozen=True)
class Remark:
    """A mistake in a text; see `lints.Lint`."""

    line: int
    column: int
    end_line: int
    end_column: int
    code: str
    name: str
    severity: str
    message: str
    documentation: str | None = None


class Vocabulary:
    """Two readers: one for mistakes, which may take a while, and one for words, which must answer at once."""

    def __init__(self) -> None:
        self._linter = Child("reader", _READER, ("--background",))
        self._words = Child("reader", _READER)

    async def start(self) -> None:
        """Have both ready."""
        await self._words.start()
        await self._linter.start()

    async def lint(self, text: str) -> list[Remark]:
        """Mistakes in a Python text."""
        return [Remark(**found) for found in await _ask(self._linter, "lint", {"text": text})]

    async def explain(
        self, file: OpenFile, targets: Sequence[str], positions: Positions, line: int, column: int
    ) -> types.Hover | None:
        """What a word means, for the configured targets; None where there is nothing to say."""
        asked = {"text": file.text, "line": line, "column": column, "targets": list(targets)}
        found = await _ask(self._words, "explain", asked)
        if found is None:
            return None
        return types.Hover(
            contents=types.MarkupContent(kind=types.MarkupKind.Markdown, value=found["markdown"]),
            range=positions.range(found["line"], found["column"], found["end_line"], found["end_column"]),
        )

    async def complete(
        self, file: OpenFile, targets: Sequence[str], line: int, column: int
    ) -> list[types.CompletionItem]:
        """What may come here."""
        asked = {"text": file.text, "line": line, "column": column, "targets": list(targets)}
        return [
            types.CompletionItem(
                label=entry["label"],
                kind=_KINDS[entry["kind"]],
                detail=entry["detail"] or None,
                documentation=types.MarkupContent(kind=types.MarkupKind.Markdown, value=entry["documentation"])
                if entry["documentation"]
                else None,
                insert_text=entry["insert_text"] or None,
            )
            for entry in await _ask(self._words, "complete", asked)
        ]

    async def close(self) -> None:
        """End both."""
        await asyncio.gather(self._linter.close(), self._words.close())


async def _ask(child: Child, what: str, arguments: Mapping[str, Any]) -> Any:
    """Ask a reader.

    Raises:
        Refused: it failed.
    """
    try:
        return await child.ask(what, arguments)
    except ChildError as error:
        raise Refused(str(error)) from error
