"""What one step of the search engine costs when judge and author answer at once: select, context, persist.

`python benchmarks/engine_overhead.py` measures steps at 1,000, 10,000 and 100,000 nodes for each policy. With
`--peers PYTHON`, the interpreter of an environment that has OpenEvolve and ShinkaEvolve (see `peers/README.md`), it
also runs both for the same number of steps, one after the other, and prints steps per second and per CPU second as
ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import insert, update

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.engine import Engine, start
from kernelevolve.search.landscape import Landscape
from kernelevolve.search.node import StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
from kernelevolve.search.store.schema import edges, nodes, searches
from kernelevolve.search.synthesizers import Assignment
from kernelevolve.search.synthesizers.mock import Mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

from stand_ins import FIRST_PROGRAM, changed_program  # noqa: E402 - lies beside this file, in no package

POLICIES = ("greedy", "beam", "mcts", "evolutionary", "best_of_n", "random")
SIZES = (1_000, 10_000, 100_000)


def cpu_s() -> float:
    """CPU time of this process and its children so far, seconds."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def author() -> Mock:
    """Writes what the peers' stand-in model writes, under knobs that decide its speed: always a source that is new."""

    def write(assignment: Assignment) -> tuple[str, str]:
        # Composed as for a model that reads it, though nobody does.
        assert assignment.prompt.text
        knobs = [f"knob_{number} = {assignment.randomness.choice((0, 0, 0, 1, 2))}" for number in range(8)]
        return "\n".join([*knobs, changed_program(assignment.randomness)]), f"change {assignment.order.number}"

    return Mock(write)


def engine_for(store: Store, policy: str) -> tuple[Engine, Mock]:
    """A search that nothing stops, with its start judged."""
    landscape = Landscape(0)
    point = Candidate(language="triton", source=landscape.start.source + FIRST_PROGRAM, name="start.py")
    options = OptimizeOptions(evaluations=10**9, stall=None, seed=1)
    search_id = start(store, "landscape", "cpu", [point], options, policy, "mock", brief=FIRST_PROGRAM)
    engine = Engine(store, search_id, landscape, "bench")
    engine.judge_starting_points()
    return engine, author()


def step(engine: Engine, writer: Mock) -> None:
    """One step as the driver takes it."""
    assert not isinstance(engine.step(writer), StopReason | None)


def grow(store: Store, search_id: str, size: int, policy: str) -> None:
    """Fill a search up to so many nodes with copies of its first ones, as a tree that a search might have made."""
    chance = random.Random(size)
    have = [node._mapping for node in _rows(store, search_id)]
    viable = [row for row in have if row["viable"]]
    depth = {row["step"]: row["depth"] for row in have}
    children = {row["step"]: row["children"] for row in have}
    rows: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    for number in range(len(have), size):
        # Parents are mostly recent, as where a search makes headway, and sometimes old.
        parent = int(number * chance.random() ** 0.3) if chance.random() < 0.8 else chance.randrange(number)
        model = chance.choice(viable)
        score = model["score"] * math.exp(-abs(chance.gauss(0, 0.3)))
        depth[number] = min(depth[parent] + 1, 40) if policy != "mcts" else depth[parent] + 1
        children[parent] = children.get(parent, 0) + 1
        children.setdefault(number, 0)
        rows.append(
            {
                **model, "id": f"{search_id}.{number}", "step": number, "parent_id": f"{search_id}.{parent}",
                "source_hash": f"{number:064x}", "order_id": None, "score": score, "low": score * 0.99,
                "depth": depth[number], "mutation": f"change {number % 5000}", "island": number % 2,
                "viable": chance.random() < 0.7, "visits": 0, "reward": 0.0, "confirmed": None,
            }
        )  # fmt: skip
        links.append(
            {
                "child_id": f"{search_id}.{number}", "position": 0, "parent_id": f"{search_id}.{parent}",
                "transformation": "",
            }
        )  # fmt: skip
    for row in rows:
        row["children"] = children[row["step"]]
    _visit_counts(rows, have)
    with store._database.writing() as connection:
        for begin in range(0, len(rows), 5000):
            connection.execute(insert(nodes), rows[begin : begin + 5000])
            connection.execute(insert(edges), links[begin : begin + 5000])
        for row in have:
            change = {"children": children[row["step"]], "visits": row["visits"]}
            connection.execute(update(nodes).where(nodes.c.id == row["id"]).values(change))
        last = rows[-1]["step"] if rows else have[-1]["step"]
        connection.execute(
            update(searches).where(searches.c.id == search_id).values(step=last, issued=last + 1, stalled=0)
        )


