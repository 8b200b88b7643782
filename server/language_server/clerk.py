"""The process beside the language server that reads the state folder, judges and profiles.

It is a process of its own because it imports what the server must not: the store, pydantic, the judge's client.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.errors import SearchError
from kernelevolve.search.node import Node, SearchRecord, SearchState
from kernelevolve.server.language_server.lines import Call, Lines
from kernelevolve.server.language_server.remembered import Remembered

_POLL_S = 1.0
_NODES = 2_000


class Clerk:
    """Answers the server's questions.

    Args:
        state: the state folder.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self._opening = threading.Lock()
        self._following = threading.Lock()
        self.remembered = Remembered(state)
        self.lines = Lines(
            {
                "targets": self.targets,
                "recall": self.recall,
                "searches": self.searches,
                "search": self.search,
                "follow": self.follow,
                "best": self.best,
                "stop": self.stop,
                "verify": self.verify,
                "profile": self.profile,
                "search_platform": self.search_platform,
            }
        )

    @cached_property
    def _store(self) -> Any:
        from kernelevolve.server.settings import open_store

        return open_store(self.state)

    @property
    def store(self) -> Any:
        """The searches."""
        with self._opening:
            return self._store

    @cached_property
    def _pool(self) -> Any:
        from kernelevolve.tools.judges import JudgePool

        return JudgePool(self.state)

    @property
    def pool(self) -> Any:
        """The judges."""
        with self._opening:
            return self._pool

    # -- looking ------------------------------------------------------------------------------------------------------

    def targets(self, _call: Call, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Whether Triton kernels can be compiled for each target here."""
        return [_target(name) for name in given["targets"]]

    def recall(self, _call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        """The best kernel for a task, and the last verdict on a file."""
        verdict = self.remembered.verdict(given["path"])
        best = None
        if given["task"] is not None and self._has_searches():
            found = self._best_search(given["task"], given["language"])
            if found is not None:
                search, node = found
                best = {"search": search.search_id, "speedup": node.score.speedup, "language": node.language}
        if verdict is None and self._has_searches():
            candidate = Candidate(language=given["language"], source=given["text"])
            known = self.store.verdict_of_source(candidate.source_hash)
            if known is not None:
                from kernelevolve.server.language_server.judging import verdict_on_file

                verdict = verdict_on_file(known, given["text"])
        return {"verdict": verdict, "best": best}

    def _has_searches(self) -> bool:
        """Whether there may be any: looking must not make a database."""
        from kernelevolve.server.settings import Settings

        return (self.state / "searches.sqlite").exists() or Settings().value("database") is not None

    def _best_search(self, task: str, language: str) -> tuple[SearchRecord, Node] | None:
        ours = [search for search in self.store.searches() if _same_task(search.task, task) and search.leader_id]
        for search in sorted(ours, key=lambda search: -search.leader_score):
            node = self.store.leader(search.search_id)
            if node is not None and node.viable and node.language == language:
                return search, node
        return None

    def searches(self, _call: Call, _given: Mapping[str, Any]) -> dict[str, Any]:
        """All searches, the newest first."""
        found = self.store.searches() if self._has_searches() else ()
        return {"searches": [self._summary(search) for search in found]}

    def _summary(self, search: SearchRecord) -> dict[str, Any]:
        return {
            "id": search.search_id,
            "task": search.task,
            "platform": search.platform,
            "state": search.state.value,
            "reason": search.reason.value if search.reason else None,
            "evaluations": search.step + 1,
            "budget": search.options.evaluations,
            "best_speedup": search.leader_score or None,
            "kernel_uri": _starting_point_uri(search, self.remembered.file_of(search.search_id)),
            "started": search.made,
        }

    def search(self, _call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        """One search, with its nodes and the best source."""
        from kernelevolve.search.memory import what_changed
        from kernelevolve.search.store.overview import Overview

        name = given["search"]
        if not self._has_searches():
            raise SearchError.no_search(name)
        search = self.store.search(name)
        steps = range(max(0, search.step + 1 - _NODES), search.step + 1)
        nodes = Overview(self.store).nodes_at(name, steps)
        leader = self.store.leader(name)
        best = None
        if leader is not None and leader.viable:
            best = {"node": leader.node_id, "source": self.store.candidate(leader).source, **self._receipt(leader)}
        return {
            **self._summary(search),
            "nodes": [
                {
                    "id": node.node_id,
                    "parents": list(node.parents),
                    "status": node.status.value,
                    "speedup": node.score.speedup if node.viable else None,
                    "generation": node.depth,
                    "note": what_changed(node),
                }
                for node in nodes
            ],
            "best": best,
            "report": self._report(name),
            "dashboard": None,
        }

    def _receipt(self, node: Node) -> dict[str, Any]:
        verdict = self.store.confirmation(node) or self.store.verdict(node)
        return {"receipt": verdict.receipt.receipt_hash}

    def _report(self, name: str) -> str | None:
        path = self.state / "language_server" / "searches" / f"kernelevolve-{name}" / "report.html"
        return str(path) if path.exists() else None

    def best(self, _call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        """The best kernel of a search, or of all searches of a task, with its receipt.

        Raises:
            SearchError: there is none.
        """
        language = given["language"]
        if not self._has_searches():
            raise SearchError("No search has been made yet.", "`Optimize` starts one.")
        if given["search"] is not None:
            search = self.store.search(given["search"])
            node = self.store.leader(search.search_id)
        else:
            if given["task"] is None:
                raise SearchError("No task belongs to this file.", given["why_no_task"])
            found = self._best_search(given["task"], language)
            search, node = found if found is not None else (None, None)
        if node is None or not node.viable or search is None:
            raise SearchError(f"No search of this task has a correct {language} kernel yet.", "`Optimize` starts one.")
        if node.language != language:
            raise SearchError(
                f"The best kernel of search {search.search_id} is in {node.language}, and this file is {language}.",
                "Apply it to a file of its language.",
            )
        return {
            "search": search.search_id,
            "node": node.node_id,
            "source": self.store.candidate(node).source,
            "speedup": node.score.speedup,
            "confirmed": node.confirmed is not None,
            "platform": search.platform,
            "baseline": search.options.baseline,
            **self._receipt(node),
        }

    def follow(self, _call: Call, _given: Mapping[str, Any]) -> dict[str, Any]:
        """From now on, tell which searches moved."""
        if self._following.acquire(blocking=False):
            threading.Thread(target=self._poll, daemon=True).start()
        return {}

    def _poll(self) -> None:
        from kernelevolve.search.store.overview import Overview

        known: int | None = None
        while True:
            # A database that can't be read now (another program migrates it, say) can be a second later.
            try:
                if self._has_searches():
                    view = Overview(self.store)
                    if known is None:
                        known = view.last_event()
                    moved: dict[str, None] = {}
                    while found := view.events_after(known):
                        known = found[-1].event.number
                        moved |= dict.fromkeys(entry.search_id for entry in found)
                    if moved:
                        self.lines.send({"event": {"searches": list(moved)}})
                else:
                    known = 0
            except SearchError as error:
                self.lines.send({"event": {"trouble": str(error)}})
            time.sleep(_POLL_S)

    # -- doing --------------------------------------------------------------------------------------------------------

    def stop(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        """End a search."""
        from kernelevolve.tools.searches import stop_search

        if not self._has_searches():
            raise SearchError.no_search(given["search"])
        summary = stop_search(self.pool, self.store, given["search"])
        state = SearchState.FINISHED if summary.reason is not None else SearchState.RUNNING
        return {"search": summary.search_id, "state": state.value}

    def verify(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        """Judge a text."""
        from kernelevolve.server.language_server.judging import verify

        verdict = verify(self.pool, call, given)
        self.remembered.keep_verdict(given["path"], verdict)
        return verdict

    def profile(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        """Profile a text."""
        from kernelevolve.server.language_server.judging import profile

        return profile(self.pool, call, given)

    def search_platform(self, _call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        """Where a search for a candidate of a language can be timed.

        Raises:
            SearchError: nowhere here.
        """
        from kernelevolve.server.language_server.judging import platforms_for

        language, targets = given["language"], given["targets"]
        if language == "cpp":
            return {"platform": "cpu"}
        fitting = [platform for platform in platforms_for(language, targets) if platform != "cpu"]
        timed = next((platform for platform in fitting if _has_device(platform)), None)
        if timed is None:
            raise SearchError(
                f"A search times its candidates, and no device for {', '.join(fitting) or 'any target'} is here.",
                "Add a target that is here to kernelevolve.targets, or run the search on a machine that has the "
                "device: `kernelevolve optimize`, or the MCP server.",
            )
        return {"platform": timed}


def _has_device(name: str) -> bool:
    from kernelevolve.evaluation.platform import get_platform

    return get_platform(name).availability().device is not None


def _target(name: str) -> dict[str, Any]:
    from kernelevolve.evaluation.errors import PlatformError
    from kernelevolve.evaluation.platform import Level, get_platform

    try:
        platform = get_platform(name)
    except PlatformError as error:
        return {"name": name, "compiles": False, "reason": str(error)}
    found = platform.availability()
    compiles = any({Level.COMPILED, Level.EXECUTED} & set(levels) for levels in found.levels.values())
    entry: dict[str, Any] = {"name": name, "compiles": compiles}
    return entry if compiles else {**entry, "reason": " ".join(found.missing) or "Nothing compiles for it here."}


def _same_task(one: str, other: str) -> bool:
    if one == other:
        return True
    if "::" in one or "::" in other:
        return False
    return _task_file(Path(one)) == _task_file(Path(other))


def _task_file(path: Path) -> Path:
    return (path / "task.py" if path.is_dir() else path).resolve()


def _starting_point_uri(search: SearchRecord, file: str | None) -> str | None:
    """The file a search began from: the one in the editor, else the candidate beside the task."""
    if file is not None:
        return Path(file).as_uri()
    if "::" in search.task:
        return None
    task = _task_file(Path(search.task))
    names = ("kernel.cpp",) if search.platform == "cpu" else ("triton.py", "kernel.cu")
    beside = [task.parent / name for name in names if (task.parent / name).is_file()]
    return beside[0].as_uri() if beside else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the server on stdin and stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    given = parser.parse_args(arguments)
    from kernelevolve.server.settings import Settings

    Settings().hand_down()
    clerk = Clerk(given.state)
    clerk.lines.serve()
    # Judges are children: those that are lent were told to end, the idle ones are ended here.
    if "_pool" in vars(clerk):
        clerk.pool.close()
    os._exit(0)


if __name__ == "__main__":
    main()
