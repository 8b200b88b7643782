"""`kernelevolve tasks check`: try wrong answers on a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.server.rendering import table


class TaskReport(Contract):
    """The self-test's result as it travels; the fields are those of `evaluation.judge.self_test.TaskCheck`."""

    task: str
    refused: tuple[str, ...]
    accepted: tuple[str, ...]
    skipped: tuple[str, ...]
    tightened: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def weak(self) -> bool:
        """Whether some wrong answer passes."""
        return bool(self.accepted)


def run_check(task: str, platform: str, state: Path) -> tuple[dict[str, Any], TaskReport]:
    """Run the self-test; returns the task's description and the result."""
    reference = task if task.startswith("aten::") else str(Path(task).resolve())
    with Judge(state) as judge:
        reply = judge.check_task(reference, platform)
    return reply["task"], TaskReport.model_validate(reply["check"])


def task_check_view(task: dict[str, Any], result: TaskReport) -> RenderableType:
    """The result for people."""
    head = Text.assemble(
        (task["name"], "bold"), f"  {task['form']} form, {len(task['cases'])} cases, {', '.join(task['dtypes'])}: "
    )
    head.append(*(("weak", "bold red") if result.weak else ("sound", "bold green")))
    rows = table("wrong answer", "the judge")
    for names, word, style in (
        (result.refused, "refuses it", "green"),
        (result.tightened, "refuses it after tightening the task's tolerance", "yellow"),
        (result.accepted, "accepts it", "red"),
        (result.skipped, "does not apply here", "dim"),
    ):
        for name in names:
            rows.add_row(name, Text(word, style=style))
    return Group(head, rows, *(Text(note, style="dim") for note in result.notes))
