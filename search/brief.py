"""What an author must know of a task, as text: the reference, the cases that are not hidden, the bounds."""

from __future__ import annotations

import ast

from kernelevolve.evaluation.task import Task

_CASES = "CASES"


def brief_of(task: Task) -> str:
    """The task for an author. Parameters of hidden cases are left out."""
    shown = [case for case in task.cases if not case.hidden]
    hidden = len(task.cases) - len(shown)
    lines = [f"Task `{task.name}`, dtypes {', '.join(task.dtypes)} (the first is the one that is timed)."]
    lines += [f"- case {case.name}, weight {case.weight:g}: {case.parameters}" for case in shown if case.parameters]
    if hidden:
        lines.append(f"- {hidden} more, hidden: other shapes of the same kind")
    layouts = [layout.value for layout in task.layouts if layout.value != "contiguous"]
    if layouts:
        lines.append(f"Inputs may also be {' or '.join(layouts)}.")
    if task.special_values:
        lines.append(f"Special values are tried: {', '.join(value.value for value in task.special_values)}.")
    if task.source:
        lines.append(f"```python\n{_without_cases(task.source) if hidden else task.source.rstrip()}\n```")
    else:
        lines.append(f"The reference is PyTorch's operator {task.reference}.")
    return "\n".join(lines)


def _without_cases(source: str) -> str:
    """The task file less its `CASES`, which would tell the hidden ones."""
    lines = source.splitlines()
    for statement in reversed(ast.parse(source).body):
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        if any(isinstance(target, ast.Name) and target.id == _CASES for target in targets):
            lines[statement.lineno - 1 : statement.end_lineno] = ["CASES = ...  # listed above"]
    return "\n".join(lines).rstrip()
