"""Searches to look at: made by the engine on the landscape, whose judge answers at once, and grown by copies."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.driver import drive
from kernelevolve.search.engine import Engine, start
from kernelevolve.search.landscape import Landscape
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
from kernelevolve.search.store.schema import nodes, searches
from kernelevolve.search.synthesizers import Assignment
from kernelevolve.search.synthesizers.mock import Mock

HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">\u202egnirts"
"""What a candidate might hold to take over a page that shows it."""


def made(
    store: Store,
    evaluations: int = 120,
    policy: str = "beam",
    task: str = "examples/landscape",
    owner: str = "",
    shared: bool = True,
) -> str:
    """A search that has ended."""
    landscape = Landscape(seed=5, pairs=6)
    options = OptimizeOptions(evaluations=evaluations, stall=None, roofline_share=None, seed=2)
    author = landscape.author()
    search_id = start(store, task, "cpu", [landscape.start], options, policy, author.name, "", owner, shared)
    engine = Engine(store, search_id, landscape, "ada")
    reason = drive(engine, author)
    assert reason is not None
    engine.finish(reason)
    return search_id


def begun(store: Store, steps: int = 8, task: str = "examples/landscape") -> Engine:
    """A search that goes on; `author()` of `Landscape(5, 6)` writes its next steps."""
    landscape = Landscape(seed=5, pairs=6)
    options = OptimizeOptions(evaluations=500, stall=None, roofline_share=None, seed=3)
    engine = Engine(
        store, start(store, task, "cpu", [landscape.start], options, "greedy", "mock", shared=True), landscape, "ada"
    )
    engine.judge_starting_points()
    advance(engine, steps)
    return engine


def advance(engine: Engine, steps: int) -> None:
    """Go on with a search."""
    author = Landscape(seed=5, pairs=6).author()
    for _ in range(steps):
        engine.step(author)


def hostile(store: Store) -> str:
    """A search whose texts try to take over the page: source, name of the change, task, author's words."""
    landscape = Landscape(seed=5)

    def write(assignment: Assignment) -> tuple[str, str]:
        return f"# {HOSTILE}\n{landscape.candidate([assignment.order.number % 6] * 8).source}", HOSTILE

    options = OptimizeOptions(evaluations=6, stall=None, roofline_share=None)
    point = Candidate(language="triton", source=landscape.start.source, name="start.py")
    engine = Engine(
        store, start(store, HOSTILE, "cpu", [point], options, "greedy", HOSTILE, shared=True), landscape, HOSTILE
    )
    engine.judge_starting_points()
    for _ in range(5):
        engine.step(Mock(write))
    return engine.search_id


def grow(store: Store, search_id: str, size: int) -> None:
    """Fill a search up to so many nodes with copies of its first ones, as a tree that a search might have made."""
    chance = random.Random(size)
    with store._database.writing() as connection:
        query = select(nodes).where(nodes.c.search_id == search_id).order_by(nodes.c.step)
        have = [dict(row._mapping) for row in connection.execute(query)]
        viable = [row for row in have if row["viable"]]
        failed = [row for row in have if not row["viable"]] or viable
        depth = {row["step"]: row["depth"] for row in have}
        rows: list[dict[str, Any]] = []
        for step in range(len(have), size):
            parent = int(step * chance.random() ** 0.3) if chance.random() < 0.8 else chance.randrange(step)
            model = chance.choice(viable if chance.random() < 0.8 else failed)
            factor = math.exp(-abs(chance.gauss(0, 0.2)))
            speedup = model["score"] * factor
            depth[step] = depth[parent] + 1
            rows.append(
                {
                    **model, "id": f"{search_id}.{step}", "step": step, "parent_id": f"{search_id}.{parent}",
                    "source_hash": f"{step:064x}", "order_id": None, "score": speedup, "low": speedup * 0.99,
                    "fitness": f"[{speedup}, {speedup * 0.99}, {speedup * 1.01}]", "depth": depth[step],
                    "mutation": f"change {step} of knob {step % 12}", "confirmed": None, "confirmation_object": None,
                }
            )  # fmt: skip
        for begin in range(0, len(rows), 2000):
            connection.execute(insert(nodes), rows[begin : begin + 2000])
        options = OptimizeOptions(evaluations=size, stall=None).model_dump_json()
        change = {"step": size - 1, "options": options}
        connection.execute(update(searches).where(searches.c.id == search_id).values(**change))


def filled(state: Path, large: int = 20_000) -> dict[str, str]:
    """A state folder with one search of each kind: name → handle."""
    state.mkdir(parents=True, exist_ok=True)
    with Store(state / "searches.sqlite") as store:
        found = {"made": made(store), "hostile": hostile(store), "begun": begun(store).search_id}
        found["middle"] = made(store, 60, "evolutionary", "examples/layernorm_gelu")
        grow(store, found["middle"], 400)
        found["large"] = made(store, 60, "mcts", "examples/attention")
        grow(store, found["large"], large)
    return found
