"""The text of an exported module: header, data, and the run-time code of `evaluation/export/` in one file."""

from __future__ import annotations

import ast
import pprint
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import Task, TaskForm

_PARTS = ("guard", "kernels", "conditions", "dispatch", "entry", "selfcheck")
"""Modules of `kernelevolve.evaluation.export` whose text makes up the module, in order."""
_OWN = "kernelevolve"

_FUNCTION = '''
@torch.compiler.disable
def kernel(*args: Any, **kwargs: Any) -> Any:
    """The operator, with the reference's arguments: the kernel that was checked for this call, or the reference."""
    return _dispatch(args, kwargs)


def explain(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """What `kernel` would do with these arguments, and why, without doing it."""
    return _dispatch.explain(args, kwargs)


if _dispatch.signature is not None:
    kernel.__signature__ = _dispatch.signature

if __name__ == "__main__":
    raise SystemExit(main(_dispatch, None if _reference is None else _reference.make_inputs, None))
'''
_MODULE = '''
class ModelNew(_reference.Model):
    """The reference's module, with the same constructor, parameters and state_dict. `forward` runs the kernel that was
    checked for the call, or the reference's own `forward`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.export_init = (args, kwargs)
        self.export_state = state_of(self)

    @torch.compiler.disable
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the reference's."""
        return _dispatch(args, kwargs, self)

    def explain(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What a call with these arguments would do, and why, without doing it."""
        return _dispatch.explain(args, kwargs, self)


if __name__ == "__main__":
    raise SystemExit(main(_dispatch, lambda case: _reference.get_inputs(), lambda: ModelNew(*_init_inputs())))
'''


def module_text(header: str, plan: dict[str, Any], sources: Sequence[str], reference: str | None) -> str:
    """The module's text.

    Args:
        header: the docstring, see `header`.
        plan: see `make_plan`.
        sources: the kernels' sources, in the plan's order.
        reference: see `reference_text`; None to carry none.
    """
    imports: dict[str, None] = {}
    bodies = []
    for name in _PARTS:
        text = files("kernelevolve.evaluation.export").joinpath(f"{name}.py").read_text(encoding="utf-8")
        bodies.append(_body(text, imports))
    is_module = plan["form"] == "kernelbench"
    offered = ["ModelNew"] if is_module else ["kernel", "explain"]
    data = [
        f"__all__ = {[*offered, 'configure', 'dispatch_report']!r}",
        f"PLAN: dict[str, Any] = {pprint.pformat(plan, width=116, sort_dicts=False)}",
        f"SOURCES: list[str] = [{''.join(f'{chr(10)}{literal(source)},' for source in sources)}\n]",
        f"REFERENCE: str | None = {None if reference is None else literal(reference)}",
    ]
    text = "\n".join(
        [
            f'"""{header}\n"""\n\nfrom __future__ import annotations\n',
            "\n".join(_sorted(imports)),
            "\n# -- what was checked, the kernels, the reference ".ljust(121, "-") + "\n",
            "\n\n".join(data),
            "\n\n# -- how calls are dispatched ".ljust(122, "-") + "\n",
            *bodies,
            _MODULE if is_module else _FUNCTION,
        ]
    )
    _verify(text, plan, sources, reference)
    return text


def reference_text(task: Task, source: str) -> str:
    """The task's text as an export may carry it: hidden cases are left out.

    Raises:
        TaskError: hidden cases cannot be told from the rest of the text.
    """
    if not any(case.hidden for case in task.cases):
        return source
    if task.form is TaskForm.OPINFO:
        return source  # The samples are torch's own, and the text names none of them.
    tree = ast.parse(source)
    sets = [node for node in tree.body if _is_cases(node)]
    mentions = sum(isinstance(node, ast.Name) and node.id == "CASES" for node in ast.walk(tree))
    if len(sets) != 1 or mentions != 1:
        raise TaskError(
            Finding.TASK_UNREADABLE,
            f"Task {task.name} has hidden cases, which can't be left out: CASES is used in more places than one.",
            "Write CASES as one literal, or export without the reference (embed_reference, --no-embed-reference).",
        )
    node = sets[0]
    shown = {case.name: {**case.parameters, "weight": case.weight} for case in task.cases if not case.hidden}
    lines = source.split("\n")
    assert node.end_lineno is not None
    replaced = f"CASES = {pprint.pformat(shown, width=110, sort_dicts=False)}"
    text = "\n".join([*lines[: node.lineno - 1], replaced, *lines[node.end_lineno :]])
    kept = [ast.literal_eval(left.value) for left in ast.parse(text).body if _is_cases(left)]  # type: ignore[attr-defined]
    if kept != [shown]:
        raise AssertionError(f"the hidden cases of task {task.name} were not cut out")
    return text


def literal(text: str) -> str:
    """A text as a Python literal that people can read, where that is possible."""
    quotes = "'''"
    odd = any(not (sign.isprintable() or sign in "\n\t") for sign in text)
    if odd or quotes in text or "\\" in text or text.endswith("'"):
        return repr(text) if "\n" not in text else _joined(text)
    return f"{quotes}\\\n{text}{quotes}"


def _joined(text: str) -> str:
    """A literal for each line, in brackets."""
    return "(\n" + "\n".join(f"    {line!r}" for line in text.splitlines(keepends=True)) + "\n)"


def _is_cases(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign) and _target(node) == "CASES"


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def _body(text: str, imports: dict[str, None]) -> str:
    """A module's text without its docstring, its imports (which are collected) and its placeholders for data."""
    tree = ast.parse(text)
    lines = text.splitlines(keepends=True)
    for number, node in enumerate(tree.body):
        dropped = isinstance(node, ast.Import | ast.ImportFrom) or (number == 0 and isinstance(node, ast.Expr))
        if isinstance(node, ast.Import | ast.ImportFrom) and not _is_own(node):
            imports[ast.unparse(node)] = None
        if isinstance(node, ast.AnnAssign) and _target(node) in ("PLAN", "SOURCES", "REFERENCE"):
            dropped = True
        if dropped:
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "".join(lines).strip("\n") + "\n\n"


def _is_own(node: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (_OWN, "__future__")


def _sorted(imports: dict[str, None]) -> list[str]:
    """Imports, those of one module merged, as few lines as possible."""
    names: dict[str, set[str]] = {}
    plain: set[str] = set()
    for line in imports:
        node = ast.parse(line).body[0]
        if isinstance(node, ast.ImportFrom):
            names.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
        else:
            plain.add(line)
    return [
        *sorted(plain),
        *(f"from {module} import {', '.join(sorted(found))}" for module, found in sorted(names.items())),
    ]


def _verify(text: str, plan: dict[str, Any], sources: Sequence[str], reference: str | None) -> None:
    """The text must hold what it was given, whatever the sources contain."""
    wanted = {"PLAN": plan, "SOURCES": list(sources), "REFERENCE": reference}
    for node in ast.parse(text).body:
        if isinstance(node, ast.AnnAssign) and (name := _target(node)) in wanted and node.value is not None:
            found = ast.literal_eval(node.value)
            if found != wanted.pop(name):
                raise AssertionError(f"the module's {name} is not what was to be written")
    if wanted:
        raise AssertionError(f"the module lacks {', '.join(wanted)}")
