"""What an exported module says of itself: the task, what was checked, speed-ups, hardware, versions, receipts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.task import Task
from kernelevolve.search.export.selection import ExportNode
from kernelevolve.search.node import SearchRecord

MARK = "Kernels exported by KernelEvolve"
"""How the text of every exported module begins."""
_WIDTH = 116


def header(
    task: Task, nodes: Sequence[ExportNode], plan: dict[str, Any], searches: Sequence[SearchRecord], reference: bool
) -> str:
    """The module's docstring, without its quotes. The same nodes give the same text.

    Args:
        task: the task.
        nodes: the nodes that the plan uses, in its order.
        plan: see `make_plan`.
        searches: those the nodes come from.
        reference: whether the module carries the reference.
    """
    entry = "ModelNew" if plan["form"] == "kernelbench" else "kernel"
    baselines = ", ".join(dict.fromkeys(_baseline(node) for node in nodes)) or "eager PyTorch"
    parts = [
        f"{MARK}: {plain(task.name)}.",
        "",
        f"Use `{entry}` in place of the reference: it takes the same arguments. For each call it runs the kernel that",
        "was the fastest in the nearest measured case, and the PyTorch reference for whatever was not checked, with a",
        "warning.",
        "`configure()` has the settings, `explain()` says what a call would do, `dispatch_report()` what calls did.",
        "`python THIS_FILE --check` compares kernels and reference on this machine.",
        "",
        "Checked:",
        *(f"  {line}" for line in _checked(task, nodes)),
        "",
        f"Speed-ups over the reference ({baselines}), with intervals:",
        *(f"  {line}" for line in _speeds(plan, nodes)),
        "  The kernels alone were timed; choosing one costs some microseconds more for each call.",
        "",
        "Kernels:",
        *(f"  {line}" for line in _kernels(nodes)),
        "",
        "Measured with:",
        *(f"  {line}" for line in dict.fromkeys(line for node in nodes for line in _machine(node))),
        "",
        f"Task: SHA-256 {task.task_hash}",
        *(f"Search: {search.search_id}, policy {search.policy}, author {search.synthesizer}" for search in searches),
        "",
        "The kernels were written by the authors named above, by programs or by people, and run unconfined in your",
        "process: read them first. What the reference may be used for is for its author to say; the code around",
        "kernels and reference is part of KernelEvolve, Apache-2.0.",
    ]
    if not reference:
        parts.append("This module carries no reference: a call outside what was checked raises an error.")
    return "\n".join(line for part in parts for line in _wrapped(part))


def plain(text: str) -> str:
    """One line of text that cannot end a docstring or pass for markup, for names that others gave."""
    kept = "".join(sign if sign.isprintable() and sign not in '"\\' else " " for sign in text)
    return " ".join(kept.split())[:200]


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, _WIDTH, subsequent_indent=f"{indent}  ", break_on_hyphens=False) or [""]


def _baseline(node: ExportNode) -> str:
    return {"eager": "eager PyTorch", "compile": "torch.compile"}.get(node.baseline, node.baseline)


def _checked(task: Task, nodes: Sequence[ExportNode]) -> list[str]:
    hidden = sum(case.hidden for case in task.cases)
    lines = [
        f"{len(task.cases) - hidden} cases{f' and {hidden} hidden' if hidden else ''}, all correct against a "
        "higher-precision oracle",
        f"dtypes {', '.join(task.dtypes)}; layouts {', '.join(layout.value for layout in task.layouts)}; "
        f"special values {', '.join(value.value for value in task.special_values) or 'none'}",
    ]
    for node in nodes:
        level = node.entry.level
        word = {
            Level.EXECUTED: f"executed on {plain(str(_facts(node).get('device')))}",
            Level.INTERPRETED: "NOT EXECUTED: right in Triton's interpreter, on inputs that may be smaller",
            Level.COMPILED: "NOT EXECUTED: it compiles, nobody has seen its results",
            Level.SIMULATED: "NOT EXECUTED: a model of the chip",
        }.get(level, "not judged") if level else "not judged"  # fmt: skip
        lines.append(f"{node.node.node_id} for {node.platform}: {word}; {node.entry.checks} outputs compared")
    notes = dict.fromkeys(plain(note) for node in nodes for note in node.entry.notes)
    return [*lines, *(f"note: {note}" for note in notes)]


def _speeds(plan: dict[str, Any], nodes: Sequence[ExportNode]) -> list[str]:
    lines = []
    for case in dict.fromkeys(entry["case"] for entry in plan["entries"]):
        choice = next(entry["choice"] for entry in plan["entries"] if entry["case"] == case)
        for platform, index in choice.items():
            if index is None:
                lines.append(f"{plain(case)}, {platform}: the reference itself, which was faster than every kernel")
                continue
            timing = nodes[index].timing(case)
            said = "not timed"
            if timing is not None:
                interval = timing.interval
                said = (
                    f"{interval.speedup:.3f}x [{interval.low:.3f}, {interval.high:.3f}] {timing.speed.value}, "
                    f"{timing.candidate_ms:.4g} ms"
                )
            lines.append(f"{plain(case)}, {platform}: {nodes[index].node.node_id}, {said}")
    return lines


def _kernels(nodes: Sequence[ExportNode]) -> list[str]:
    lines = []
    for node in nodes:
        said = "confirmed by a second, fuller verdict" if node.confirmed else "judged once, not confirmed"
        author = f", by {plain(node.node.author)}" if node.node.author else ""
        lines.append(f"{node.node.node_id}: {node.candidate.language}{author}; {said}")
        audit = node.entry.audit
        reason = f", {plain(audit.reason)}" if audit is not None and audit.reason else ""
        lines.append(f"  audit: {'none' if audit is None else audit.outcome.value}{reason}")
        lines.append(f"  source SHA-256 {node.candidate.source_hash}")
        lines.append(f"  receipt {node.verdict.receipt.receipt_hash}")
    return lines


def _machine(node: ExportNode) -> list[str]:
    receipt = node.verdict.receipt
    facts = _facts(node)
    driver = f", driver {facts['driver']}" if facts.get("driver") else ""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(receipt.libraries.items()))
    return [
        f"{node.platform}: {plain(str(facts.get('device')))}{plain(driver)}",
        f"machine: {plain(str(receipt.machine.get('processor')))}, {plain(str(receipt.machine.get('system')))}",
        f"libraries: {plain(libraries)}; judge {receipt.harness_version} ({receipt.harness_hash[:16]})",
    ]


def _facts(node: ExportNode) -> dict[str, Any]:
    facts: dict[str, Any] = node.verdict.receipt.devices.get(node.platform, {})
    return facts
