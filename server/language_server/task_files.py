"""Which task a file belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kernelevolve.server.language_server.kernels import Scan

TASK_FILE = "task.py"
_LARGEST = 1_000_000
"""Bytes of a file that may be a task; larger ones are not looked into."""
_MOST = 200
"""Files of a folder that are looked into."""


@dataclass(frozen=True)
class TaskOfFile:
    """The answer: a task, or why there is none."""

    path: str | None
    """Path of the task's file, or `aten::<operator>`."""
    why_not: str = ""
    """Why there is none, and what to do; empty where there is one."""


def find_task(file: Path | None, scanned: Scan) -> TaskOfFile:
    """The task that a comment names, else the one of the file's folder.

    Args:
        file: path of the file; None for one that was never saved.
        scanned: what is in its text.
    """
    if scanned.task is not None:
        if scanned.task.startswith("aten::"):
            return TaskOfFile(scanned.task)
        if file is None:
            return TaskOfFile(None, "The file has no folder yet: save it, so that the task it names can be found.")
        path = (file.parent / scanned.task).expanduser()
        path = path / TASK_FILE if path.is_dir() else path
        if path.is_file():
            return TaskOfFile(str(path.resolve()))
        return TaskOfFile(None, f"The comment names a task at {scanned.task!r}, where there is none: mend the path.")
    if scanned.is_task and file is not None:
        return TaskOfFile(str(file))
    if file is None:
        return TaskOfFile(None, f"The file has no folder yet: save it beside its task. {_HOW}")
    beside = file.parent / TASK_FILE
    if beside.is_file() and beside != file:
        return TaskOfFile(str(beside.resolve()))
    found = [path for path in _python_files(file.parent) if path != file and _looks_like_task(path)]
    if len(found) == 1:
        return TaskOfFile(str(found[0].resolve()))
    if found:
        names = ", ".join(path.name for path in found[:5])
        return TaskOfFile(None, f"The folder has {len(found)} tasks ({names}). {_HOW}")
    return TaskOfFile(None, f"No task belongs to this file. {_HOW}")


_HOW = (
    "Name one in a comment, `# kernelevolve: task PATH` (`//` in C++), or put task.py beside it; "
    "'Make a task from this function' writes one."
)


def _python_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".py")[:_MOST]
    except OSError:
        return []


def _looks_like_task(path: Path) -> bool:
    try:
        if path.stat().st_size > _LARGEST:
            return False
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False  # What can't be read is no task; naming it in a comment says why.

    def defines(pattern: str) -> bool:
        return re.search(pattern, text, re.MULTILINE) is not None

    function_form = defines(r"^def\s+reference\b") and defines(r"^def\s+make_inputs\b") and defines(r"^CASES\s*[:=]")
    return function_form or (defines(r"^class\s+Model\b") and defines(r"^def\s+get_inputs\b"))
