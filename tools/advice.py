"""What the knowledge base tells the authors of a search: deep search, remembered by situation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.situation import Situation

if TYPE_CHECKING:
    from kernelevolve.knowledge.base import KnowledgeBase
    from kernelevolve.knowledge.deep_search import Refine

_REMEMBERED = 256


class Advisor:
    """Callable as `search.memory.Advise`. Many orders of one search stand in the same place; each is looked up once.

    Args:
        base: gives the knowledge base when it is first needed.
        refine: a model that chooses among the finalists, where one is configured.
    """

    def __init__(self, base: Callable[[], KnowledgeBase], refine: Refine | None = None) -> None:
        self._base = base
        self._refine = refine
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Situation, int], str] = OrderedDict()

    def __call__(self, situation: Situation, budget_tokens: int) -> str:
        """Passages for a situation, within a budget of tokens."""
        key = (situation, budget_tokens)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        from kernelevolve.knowledge.deep_search import deep_search

        try:
            text = deep_search(self._base(), situation, budget_tokens, self._refine).text
        except KnowledgeError as error:
            # A platform of a plug-in without documents: the author is told, and the search goes on.
            text = f"The knowledge base has nothing: {error}"
        with self._lock:
            self._known[key] = text
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return text
