"""`kernelevolve bench retrieval`: how well the knowledge base answers questions with known answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.quality import Score, Split, evaluate, read_questions, shipped_questions
from kernelevolve.server.commands.knowledge import opened
from kernelevolve.server.rendering import stderr_console, table


def run_bench_retrieval(
    state: Path, files: Sequence[Path], split: str, output: Path | None, quiet: bool
) -> dict[str, Any]:
    """Ask the questions, print a table, write the figures.

    Args:
        state: state folder with the index.
        files: questions of one's own; the shipped ones if there are none.
        split: `tuning`, `held_out` or `all`.
        output: file for the figures.
        quiet: print nothing.

    Raises:
        KnowledgeError: a file can't be read, or there are no questions.
    """
    if split not in ("all", *(entry.value for entry in Split)):
        raise KnowledgeError(f"There is no split {split!r}; there are tuning, held_out and all.")
    questions = read_questions(files) if files else shipped_questions()
    chosen = [question for question in questions if split in ("all", question.split.value)]
    if not chosen:
        raise KnowledgeError("There are no questions in that split.")
    base = opened(state)
    with Progress(console=stderr_console(), transient=True, disable=quiet) as bar:
        task = bar.add_task("asking", total=None)
        scores, ranks = evaluate(base, chosen, progress=lambda done, all_: bar.update(task, completed=done, total=all_))
    index = base.store.counts()
    index.pop("location")
    result: dict[str, Any] = {
        "split": split,
        "questions": len(chosen),
        "index": index,
        "scores": [{**asdict(score), "method": score.method.value} for score in scores],
    }
    if split == Split.TUNING.value:
        # Of the other half nobody may see which questions fail.
        result["ranks"] = ranks
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if not quiet:
        Console().print(_view(scores))
    return result


def _view(scores: Sequence[Score]) -> Any:
    view = table(
        "method", "questions", "", "recall@5", "nDCG@10", "p50 ms", right=("", "recall@5", "nDCG@10", "p50 ms")
    )
    for score in sorted(scores, key=lambda score: (score.kind != "all", score.kind)):
        view.add_row(
            score.method.value, score.kind, str(score.questions), f"{score.recall:.3f}", f"{score.ndcg:.3f}",
            f"{score.p50_ms:.1f}",
        )  # fmt: skip
    return view
