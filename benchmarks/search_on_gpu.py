"""A whole search on a GPU: `make bench-gpu-search` optimises `examples/conv1d` with the built-in mutator.

Writes report, winner, verdict, receipt and the curve (best speed-up after each evaluation) to
`benchmarks/results/<device>/conv1d/`.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path

from kernelevolve.evaluation.platforms.nvml import nvml_devices
from kernelevolve.search.comparison import best_so_far
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
from kernelevolve.server.commands.optimize import OptimizeArguments, run_optimize

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Search, then write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", type=Path, default=HERE.parent / "examples" / "conv1d")
    parser.add_argument("--policy", default="greedy")
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for the results")
    given = parser.parse_args()
    device = nvml_devices()[0]
    short = re.sub(r"[^a-z0-9]+", "", device.name.lower().replace("nvidia", ""))
    folder = given.output / short / given.task.stem
    options = OptimizeOptions(evaluations=given.evaluations, stall=None, wall_clock_s=60 * given.minutes)
    with tempfile.TemporaryDirectory() as state:
        arguments = OptimizeArguments(
            task=str(given.task), start=None,
            platform=f"cuda:sm_{device.compute_capability[0]}{device.compute_capability[1]}", policy=given.policy,
            synthesizer="mutator", options=options, endpoint={}, output=folder, resume=None, state=Path(state),
        )  # fmt: skip
        began = time.perf_counter()
        result = run_optimize(arguments, quiet=False)
        wall_s = time.perf_counter() - began
        with Store(Path(state) / "searches.sqlite") as store:
            nodes = store.nodes(result["search_id"])
            curve = best_so_far(nodes, options.margin, len(nodes))
    figures = {
        "device": device.name,
        "driver": device.driver,
        "wall_s": round(wall_s, 1),
        "evaluations": len(nodes),
        "judged_s": round(sum(node.judged_s for node in nodes), 1),
        "best_so_far": curve,
        "nodes": [
            {
                "step": node.step,
                "parents": node.parents,
                "mutation": node.mutation,
                "status": node.status,
                "speedup": node.fitness.speedup,
                "low": node.fitness.low,
                "high": node.fitness.high,
                "latency_ms": node.latency_ms,
                "roofline_share": node.roofline_share,
            }
            for node in nodes
        ],
        "summary": result,
    }
    del figures["summary"]["files"]
    (folder / "search.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    # The results are kept: in which folder of whose machine the task lay is no part of them.
    for path in folder.iterdir():
        path.write_text(path.read_text(encoding="utf-8").replace(f"{HERE.parent}/", ""), encoding="utf-8")
    print(f"{len(nodes)} candidates in {wall_s:.0f} s, best {curve[-1]:.3f}x; wrote {folder}")


if __name__ == "__main__":
    main()
