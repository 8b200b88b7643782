"""What a client may offer while somebody fills in an argument of a prompt, or of a resource's address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer
from mcp.types import Completion, PromptReference, ResourceTemplateReference

from kernelevolve.knowledge.vocabulary import PLATFORM_PARENTS, TOPICS
from kernelevolve.search.errors import SearchError
from kernelevolve.server.mcp_support import in_thread
from kernelevolve.server.ownership import seen_by_caller, sees_everything

if TYPE_CHECKING:
    from kernelevolve.knowledge.base import KnowledgeBase
    from kernelevolve.search.node import SearchRecord
    from kernelevolve.search.store import Store

MOST = 100
"""Values of one answer; the protocol allows no more."""
_LANGUAGES = ("triton", "cuda", "hip", "cpp")
_KNOWLEDGE = "knowledge://"
_SEARCH = "search://"
_PROFILE = "profile://"


class Completions:
    """Values for arguments, from what this server knows.

    Documents are offered to every caller; searches to those who may see them; profiles, which bear no name, to whoever
    may see everything.

    Args:
        state: the state folder, whose profiles are offered.
        base: the knowledge base.
        store: the searches, opened when first asked for.
    """

    def __init__(self, state: Path, base: Callable[[], KnowledgeBase], store: Callable[[], Store]) -> None:
        self._state = state
        self._base = base
        self._store = store

    def of_prompt(self, argument: str) -> Iterable[str]:
        """Values for a prompt's argument; arguments of one name mean the same in every prompt."""
        if argument == "platform":
            from kernelevolve.evaluation.platform import known_platforms

            return known_platforms()
        if argument == "language":
            return _LANGUAGES
        if argument == "profile":
            return [f"{_PROFILE}{name}" for name in self._profiles()]
        if argument == "task":
            # A task that was given as text has no name.
            return list(dict.fromkeys(record.task for record in self._visible() if "\n" not in record.task))
        return ()

    def of_address(self, template: str, argument: str, given: dict[str, str]) -> Iterable[str]:
        """Values for a part of a resource's address.

        Args:
            template: the address with its parts in braces.
            argument: the part.
            given: the parts that are filled in already.
        """
        if template.startswith(_KNOWLEDGE):
            return self._documents(argument, given)
        if template.startswith(_SEARCH):
            return self._searches(template, argument, given)
        if template.startswith(_PROFILE):
            return self._profiles()
        return ()

    def _documents(self, argument: str, given: dict[str, str]) -> Iterable[str]:
        base = self._base()
        base.open()
        if argument == "platform":
            return sorted({*PLATFORM_PARENTS, *base.store.platforms()})
        if argument == "topic":
            return sorted(TOPICS)
        if argument == "section":
            passages = base.store.document(given.get("path", ""))
            return [entry.passage.id.partition("#")[2] for entry in passages if "#" in entry.passage.id]
        return sorted(base.store.content_hashes())

    def _searches(self, template: str, argument: str, given: dict[str, str]) -> Iterable[str]:
        if argument == "search_id":
            return [record.search_id for record in self._visible()]
        try:
            record = self._store().search(given.get("search_id", ""))
        except SearchError:
            return ()
        if not seen_by_caller(record):
            return ()
        count = record.issued if "/orders/" in template else record.step + 1
        return (str(number) for number in reversed(range(count)))

    def _visible(self) -> list[SearchRecord]:
        return [record for record in self._store().searches() if seen_by_caller(record)]

    def _profiles(self) -> list[str]:
        if not sees_everything():
            return []
        found = self._state.glob("profiles/*/report.json")
        newest = sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
        return [path.parent.name for path in newest]


def fitting(values: Iterable[str], typed: str) -> Completion:
    """Those that have what was typed in them, the ones that begin with it first, else as they come."""
    wanted = typed.lower()
    found = [value for value in values if wanted in value.lower()]
    found.sort(key=lambda value: not value.lower().startswith(wanted))
    return Completion(values=found[:MOST], total=len(found), has_more=len(found) > MOST)


def add_completions(
    server: MCPServer[Any], state: Path, base: Callable[[], KnowledgeBase], store: Callable[[], Store]
) -> None:
    """Answer `completion/complete`."""
    known = Completions(state, base, store)

    @server.completion()  # type: ignore[no-untyped-call]
    async def complete(ref: Any, argument: Any, context: Any) -> Completion:
        given = {} if context is None else context.arguments or {}

        def look() -> Completion:
            if isinstance(ref, PromptReference):
                return fitting(known.of_prompt(argument.name), argument.value)
            if isinstance(ref, ResourceTemplateReference):
                return fitting(known.of_address(str(ref.uri), argument.name, given), argument.value)
            raise TypeError(f"a completion was asked for {type(ref).__name__}")

        found: Completion = await in_thread(look)
        return found
