"""What the authors of a search are told besides the search itself: deep search by situation, profiles of candidates."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.situation import Situation
from kernelevolve.search.memory import Explanation

if TYPE_CHECKING:
    from kernelevolve.knowledge.base import KnowledgeBase
    from kernelevolve.knowledge.deep_search import Refine

_REMEMBERED = 256
_EXPLANATION = 1_400
"""Characters of a profile in a prompt."""


class Advisor:
    """Callable as `search.memory.Advise`. Many orders of one search stand in the same place; each is looked up once.

    Args:
        base: gives the knowledge base when it is first needed.
        judges: lends a judge, which compiles what is to be explained; None where nothing can be.
        state: the state folder.
        refine: a model that chooses among the finalists, where one is configured.
    """

    def __init__(
        self,
        base: Callable[[], KnowledgeBase],
        judges: Callable[[], AbstractContextManager[Judge]] | None = None,
        state: Path | None = None,
        refine: Refine | None = None,
    ) -> None:
        self._base = base
        self._judges = judges
        self._state = state
        self._refine = refine
        self._explained: OrderedDict[tuple[str, str, str], Explanation] = OrderedDict()
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

    def explain(self, task: str, platform: str, candidate: Candidate) -> Explanation:
        """The static profile of a candidate: what its code says about where its time goes."""
        key = (task, platform, candidate.source_hash)
        with self._lock:
            if key in self._explained:
                self._explained.move_to_end(key)
                return self._explained[key]
        explanation = self._look(task, platform, candidate)
        with self._lock:
            self._explained[key] = explanation
            while len(self._explained) > _REMEMBERED:
                self._explained.popitem(last=False)
        return explanation

    def _look(self, task: str, platform: str, candidate: Candidate) -> Explanation:
        from kernelevolve.profilers.profile import ProfileRequest, profile
        from kernelevolve.profilers.text import profile_text
        from kernelevolve.tools.profile_kernel import IN_KNOWLEDGE

        if self._judges is None or self._state is None:
            return Explanation("")
        request = ProfileRequest(task=task, candidate=candidate, platform=platform, parts=("static",))
        try:
            with self._judges() as judge:
                report = profile(judge, request, self._state)
        except KernelEvolveError as error:
            # A language or platform without a static view: the author is told, and the search goes on.
            return Explanation(f"Its code could not be profiled: {error}")
        bottlenecks = dict.fromkeys(IN_KNOWLEDGE[entry.kind] for entry in report.bottlenecks)
        return Explanation(profile_text(report, _EXPLANATION), tuple(bottlenecks)[:3])
