"""What is shown in a file: lenses, hints, diagnostics, hovers, completions, code actions. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsprotocol import types

from kernelevolve.server.language_server.client import ClientAbilities
from kernelevolve.server.language_server.costs import label, markdown
from kernelevolve.server.language_server.documents import OpenFile
from kernelevolve.server.language_server.kernels import Kernel, Kind, functions
from kernelevolve.server.language_server.options import Options
from kernelevolve.server.language_server.positions import Positions


def code_lenses(file: OpenFile, options: Options, able: ClientAbilities, positions: Positions) -> list[types.CodeLens]:
    """Lenses over each kernel; also the figures, where the client shows no hints."""
    if not options.lenses:
        return []
    found: list[types.CodeLens] = []
    for kernel in file.scanned.lensed:
        where = positions.whole_line(kernel.line)
        found += [_lens(where, title, command, file, kernel) for title, command in _titles(file)]
        if options.hints and not able.shows_hints:
            found += [
                _lens(where, label(cost, kernel.text_hash), "kernelevolve.showKernel", file, kernel, target=cost.target)
                for cost in file.costs_of(kernel, options.targets)
            ]
    if file.scanned.is_task:
        found.append(_lens(positions.whole_line(_task_line(file)), "Optimize", "kernelevolve.optimize", file, None))
    return found


def _titles(file: OpenFile) -> list[tuple[str, str]]:
    titles = [
        ("Optimize", "kernelevolve.optimize"),
        ("Verify", "kernelevolve.verify"),
        ("Profile", "kernelevolve.profile"),
    ]
    if file.best is not None and file.best.language == file.language:
        titles.append((f"Best known {file.best.speedup:.1f}x ▸", "kernelevolve.applyBest"))
    return titles


def _lens(
    where: types.Range, title: str, command: str, file: OpenFile, kernel: Kernel | None, **more: Any
) -> types.CodeLens:
    argument: dict[str, Any] = {"uri": file.uri, **({"kernel": kernel.name} if kernel is not None else {}), **more}
    return types.CodeLens(range=where, command=types.Command(title=title, command=command, arguments=[argument]))


def _task_line(file: OpenFile) -> int:
    lines = file.text.split("\n")
    starts = ("def reference", "class Model")
    return next((number for number, line in enumerate(lines) if line.startswith(starts)), 0)


def inlay_hints(file: OpenFile, options: Options, positions: Positions, asked: types.Range) -> list[types.InlayHint]:
    """What each kernel costs on each target, behind the line of its definition."""
    if not options.hints:
        return []
    return [
        types.InlayHint(
            position=positions.end_of_line(kernel.line),
            label=label(cost, kernel.text_hash),
            tooltip=types.MarkupContent(kind=types.MarkupKind.Markdown, value=markdown([cost], kernel.text_hash)),
            padding_left=True,
        )
        for kernel in hinted(file)
        if asked.start.line <= kernel.line <= asked.end.line
        for cost in file.costs_of(kernel, options.targets)
    ]


def hinted(file: OpenFile) -> list[Kernel]:
    """The kernels that figures are shown for."""
    return [kernel for kernel in file.scanned.kernels if kernel.kind is Kind.KERNEL]


def kernel_hover(file: OpenFile, options: Options, positions: Positions, line: int, column: int) -> types.Hover | None:
    """What a kernel costs, where the cursor is on its name."""
    for kernel in hinted(file):
        if kernel.line == line and kernel.column <= column <= kernel.column + len(kernel.name):
            text = f"**{kernel.name}**\n\n{markdown(file.costs_of(kernel, options.targets), kernel.text_hash)}"
            return types.Hover(
                contents=types.MarkupContent(kind=types.MarkupKind.Markdown, value=text),
                range=positions.range(line, kernel.column, line, kernel.column + len(kernel.name)),
            )
    return None


def code_actions(
    file: OpenFile, able: ClientAbilities, asked: types.Range, wanted: Sequence[str] | None
) -> list[types.CodeAction]:
    """What can be done at a place."""
    found: list[tuple[str, str, types.CodeActionKind, dict[str, Any]]] = []
    kernel = file.scanned.at(asked.start.line)
    entry = file.scanned.entry
    if entry is not None and kernel is None and entry.top <= asked.start.line <= entry.end:
        kernel = entry
    base: dict[str, Any] = {"uri": file.uri, **({"kernel": kernel.name} if kernel is not None else {})}
    if kernel is not None:
        found.append(("Verify this kernel", "kernelevolve.verify", types.CodeActionKind.QuickFix, base))
        if file.best is not None and file.best.language == file.language:
            title = f"Replace by the best kernel found ({file.best.speedup:.2f}x)"
            found.append((title, "kernelevolve.applyBest", types.CodeActionKind.RefactorRewrite, base))
    if file.task.path is not None and not file.task.path.startswith("aten::"):
        found.append(
            ("Add a case to the task", "kernelevolve.addCase", types.CodeActionKind.Refactor, {"uri": file.uri})
        )
    if not file.is_native and able.applies_edits:
        name = _function_at(file, asked.start.line)
        if name is not None:
            arguments = {"uri": file.uri, "function": name}
            title = f"Make a task from {name}"
            found.append((title, "kernelevolve.makeTask", types.CodeActionKind.RefactorExtract, arguments))
    return [
        types.CodeAction(
            title=title, kind=kind, command=types.Command(title=title, command=command, arguments=[arguments])
        )
        for title, command, kind, arguments in found
        if wanted is None or any(kind.value == word or kind.value.startswith(f"{word}.") for word in wanted)
    ]


def _function_at(file: OpenFile, line: int) -> str | None:
    if file.scanned.is_task:
        return None
    above = [(name, number) for name, number in functions(file.text) if number <= line]
    if not above:
        return None
    name, number = above[-1]
    lines = file.text.split("\n")
    inside = all(not text.strip() or text[0] in " \t)#]}" for text in lines[number + 1 : line + 1])
    return name if inside else None
