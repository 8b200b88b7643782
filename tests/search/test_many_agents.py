"""Thirty-two processes drive one search, and some of them are killed while they do. This file is also their program."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.search.driver import drive
from kernelevolve.search.engine import Engine, start
from kernelevolve.search.landscape import Landscape
from kernelevolve.search.node import Node, SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import Order, OrderState
from kernelevolve.search.store import Store

AGENTS = 32
KILLS = 20
EVALUATIONS = 400
LANDSCAPE = Landscape(seed=4)
HASTE = 60.0
"""The clock of this test runs so much faster than time: leases of minutes, which judging needs, end in seconds."""
LEASE_S = 180.0
JUDGING_S = 0.3
"""Seconds that a judgement takes at most, by a watch: long enough to be killed in."""


def hasty() -> float:
    return time.time() * HASTE


class SlowJudge:
    """The landscape's verdicts, not at once."""

    def judge(self, request: JudgeRequest, progress: Callable[[str, float], None] | None = None) -> Verdict:
        time.sleep(random.uniform(0, JUDGING_S))
        return LANDSCAPE.judge(request)


@dataclass
class Notes:
    """What an agent was told is safe, in a file that is on disk when `note` returns."""

    path: Path

    def note(self, node_id: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{node_id}\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[str]:
        # What a killed agent was writing may lack its end, and was not said yet.
        return [line.strip() for line in self.path.open() if line.endswith("\n")] if self.path.exists() else []


class NotingEngine(Engine):
    """Notes each node once `submit` has returned it."""

    notes: Notes

    def submit(self, order: Order, candidate: Candidate, *arguments: Any) -> Node:
        node = super().submit(order, candidate, *arguments)
        self.notes.note(node.node_id)
        return node


def work(database: Path, search_id: str, notes: Path) -> None:
    """What each process does."""
    with Store(database, clock=hasty) as store:
        engine = NotingEngine(store, search_id, SlowJudge(), f"agent {os.getpid()}")
        engine.notes = Notes(notes)
        reason = drive(engine, LANDSCAPE.author())
        assert reason is not None
        engine.finish(reason)


class Crew:
    """The processes."""

    def __init__(self, database: Path, search_id: str) -> None:
        self._names = (database.with_name(f"notes-{number}") for number in itertools.count())
        self._command = [sys.executable, __file__, str(database), search_id]
        self.at_work: list[tuple[subprocess.Popen[bytes], Notes]] = []
        self.gone: list[Notes] = []

    def hire(self) -> None:
        path = next(self._names)
        self.at_work.append((subprocess.Popen([*self._command, str(path)]), Notes(path)))

    def kill_one(self, chance: random.Random) -> bool:
        """Kill one of those that have got something done, if there is one."""
        busy = [place for place, (process, notes) in enumerate(self.at_work) if process.poll() is None and notes.read()]
        if not busy:
            return False
        process, notes = self.at_work.pop(chance.choice(busy))
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.gone.append(notes)
        return True

    def dismiss(self) -> None:
        for process, _notes in self.at_work:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_nothing_that_was_acknowledged_is_lost_whoever_dies(tmp_path: Path) -> None:
    database = tmp_path / "searches.sqlite"
    chance = random.Random(0)
    options = OptimizeOptions(evaluations=EVALUATIONS, stall=None, roofline_share=None, lease_s=LEASE_S, limit_s=1.0)
    with Store(database, clock=hasty) as store:
        search_id = start(store, "landscape", "cpu", [LANDSCAPE.start], options, "mcts", "mock")
        crew = Crew(database, search_id)
        try:
            for _ in range(AGENTS):
                crew.hire()
            while store.search(search_id).step + 1 < EVALUATIONS * 0.9:
                time.sleep(0.1)
                if len(crew.gone) < KILLS and crew.kill_one(chance):
                    crew.hire()
            assert [process.wait() for process, _notes in crew.at_work] == [0] * AGENTS
        finally:
            crew.dismiss()

    every_lease_has_ended = hasty() + 10 * LEASE_S
    with Store(database, clock=lambda: every_lease_has_ended) as store:
        search = store.search(search_id)
        assert (search.state, search.reason) == (SearchState.FINISHED, StopReason.EVALUATIONS)
        nodes = store.nodes(search_id)
        assert [node.step for node in nodes] == list(range(len(nodes)))
        # Who was late, but alive, may come on top.
        assert EVALUATIONS <= len(nodes) < EVALUATIONS + AGENTS

        acknowledged = [node_id for notes in crew.gone for node_id in notes.read()]
        assert len(crew.gone) == KILLS
        assert len(acknowledged) >= KILLS
        acknowledged += [node_id for _process, notes in crew.at_work for node_id in notes.read()]
        assert len(acknowledged) == len(set(acknowledged))
        assert set(acknowledged) <= {node.node_id for node in nodes}
        for node in nodes:
            assert store.candidate(node).source_hash == node.source_hash == store.verdict(node).source_hash

        assert store.under_way(search_id) == 0
        orders = {order.order_id: order for order in store.orders(search_id)}
        states = {order.state for order in orders.values()}
        assert OrderState.EXPIRED in states  # somebody died with an order in hand
        assert states <= {OrderState.DONE, OrderState.EXPIRED, OrderState.DUPLICATE, OrderState.WAITING}
        assert [orders[node.order_id or ""].node_id for node in nodes] == [node.node_id for node in nodes]
        assert [event.kind for event in store.events(search_id)].count("node") == len(nodes)


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
