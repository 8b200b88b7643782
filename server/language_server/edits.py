"""Texts that commands write: a task made from a function, a case added to a task, a kernel with its receipt."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping
from typing import Any

_CASES = re.compile(r"^CASES\s*(?::[^=]+)?=\s*\{", re.MULTILINE)


class CannotEditError(ValueError):
    """The edit makes no sense for this text; the message says why."""


def make_task(text: str, function: str) -> str:
    """A task file whose reference is a function of a text.

    The function goes into the file with what it needs of the module: imports, constants and functions that it names.
    Example inputs are made up, for the author to correct.

    Raises:
        CannotEditError: the text does not parse, or has no such function.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CannotEditError(f"The file does not parse ({error}): mend it first.") from error
    definitions = {name: node for node in tree.body for name in _defined(node)}
    node = definitions.get(function)
    if not isinstance(node, ast.FunctionDef):
        raise CannotEditError(f"There is no function {function!r} at the top level of this file.")
    needed = _needed(node, definitions)
    imports = [ast.get_source_segment(text, entry) or "" for entry in tree.body if _is_import(entry)]
    parts = [
        ast.get_source_segment(text, entry) or "" for entry in tree.body if entry in needed and not _is_import(entry)
    ]
    body = ast.get_source_segment(text, node) or ""
    renamed = re.sub(rf"\bdef\s+{re.escape(function)}\b", "def reference", body, count=1)
    head = [f'"""{function}: the operator to optimise. Say in CASES which sizes matter."""', ""]
    uses_torch = any(re.match(r"import torch\b(?!\.)", line) for line in imports)
    lines = head + ([] if uses_torch else ["import torch"]) + [line for line in imports if "__future__" not in line]
    future = [line for line in imports if "__future__" in line]
    if future:
        lines[2:2] = [*future, ""]
    decorated = "".join(f"@{ast.unparse(entry)}\n" for entry in node.decorator_list)
    chunks = ["\n".join(lines), *parts, _CASES_TEXT, _inputs(node), f"{decorated}{renamed}"]
    return "\n\n\n".join(chunk.strip("\n") for chunk in chunks) + "\n"


_CASES_TEXT = textwrap.dedent(
    """\
    CASES = {
        "small": {"rows": 16, "cols": 100},
        "main": {"rows": 4096, "cols": 1024, "weight": 4.0},
        "odd": {"rows": 131, "cols": 1537, "hidden": True},
    }"""
)


def _inputs(node: ast.FunctionDef) -> str:
    """`make_inputs`, one input for each parameter without a default; annotations say which are no tensors."""
    arguments = node.args.posonlyargs + node.args.args
    required = arguments[: len(arguments) - len(node.args.defaults)]
    values = []
    for argument in required:
        kind = ast.unparse(argument.annotation) if argument.annotation is not None else ""
        value = {"int": "case.cols", "float": "1.0", "bool": "True"}.get(kind, "torch.randn(case.rows, case.cols)")
        values.append(f"        {value},  # {argument.arg}")
    return "def make_inputs(case):\n    return (\n" + "\n".join(values) + "\n    )"


def _defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _needed(node: ast.stmt, definitions: Mapping[str, ast.stmt]) -> set[ast.stmt]:
    found: set[ast.stmt] = set()
    pending: list[ast.stmt] = [node]
    while pending:
        current = pending.pop()
        for inner in ast.walk(current):
            other = definitions.get(inner.id) if isinstance(inner, ast.Name) else None
            if other is not None and other is not node and other not in found:
                found.add(other)
                pending.append(other)
    return found


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def add_case(text: str, name: str, parameters: Mapping[str, Any]) -> tuple[int, str]:
    """Where to insert a new case of a task, and its text.

    Args:
        text: the task file.
        name: name of the case; the next free number is appended where it is taken.
        parameters: its parameters; empty to copy those of the last case, for the author to change.

    Returns:
        Offset into the text, and the text to insert there.

    Raises:
        CannotEditError: the task has no `CASES` that is written as a dict.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CannotEditError(f"The task does not parse ({error}): mend it first.") from error
    node = next(
        (
            entry.value
            for entry in tree.body
            if "CASES" in _defined(entry) and isinstance(entry, (ast.Assign, ast.AnnAssign))
        ),
        None,
    )
    if not isinstance(node, ast.Dict) or node.end_lineno is None:
        raise CannotEditError("The task has no CASES = {…} at its top level; add the case by hand.")
    names = [key.value for key in node.keys if isinstance(key, ast.Constant)]
    free = name
    number = 2
    while free in names:
        free, number = f"{name}_{number}", number + 1
    if parameters:
        value = "{" + ", ".join(f'"{key}": {entry!r}' for key, entry in parameters.items()) + "}"
    elif node.values:
        value = ast.get_source_segment(text, node.values[-1]) or "{}"
    else:
        value = "{}"
    lines = text.split("\n")
    end = sum(len(line) + 1 for line in lines[: node.end_lineno - 1])
    end += len(lines[node.end_lineno - 1].encode()[: (node.end_col_offset or 1) - 1].decode())
    before = text[:end].rstrip()
    comma = "" if before.endswith((",", "{")) else ","
    if "\n" in text[len(before) : end] or before.endswith(","):
        return len(before), f'{comma}\n    "{free}": {value},'
    return len(before), f'{comma} "{free}": {value}'


def with_receipt(best: Mapping[str, Any], task_comment: str, comment: str) -> str:
    """The source of a kernel that was found, with its receipt in a comment above it.

    Args:
        best: what `clerk.best` answers.
        task_comment: what names the file's task; kept, so that the file still belongs to it.
        comment: how a comment begins.
    """
    source = best["source"]
    lines = [line for line in source.split("\n") if not line.startswith(f"{comment} kernelevolve: found by")]
    if task_comment and task_comment in source:
        task_comment = ""
    confirmed = "confirmed by a second verdict" if best["confirmed"] else "not confirmed by a second verdict"
    head = [
        f"{comment} kernelevolve: found by search {best['search']}, node {best['node'].rpartition('.')[2]}: "
        f"{best['speedup']:.2f}x against {best['baseline']} on {best['platform']}, {confirmed}; "
        f"receipt {best['receipt']}",
        *([task_comment] if task_comment else []),
    ]
    return "\n".join([*head, *lines])
