"""Questions to the state folder and the judge, answered by a process beside the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernelevolve.server.language_server.child import Child, ChildError, OnEvent
from kernelevolve.server.language_server.documents import Best, OpenFile, VerdictOnFile
from kernelevolve.server.language_server.errors import Refused

_CLERK = "kernelevolve.server.language_server.clerk"


class Desk:
    """The process that reads searches and verdicts, judges and profiles.

    Args:
        state: the state folder.
        on_searches: told which searches moved, at most once a second.
    """

    def __init__(self, state: Path, on_searches: Callable[[list[str]], None]) -> None:
        self.state = state
        self._on_searches = on_searches
        self._child = Child("clerk", _CLERK, ("--state", str(state)), on_event=self._event)
        self._targets: dict[tuple[str, ...], list[dict[str, Any]]] = {}

    def _event(self, event: Mapping[str, Any]) -> None:
        if "searches" in event:
            self._on_searches(list(event["searches"]))

    async def ask(self, what: str, arguments: Mapping[str, Any], on_event: OnEvent | None = None) -> Any:
        """Ask the process.

        Raises:
            Refused: it cannot be done, with what to do.
        """
        try:
            return await self._child.ask(what, arguments, on_event)
        except ChildError as error:
            raise Refused(str(error), error.detail.get("data")) from error

    async def follow(self) -> None:
        """Be told of every search that moves from now on."""
        await self.ask("follow", {})

    async def searches(self) -> dict[str, Any]:
        """All searches."""
        answer: dict[str, Any] = await self.ask("searches", {})
        return answer

    async def search(self, name: str) -> dict[str, Any]:
        """One search with its nodes."""
        answer: dict[str, Any] = await self.ask("search", {"search": name})
        return answer

    async def recall(self, file: OpenFile) -> None:
        """What is known of a file from before: its last verdict, and the best kernel for its task."""
        text = file.text
        arguments = {"task": file.task.path, "language": file.language, "path": str(file.path), "text": text}
        known = await self.ask("recall", arguments)
        best = known["best"]
        file.best = Best(best["search"], best["speedup"], best["language"]) if best is not None else None
        if file.verdict is None and known["verdict"] is not None:
            file.verdict = VerdictOnFile(**known["verdict"])

    async def targets(self, names: Sequence[str], trouble: str) -> list[dict[str, Any]]:
        """Whether each target can be compiled for here, and why not."""
        key = tuple(names)
        if key not in self._targets:
            self._targets[key] = await self.ask("targets", {"targets": list(names)})
        if not trouble:
            return self._targets[key]
        return [{**entry, "compiles": False, "reason": trouble} for entry in self._targets[key]]

    async def close(self) -> None:
        """End the process."""
        await self._child.close()
