"""Turn a path or an operator's name into a task that can be run."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import sys
from pathlib import Path
from types import ModuleType

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import Task
from kernelevolve.evaluation.tasks.function_form import read_function_form
from kernelevolve.evaluation.tasks.kernelbench_form import read_kernelbench_form
from kernelevolve.evaluation.tasks.opinfo import PREFIX, load_opinfo
from kernelevolve.evaluation.tasks.options import unreadable
from kernelevolve.evaluation.tasks.program import TaskProgram, shorten_traceback

TASK_FILE = "task.py"
"""The file that is read when a folder is given."""
_MODULE_FORM = ("Model", "get_inputs")
_FUNCTION_FORM = ("reference", "make_inputs", "CASES")


def load_task(reference: str | Path) -> TaskProgram:
    """Load a task. Its file is executed; its reference and its inputs are not.

    Args:
        reference: a Python file, a folder with `task.py`, or `aten::<operator>`.

    Raises:
        TaskError: `TASK_UNREADABLE` when there is no usable task, `TASK_WITHOUT_INPUTS` when it has no inputs.
    """
    if str(reference).startswith(PREFIX):
        return load_opinfo(str(reference))
    path = _find_file(Path(reference))
    content = _read(path)
    names = vars(_execute(path, content))
    source = importlib.util.decode_source(content)
    name = path.parent.name if path.name == TASK_FILE and path.parent.name else path.stem
    missing_module = [wanted for wanted in _MODULE_FORM if wanted not in names]
    missing_function = [wanted for wanted in _FUNCTION_FORM if wanted not in names]
    if not missing_module and not missing_function:
        raise unreadable(
            path,
            "it has both forms of a task: Model and get_inputs, and reference, make_inputs and CASES.",
            "Keep one of them.",
        )
    if not missing_module:
        return read_kernelbench_form(names, path, name, source)
    if not missing_function:
        return read_function_form(names, path, name, source)
    raise _neither_form(path, missing_module, missing_function)


def describe_task(reference: str | Path) -> Task:
    """The description of a task; see `load_task`."""
    return load_task(reference).task


def _find_file(path: Path) -> Path:
    path = path.expanduser().resolve()
    if path.is_dir():
        if not (path / TASK_FILE).is_file():
            raise unreadable(str(path), f"the folder holds no {TASK_FILE}.", "Name the task's Python file itself.")
        return path / TASK_FILE
    if not path.exists():
        raise unreadable(str(path), "there is no such file.", "Check the path; operators are named aten::<operator>.")
    if path.suffix != ".py":
        raise unreadable(str(path), f"the suffix {path.suffix!r} is not Python's.", "A task is a .py file.")
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), f"the file cannot be read: {error.strerror}.", "Check its permissions.") from error


def _execute(path: Path, content: bytes) -> ModuleType:
    """Run a task file as a module of its own, known to `sys.modules` so that `inspect` and `torch.compile` find it."""
    try:
        code = compile(content, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f" in line {error.lineno}" if error.lineno else ""
        raise unreadable(path, f"syntax error{line}: {error.msg}.", "Repair the task file.") from error
    except ValueError as error:  # null bytes, before Python 3.12
        raise unreadable(path, f"it is not Python source: {error}.", "Repair the task file.") from error
    # One name for each content: reloading an unchanged file does not pile up modules, and a changed one does not
    # take the place of a module that is still in use.
    digest = hashlib.sha256(str(path).encode() + b"\0" + content).hexdigest()[:16]
    module = ModuleType(f"kernelevolve_task_{digest}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    linecache.checkcache(str(path))
    try:
        exec(code, vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        raise unreadable(
            path,
            f"running the file fails: {type(error).__name__}: {error}.",
            f"Install {missing}; a task file cannot import files next to it."
            if missing
            else "Repair the task file: it must run without arguments and without a device.",
            log=shorten_traceback(error),
        ) from error
    return module


def _neither_form(path: Path, missing_module: list[str], missing_function: list[str]) -> TaskError:
    def joined(names: list[str]) -> str:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

    # A file that has everything but its inputs is one form or the other for sure.
    for missing, inputs, form in (
        (missing_module, "get_inputs", "Model"),
        (missing_function, "make_inputs", "reference and CASES"),
    ):
        if missing == [inputs]:
            return TaskError(
                Finding.TASK_WITHOUT_INPUTS,
                f"{path.name}: it has {form} but no {inputs}.",
                f"Define {inputs}{'()' if form == 'Model' else '(case)'}, which returns the arguments.",
            )
    return unreadable(
        path,
        "it has neither form of a task.",
        f"For the KernelBench form it lacks {joined(missing_module)}; "
        f"for the function form it lacks {joined(missing_function)}.",
    )