def _visit_counts(rows: list[dict[str, Any]], have: list[Any]) -> None:
    """Visits as MCTS would have counted them: everything below."""
    by_step = {row["step"]: row for row in rows}
    below = dict.fromkeys([*by_step, *(row["step"] for row in have)], 0)
    for step_number in sorted(by_step, reverse=True):
        parent = int(by_step[step_number]["parent_id"].rpartition(".")[2])
        below[parent] += below[step_number] + 1
    for step_number, row in by_step.items():
        row["visits"] = below[step_number]
        row["reward"] = 0.1 * below[step_number]
    for index, row in enumerate(have):
        have[index] = {**row, "visits": below[row["step"]]}


def _rows(store: Store, search_id: str) -> list[Any]:
    with store._database.reading() as connection:
        query = nodes.select().where(nodes.c.search_id == search_id).order_by(nodes.c.step)
        return list(connection.execute(query))


def measure_sizes(sizes: tuple[int, ...], policies: tuple[str, ...], steps: int) -> dict[str, Any]:
    """Milliseconds a step at each size, for each policy; median over the steps."""
    result: dict[str, Any] = {}
    for policy in policies:
        result[policy] = {}
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "searches.sqlite") as store:
            engine, writer = engine_for(store, policy)
            for _ in range(100):
                step(engine, writer)
            for size in sizes:
                grow(store, engine.search_id, size, policy)
                for _ in range(10):
                    step(engine, writer)
                walls, before = [], cpu_s()
                for _ in range(steps):
                    began = time.perf_counter()
                    step(engine, writer)
                    walls.append((time.perf_counter() - began) * 1e3)
                cpu_ms = (cpu_s() - before) / steps * 1e3
                walls.sort()
                result[policy][size] = {
                    "median_ms": walls[steps // 2], "p95_ms": walls[int(steps * 0.95)], "cpu_ms": cpu_ms
                }  # fmt: skip
        at = {size: round(figures["median_ms"], 2) for size, figures in result[policy].items()}
        low, high = min(sizes), max(sizes)
        growth = at[high] / at[low]
        allowed = math.log(high) / math.log(low)
        result[policy]["growth"] = {"measured": growth, "of_log_n": allowed}
        print(
            f"{policy:<13} {at} ms a step; x{growth:.2f} from {low:,} to {high:,}, log n grows x{allowed:.2f}",
            flush=True,
        )
    return result


def measure_here(steps: int, policy: str) -> dict[str, Any]:
    """The same figures as the peers' scripts print."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "searches.sqlite") as store:
        engine, writer = engine_for(store, policy)
        began, before = time.perf_counter(), cpu_s()
        for _ in range(steps):
            step(engine, writer)
        wall_s, used_s = time.perf_counter() - began, cpu_s() - before
        kept = store.search(engine.search_id).step
    return {
        "engine": f"kernelevolve, {policy}", "steps": kept, "wall_s": wall_s, "cpu_s": used_s,
        "steps_per_s": kept / wall_s, "cpu_s_per_step": used_s / kept,
    }  # fmt: skip


def measure_peers(python: Path, steps: int) -> list[dict[str, Any]]:
    """Ours and the peers', one after the other on the same machine."""
    figures = [measure_here(steps, policy) for policy in ("greedy", "evolutionary")]
    for name in ("openevolve", "shinka"):
        with tempfile.TemporaryDirectory() as folder:
            command = [str(python), str(HERE / "peers" / f"{name}_steps.py"), "--steps", str(steps), "--folder", folder]
            environment = {**os.environ, "PYTHONPATH": ""}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            figures.append(json.loads(done.stdout.splitlines()[-1]))
    for entry in figures:
        print(
            f"{entry['engine']:<28} {entry['steps']} steps, {entry['steps_per_s']:.1f} steps/s, "
            f"{entry['cpu_s_per_step'] * 1e3:.2f} CPU ms a step",
            flush=True,
        )
    for ours in figures[:2]:
        for peer in figures[2:]:
            per_s = ours["steps_per_s"] / peer["steps_per_s"]
            per_cpu = peer["cpu_s_per_step"] / ours["cpu_s_per_step"]
            print(f"{ours['engine']} against {peer['engine']}: x{per_s:.1f} steps/s, x{per_cpu:.1f} steps per CPU s")
    return figures


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="steps timed at each size")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--policies", nargs="*", default=list(POLICIES))
    parser.add_argument("--peers", type=Path, help="Python of an environment with the peers")
    parser.add_argument("--peer-steps", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "engine_overhead.json")
    given = parser.parse_args()
    results: dict[str, Any] = {"sizes": measure_sizes(tuple(given.sizes), tuple(given.policies), given.steps)}
    if given.peers is not None:
        results["peers"] = measure_peers(given.peers, given.peer_steps)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
