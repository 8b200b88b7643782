"""Engine overhead of OpenEvolve: N steps with an instant model and an instant evaluator, one JSON line on stdout."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
from importlib.metadata import version
from typing import Any

import stand_ins
from openevolve import OpenEvolve
from openevolve.config import Config, LLMModelConfig
from openevolve.llm.base import LLMInterface

WORKERS = os.cpu_count() or 1
SETTINGS = {
    "model": "init_client hook: answers inside the worker process, no HTTP",
    "evaluator": "one Python function called inside the worker process",
    "evaluator.parallel_evaluations": f"{WORKERS}, one worker process per core",
    "evaluator.cascade_evaluation": "off, the evaluator has one stage",
    "diff_based_evolution": "off, the model answers whole programs",
    "database.log_prompts": "off, less to keep",
    "log_level": "WARNING, less to write",
    "left as they are": "checkpoint_interval 100, population_size 1000, 5 islands, prompt, no novelty check",
}


class InstantModel(LLMInterface):
    """Answers at once; the engine makes one in each of its worker processes."""

    def __init__(self, config: LLMModelConfig) -> None:
        self.model = config.name
        # Every worker has a stream of its own, or all of them would propose the same programs.
        self._choices = random.Random(f"{config.random_seed} {multiprocessing.current_process().name}")

    async def generate(self, prompt: str, **options: Any) -> str:
        """One answer."""
        return f"```cpp\n{stand_ins.changed_program(self._choices)}```"

    async def generate_with_context(self, system_message: str, messages: list[dict[str, str]], **options: Any) -> str:
        """One answer."""
        return await self.generate(system_message)


def configuration(steps: int, seed: int) -> Config:
    config = Config(max_iterations=steps, random_seed=seed, log_level="WARNING", language="cpp", file_suffix=".cpp")
    model = LLMModelConfig(name="instant", init_client=InstantModel)
    config.llm.models, config.llm.evaluator_models = [model], [model]
    config.diff_based_evolution = False
    config.database.log_prompts = False
    config.evaluator.cascade_evaluation = False
    config.evaluator.parallel_evaluations = WORKERS
    return config


def main() -> None:
    options = stand_ins.arguments(__doc__ or "")
    first_program = options.folder / "first.cpp"
    first_program.write_text(stand_ins.FIRST_PROGRAM)
    with stand_ins.silent_stdout():
        engine = OpenEvolve(
            initial_program_path=str(first_program),
            evaluation_file=stand_ins.__file__,
            config=configuration(options.steps, options.seed),
            output_dir=str(options.folder / "output"),
        )
        store = engine.database.add
        steps = 0
        meter = stand_ins.Meter()

        def store_and_count(program: Any, iteration: int | None = None, **more: Any) -> str | None:
            """Counts what is stored; the first program and copies to other islands come without an iteration."""
            nonlocal steps
            program_id: str | None = store(program, iteration=iteration, **more)
            steps += iteration is not None and program_id is not None
            if meter.wall_s > options.limit_s and engine.parallel_controller:
                engine.parallel_controller.request_shutdown()
            return program_id

        engine.database.add = store_and_count
        asyncio.run(engine.run())
        wall_s, cpu_s = meter.wall_s, meter.cpu_s
    print(stand_ins.report(f"openevolve {version('openevolve')}", options, steps, wall_s, cpu_s, SETTINGS))


if __name__ == "__main__":
    main()
