"""Tasks in function form: `reference(...)`, `make_inputs(case)` and `CASES`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import Case, Layout, Task, TaskForm
from kernelevolve.evaluation.tasks.options import Options, is_number, read_options, unreadable
from kernelevolve.evaluation.tasks.program import TaskProgram, parameters_of


class FunctionProgram(TaskProgram):
    """A task whose reference is a function."""

    def __init__(self, task: Task, names: dict[str, Any], options: Options) -> None:
        super().__init__(task)
        self._reference: Callable[..., Any] = names["reference"]
        self._make_inputs: Callable[[Any], Any] = names["make_inputs"]
        self._options = options

    def build_reference(self, dtype: str, device: str, seed: int) -> Callable[..., Any]:
        """The function itself: it has no state to cast, move or seed."""
        return self._reference

    def flops(self, case: Case) -> float | None:
        """Value of the task's `flops(case)`."""
        return self._stated("flops", self._options.flops, case)

    def bytes(self, case: Case) -> float | None:
        """Value of the task's `bytes(case)`."""
        return self._stated("bytes", self._options.bytes, case)

    def _call_factory(self, case: Case) -> Any:
        return self._make_inputs(parameters_of(case))


def read_function_form(names: dict[str, Any], path: Path, name: str, source: str) -> FunctionProgram:
    """Make a task of a module that has `reference`, `make_inputs` and `CASES`.

    Args:
        names: the module's namespace.
        path: the task file.
        name: the task's name.
        source: the task file's text.

    Raises:
        TaskError: `TASK_UNREADABLE`, the text names the field and what is allowed; `TASK_WITHOUT_INPUTS` for empty
            `CASES`.
    """
    reference = names["reference"]
    if isinstance(reference, torch.nn.Module):
        raise unreadable(
            path, "reference is a module.", "Make it a function, or use the KernelBench form: Model and get_inputs."
        )
    for function in ("reference", "make_inputs"):
        if not callable(names[function]):
            raise unreadable(path, f"{function} is {names[function]!r}.", "It must be a function.")
    cases = read_cases(names["CASES"], path)
    options = read_options(names, path, tuple(Layout))
    task = Task(
        name=name,
        form=TaskForm.FUNCTION,
        reference=str(path),
        source=source,
        cases=cases,
        **options.fields(),
    )
    return FunctionProgram(task, names, options)


def read_cases(value: Any, path: Path) -> tuple[Case, ...]:
    """Read `CASES`: name → parameters, with optional `weight` and `hidden` among them.

    Raises:
        TaskError: `TASK_UNREADABLE` or, for no case at all, `TASK_WITHOUT_INPUTS`.
    """
    if not isinstance(value, dict):
        raise unreadable(path, f"CASES is {_short(value)}.", 'It must be a dict such as {"small": {"rows": 4}}.')
    if not value:
        raise TaskError(
            Finding.TASK_WITHOUT_INPUTS, f"{path.name}: CASES is empty.", 'Add one, e.g. {"small": {"rows": 4}}.'
        )
    return tuple(_read_case(name, entry, path) for name, entry in value.items())


def _read_case(name: Any, entry: Any, path: Path) -> Case:
    if not isinstance(name, str) or not name:
        raise unreadable(path, f"CASES has the key {name!r}.", "Case names must be strings with something in them.")
    field = f"CASES[{name!r}]"
    if not isinstance(entry, dict):
        raise unreadable(path, f"{field} is {_short(entry)}.", 'It must be a dict of parameters, e.g. {"rows": 4}.')
    parameters = dict(entry)
    weight, hidden = parameters.pop("weight", 1.0), parameters.pop("hidden", False)
    if not is_number(weight) or weight <= 0:
        raise unreadable(path, f"{field}['weight'] is {_short(weight)}.", "It must be a finite number above zero.")
    if not isinstance(hidden, bool):
        raise unreadable(path, f"{field}['hidden'] is {_short(hidden)}.", "It must be True or False.")
    for key, parameter in parameters.items():
        if not isinstance(key, str):
            raise unreadable(path, f"{field} has the key {key!r}.", "Parameter names must be strings.")
        if not _is_plain(parameter):
            raise unreadable(
                path,
                f"{field}[{key!r}] is {_short(parameter)}, a {type(parameter).__name__}.",
                "Parameters must be numbers, strings, booleans, None, and lists, tuples or dicts of them.",
            )
    return Case(name=name, parameters=parameters, weight=weight, hidden=hidden)


def _is_plain(value: Any) -> bool:
    """Whether a parameter can be written as JSON, which the task's hash needs."""
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
