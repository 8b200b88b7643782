"""Engine overhead of ShinkaEvolve: N steps with an instant model and an instant evaluator, one JSON line on stdout."""

from __future__ import annotations

import asyncio
import os
import random
from importlib.metadata import version
from typing import Any

import numpy as np
import stand_ins
from shinka.core import EvolutionConfig, ShinkaEvolveRunner
from shinka.database import DatabaseConfig, ProgramDatabase
from shinka.launch import LocalJobConfig
from shinka.llm import AsyncLLMClient, QueryResult

# Never called: the engine only checks that the name has a form it knows.
MODEL = "local/instant@http://localhost:1/v1"
BUDGET = 1.0
CORES = os.cpu_count() or 1
# The engine starts a Python process for every evaluation: this one does no more than it must.
EVALUATOR = """\
import sys, zlib
program, folder = sys.argv[2], sys.argv[4]
with open(program, "rb") as source, open(folder + "/metrics.json", "w") as metrics:
    metrics.write('{"combined_score": %.9f}' % (zlib.crc32(source.read()) / 2**32))
with open(folder + "/correct.json", "w") as correct:
    correct.write('{"correct": true}')
"""
ANSWER = "<NAME>numbers</NAME>\n<DESCRIPTION>Other numbers.</DESCRIPTION>\n<CODE>\n```cpp\n{program}```\n</CODE>"


class InstantModel(AsyncLLMClient):
    """Answers at once, inside the process; after the time limit an answer claims to cost the whole budget."""

    def __init__(self, seed: int, limit_s: float) -> None:
        super().__init__(model_names=[MODEL], verbose=False)
        self._choices = random.Random(seed)
        self._limit_s = limit_s
        self._meter = stand_ins.Meter()

    async def query(self, msg: str, system_msg: str, *_: Any, **__: Any) -> QueryResult:
        """One answer in the form that the engine asks for."""
        return QueryResult(
            content=ANSWER.format(program=stand_ins.changed_program(self._choices)),
            msg=msg,
            system_msg=system_msg,
            new_msg_history=[],
            model_name=MODEL,
            kwargs={},
            input_tokens=0,
            output_tokens=0,
            cost=BUDGET if self._meter.wall_s > self._limit_s else 0.0,
        )


def configuration(steps: int, folder: str) -> EvolutionConfig:
    return EvolutionConfig(
        num_generations=steps + 1,  # the first program is generation 0
        language="cpp",
        results_dir=folder,
        llm_models=[MODEL],
        llm_dynamic_selection=None,
        patch_types=["full"],
        patch_type_probs=[1.0],
        meta_rec_interval=None,
        embedding_model=None,
        max_api_costs=BUDGET,
    )


def stored_steps(config: DatabaseConfig) -> int:
    """How many generations after the first one have a judged program in the store."""
    programs = ProgramDatabase(config, embedding_model="", read_only=True).get_all_programs()
    return len({program.generation for program in programs if program.correct and program.generation > 0})


def settings(engine: ShinkaEvolveRunner) -> dict[str, str]:
    jobs = f"{engine.max_evaluation_jobs}, {engine.max_proposal_jobs} and {engine.max_db_workers}"
    return {
        "model": "the runner's client object replaced: answers inside the process, no HTTP",
        "evaluator": "local job: the engine starts one Python process per step, here with two imports",
        "max_evaluation_jobs, max_proposal_jobs, max_db_workers": f"asked {CORES} each (cores), engine took {jobs}",
        "patch_types": "full only, the model answers whole programs",
        "llm_dynamic_selection": "off, there is one model",
        "meta_rec_interval, embedding_model": "off, they need a network",
        "max_api_costs": "used only to stop at the time limit",
        "verbose": "off, less to write; the engine still writes a table per step",
        "left as they are": "2 islands, archive 40, weighted parent selection",
    }


def main() -> None:
    options = stand_ins.arguments(__doc__ or "")
    random.seed(options.seed)
    np.random.seed(options.seed)
    database = DatabaseConfig()
    with stand_ins.silent_stdout():
        engine = ShinkaEvolveRunner(
            evo_config=configuration(options.steps, str(options.folder / "results")),
            job_config=LocalJobConfig(),
            db_config=database,
            banner_style="minimal",
            verbose=False,
            max_evaluation_jobs=CORES,
            max_proposal_jobs=CORES,
            max_db_workers=CORES,
            init_program_str=stand_ins.FIRST_PROGRAM,
            evaluate_str=EVALUATOR,
        )
        engine.llm = InstantModel(options.seed, options.limit_s)
        meter = stand_ins.Meter()
        asyncio.run(engine.run_async())
        wall_s, cpu_s = meter.wall_s, meter.cpu_s
        steps = stored_steps(database)
    name = f"shinka-evolve {version('shinka-evolve')}"
    print(stand_ins.report(name, options, steps, wall_s, cpu_s, settings(engine)))


if __name__ == "__main__":
    main()
