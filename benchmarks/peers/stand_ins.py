"""What both scripts share: an instant model, an instant evaluator, the clock and the one line of output."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = """\
// EVOLVE-BLOCK-START
#include <algorithm>
#include <cmath>
#include <cstddef>

constexpr std::size_t kTile = {tile};
constexpr std::size_t kUnroll = {unroll};
constexpr std::size_t kPrefetch = {prefetch};

// Root mean square of one row, in kUnroll partial sums.
static float row_scale(const float* row, std::size_t columns, float epsilon) {{
  float partial[kUnroll] = {{}};
  std::size_t column = 0;
  for (; column + kUnroll <= columns; column += kUnroll) {{
    for (std::size_t lane = 0; lane < kUnroll; ++lane) {{
      const float value = row[column + lane];
      partial[lane] += value * value;
    }}
  }}
  float sum = 0.0f;
  for (std::size_t lane = 0; lane < kUnroll; ++lane) sum += partial[lane];
  for (; column < columns; ++column) sum += row[column] * row[column];
  return 1.0f / std::sqrt(sum / static_cast<float>(columns) + epsilon);
}}

// Each row is divided by its root mean square and multiplied by the weights.
extern "C" void rms_norm(const float* input, const float* weight, float* output, std::size_t rows,
                         std::size_t columns) {{
  for (std::size_t row = 0; row < rows; ++row) {{
    const float* source = input + row * columns;
    float* target = output + row * columns;
    const float scale = row_scale(source, columns, 1e-6f);
    for (std::size_t start = 0; start < columns; start += kTile) {{
      const std::size_t stop = std::min(columns, start + kTile);
      __builtin_prefetch(source + stop + kPrefetch);
      for (std::size_t column = start; column < stop; ++column) {{
        target[column] = source[column] * scale * weight[column];
      }}
    }}
  }}
}}
// EVOLVE-BLOCK-END
"""
FIRST_PROGRAM = PROGRAM.format(tile=64, unroll=4, prefetch=16)


def changed_program(choices: random.Random) -> str:
    """The program with its three numbers drawn anew: what the model answers."""
    return PROGRAM.format(
        tile=choices.randrange(1, 5000), unroll=choices.randrange(1, 100), prefetch=choices.randrange(5000)
    )


def evaluate(program_path: str) -> dict[str, float]:
    """A number from 0 to 1 that depends on the text alone; compiles and runs nothing."""
    return {"combined_score": zlib.crc32(Path(program_path).read_bytes()) / 2**32}


class Meter:
    """Wall time and processor time of this process and of its ended children, from now on."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = self._cpu_now()

    @staticmethod
    def _cpu_now() -> float:
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    @property
    def wall_s(self) -> float:
        """Seconds on the clock."""
        return time.monotonic() - self._wall

    @property
    def cpu_s(self) -> float:
        """User and system seconds."""
        return self._cpu_now() - self._cpu


@contextlib.contextmanager
def silent_stdout() -> Iterator[None]:
    """What the engine prints goes nowhere; its warnings still come on stderr."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def arguments(description: str) -> argparse.Namespace:
    """The options of both scripts; the folder is made here and has to be empty."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="new or empty: where the engine keeps its files")
    parser.add_argument("--limit-s", type=float, default=600.0, help="stop early after so many seconds")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty: the engine might resume from it")
    return options


def report(
    engine: str, options: argparse.Namespace, steps: int, wall_s: float, cpu_s: float, settings: dict[str, str]
) -> str:
    """The one line for stdout."""
    line: dict[str, Any] = {
        "engine": engine,
        "steps": steps,
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "steps_per_s": round(steps / wall_s, 2),
        "cpu_s_per_step": round(cpu_s / max(steps, 1), 4),
        "settings": settings,
    }
    if steps < options.steps and wall_s > options.limit_s:
        line["stopped_early"] = True
    return json.dumps(line)
