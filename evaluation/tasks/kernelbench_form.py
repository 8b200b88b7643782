"""Tasks in the form of KernelBench: a module `Model`, `get_inputs()` and `get_init_inputs()`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import Case, Layout, Task, TaskForm
from kernelevolve.evaluation.tasks.options import Options, read_options, unreadable
from kernelevolve.evaluation.tasks.program import TaskProgram, cast_module, seeded

CASE = Case(name="default")
"""KernelBench problems have one set of shapes."""


class KernelBenchProgram(TaskProgram):
    """A KernelBench problem, unmodified."""

    def __init__(self, task: Task, names: dict[str, Any], options: Options) -> None:
        super().__init__(task)
        self._model: type[torch.nn.Module] = names["Model"]
        self._get_inputs: Callable[[], Any] = names["get_inputs"]
        self._get_init_inputs: Callable[[], Any] = names.get("get_init_inputs", list)
        self._options = options

    def build_reference(self, dtype: str, device: str, seed: int) -> torch.nn.Module:
        """Build `Model` on the CPU from a seed, then cast and move it; train or eval mode stays as constructed."""
        init_inputs = self.init_inputs()
        try:
            with seeded(seed):
                module = self._model(*init_inputs)
            return cast_module(module, dtype, device)
        except Exception as error:
            raise self._failure("cannot build Model", error) from error

    def init_inputs(self) -> tuple[Any, ...]:
        """What `get_init_inputs()` returns: tensors and plain values only, so that it can be sent to a candidate.

        Raises:
            TaskError: `TASK_FAILS`.
        """
        try:
            # A fixed seed: the judge and the worker must get the same tensors, if there are any.
            with seeded(0):
                value = self._get_init_inputs()
        except Exception as error:
            raise self._failure("cannot make the init inputs", error) from error
        if not isinstance(value, list | tuple) or not all(_can_be_sent(item) for item in value):
            raise TaskError(
                Finding.TASK_FAILS,
                f"Task {self.task.name}: get_init_inputs() returned {str(value)[:200]}.",
                "It must return a list of numbers, strings, None, tensors, and lists, tuples or dicts of them.",
            )
        return tuple(value)

    def flops(self, case: Case) -> float | None:
        """Value of the task's `flops(case)`."""
        return self._stated("flops", self._options.flops, case)

    def bytes(self, case: Case) -> float | None:
        """Value of the task's `bytes(case)`."""
        return self._stated("bytes", self._options.bytes, case)

    def _call_factory(self, case: Case) -> Any:
        return self._get_inputs()


def read_kernelbench_form(names: dict[str, Any], path: Path, name: str, source: str) -> KernelBenchProgram:
    """Make a task of a module that has `Model` and `get_inputs`.

    Args:
        names: the module's namespace.
        path: the task file.
        name: the task's name.
        source: the task file's text.

    Raises:
        TaskError: `TASK_UNREADABLE`; the text names what has the wrong type.
    """
    model = names["Model"]
    if not (isinstance(model, type) and issubclass(model, torch.nn.Module)):
        raise unreadable(path, f"Model is {model!r}.", "It must be a class derived from torch.nn.Module.")
    for function in ("get_inputs", "get_init_inputs"):
        if function in names and not callable(names[function]):
            raise unreadable(path, f"{function} is {names[function]!r}.", f"It must be a function {function}().")
    options = read_options(names, path, (Layout.CONTIGUOUS,))
    task = Task(
        name=name,
        form=TaskForm.KERNELBENCH,
        reference=str(path),
        source=source,
        cases=(CASE,),
        **options.fields(),
    )
    return KernelBenchProgram(task, names, options)


def _can_be_sent(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_can_be_sent(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _can_be_sent(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str | torch.Tensor)
