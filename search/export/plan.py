"""The plan of an export: what was checked, in which form, and which kernel each measured case gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.language import EntryPoint, get_language
from kernelevolve.evaluation.languages.native import NativeLanguage, tvm_folder
from kernelevolve.evaluation.platform import get_platform
from kernelevolve.evaluation.task import TaskForm
from kernelevolve.evaluation.task_cases import CaseInputs, TaskCases
from kernelevolve.search.export.selection import ExportNode, fastest


def make_plan(nodes: Sequence[ExportNode], cases: TaskCases, with_reference: bool) -> tuple[dict[str, Any], list[int]]:
    """The plan as plain values, which the module holds as a literal.

    Hidden cases count for what varied, and are not named: whoever reads a module must not learn them.

    Args:
        nodes: what may be used; of each platform the first is what is used unless another is clearly faster.
        cases: the task's cases.
        with_reference: whether the module carries the reference, so that it can be chosen where it is faster.

    Returns:
        The plan, and the positions of the nodes that it uses.

    Raises:
        TaskError: every case is hidden.
    """
    shown = [entry for entry in cases.inputs if not entry.hidden]
    if not shown:
        raise TaskError(
            Finding.TASK_UNREADABLE,
            f"Every case of task {cases.task.name} is hidden, so there is no measured shape to dispatch by.",
            "Give the task a case that is not hidden.",
        )
    winners = _winners(nodes, list(dict.fromkeys(entry.case for entry in shown)), with_reference)
    used = sorted({index for choice in winners.values() for index in choice.values() if index is not None})
    place = {index: position for position, index in enumerate(used)}
    entries = [
        {
            "case": entry.case,
            "dtype": entry.dtype,
            "structure": entry.structure,
            "inputs": entry.inputs,
            "leaves": list(entry.leaves),
            "choice": {
                platform: None if index is None else place[index] for platform, index in winners[entry.case].items()
            },
        }
        for entry in shown
    ]
    task = cases.task
    plan = {
        "task": task.name,
        "task_hash": task.task_hash,
        "form": "kernelbench" if task.form is TaskForm.KERNELBENCH else "function",
        "platforms": {node.platform: {"device": _device(node)} for node in nodes},
        "kernels": [_kernel(nodes[index]) for index in used],
        "layouts": [layout.value for layout in task.layouts],
        "dtypes": list(task.dtypes),
        "forms": _forms(cases.inputs),
        "tolerances": {
            name: tolerance.model_dump(mode="json")
            for name, tolerance in task.tolerances.items()
            if name in task.dtypes or name == "float32"
        },
        "cases": {case.name: case.parameters for case in task.cases if not case.hidden},
        "entries": entries,
        "rules": [_rule(name, cases.inputs) for name in dict.fromkeys(entry.structure for entry in shown)],
    }
    return plan, used


def _winners(
    nodes: Sequence[ExportNode], cases: Sequence[str], with_reference: bool
) -> dict[str, dict[str, int | None]]:
    """Case → platform → position of the node, or None where the reference is clearly faster."""
    found: dict[str, dict[str, int | None]] = {case: {} for case in cases}
    for platform in dict.fromkeys(node.platform for node in nodes):
        mine = [node for node in nodes if node.platform == platform]
        mine.sort(key=lambda node: -node.node.score.speedup)
        for case in cases:
            best = fastest(mine, case)
            timing = best.timing(case)
            slower = timing is not None and timing.interval.high < 1.0
            found[case][platform] = None if slower and with_reference else nodes.index(best)
    return found


def _device(node: ExportNode) -> str | None:
    """The device on which a node was executed; None where none executed it."""
    facts = node.verdict.receipt.devices.get(node.platform, {})
    executed = node.entry.level is not None and node.entry.level.value == "executed"
    name = facts.get("device") if executed else None
    return None if name is None else str(name)


def _kernel(node: ExportNode) -> dict[str, Any]:
    language = get_language(node.candidate.language)
    return {
        "node": node.node.node_id,
        "language": node.candidate.language,
        "platform": node.platform,
        "entry": EntryPoint(language.read(node.candidate)).value,
        "build": _recipe(language, node) if isinstance(language, NativeLanguage) else None,
    }


def _recipe(language: NativeLanguage, node: ExportNode) -> dict[str, Any]:
    """How the judge compiles this source, for a compiler that is somewhere else."""
    candidate: Candidate = node.candidate
    flags = [*language.default_flags(get_platform(node.platform)), *language.asked_flags(candidate.source)]
    unit, library, header = f"unit{language.suffix}", "kernel.so", "prelude.h"
    here = tvm_folder()
    commands = language.commands(flags, header, unit, library, here)
    return {
        "compiler": language.compiler,
        "install": language.install_advice,
        "source_file": f"kernel{language.suffix}",
        "library": library,
        "files": {header: language.prelude, unit: language.unit_text(candidate)},
        "commands": [[word.replace(str(here), "{tvm_ffi}") for word in command] for command in commands],
    }


def _forms(inputs: Sequence[CaseInputs]) -> list[list[Any]]:
    return [[count, list(names)] for count, names in dict.fromkeys((entry.form[0], entry.form[1]) for entry in inputs)]


def _rule(structure: str, inputs: Sequence[CaseInputs]) -> dict[str, Any]:
    """Ranges of the dimensions over the shown cases, and what held between dimensions in all of them.

    A dimension counts as fixed where it was the same in every case, hidden ones too.
    """
    mine = [entry for entry in inputs if entry.structure == structure]
    every = [shape for entry in mine for shape in _shapes(entry)]
    shown = [shape for entry in mine if not entry.hidden for shape in _shapes(entry)]
    # Ranks may differ between cases of one structure; then a dimension exists in some of them alone.
    dims = [(leaf, dim) for leaf in range(len(every[0])) for dim in range(min(len(shape[leaf]) for shape in every))]
    ranges = []
    varied = []
    for leaf, dim in dims:
        sizes = [shape[leaf][dim] for shape in shown]
        ranges.append([leaf, dim, min(sizes), max(sizes)])
        if len({shape[leaf][dim] for shape in every}) > 1:
            varied.append((leaf, dim))
    return {"structure": structure, "ranges": ranges, "relations": list(_relations(varied, every))}


def _shapes(entry: CaseInputs) -> Iterator[list[tuple[int, ...]]]:
    for leaves in (entry.leaves, entry.others):
        if leaves:
            yield [tuple(leaf.get("shape", ())) for leaf in leaves]


def _relations(varied: Sequence[tuple[int, int]], shapes: Sequence[list[tuple[int, ...]]]) -> Iterator[list[Any]]:
    """What ties two dimensions together in every case: a constant ratio, or a constant difference.

    Each relation reads `first · divisor = second · factor + difference`. One for each dimension is enough: both kinds
    carry over from the dimension before.
    """
    for position, second in enumerate(varied):
        for first in varied[:position]:
            pairs = [(shape[first[0]][first[1]], shape[second[0]][second[1]]) for shape in shapes]
            mine, theirs = pairs[0]
            if mine and theirs and all(left * theirs == right * mine for left, right in pairs):
                yield [list(first), list(second), mine, theirs, 0]
                break
            if len({left - right for left, right in pairs}) == 1:
                yield [list(first), list(second), 1, 1, mine - theirs]
                break
