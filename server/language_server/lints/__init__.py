"""What is wrong, or may be, with the Triton kernels of a text: without compiling or running any of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kernelevolve.server.language_server.lints import control, dot, memory, names, shapes, tuning
from kernelevolve.server.language_server.lints.finding import RULES, TOO_DEEP, Lint, Severity, in_code_points
from kernelevolve.server.language_server.lints.flow import Values, follow
from kernelevolve.server.language_server.lints.source import Kernel, Source

__all__ = ["RULES", "Lint", "Severity", "lint"]

_CHECKS: tuple[Callable[[Kernel, Values], Iterator[Lint]], ...] = (
    shapes.arange,
    shapes.block_shapes,
    shapes.constexprs,
    memory.masks,
    memory.fillings,
    memory.overflow,
    memory.float_indices,
    memory.block_pointers,
    dot.dots,
    control.conditions,
    control.booleans,
    control.loops,
    control.syntax,
    control.indexing,
    control.builtins,
    names.unknown,
    names.module_values,
    names.host_libraries,
    tuning.keys,
    tuning.configurations,
    tuning.order,
)


def lint(text: str) -> list[Lint]:
    """Remarks about the `@triton.jit` functions of a Python text, in the order of their places.

    A text that does not parse is checked as far as its top-level statements do. Gluon kernels are left alone: they are
    another language. `# noqa` or `# noqa: KE101` at the end of a line silences it.
    """
    if "triton" not in text:
        return []
    source = Source(text)
    found: set[Lint] = set()
    for kernel in source.kernels:
        found |= set(_of_kernel(kernel))
    placed = [in_code_points(each, source.lines) for each in found if not source.is_silenced(each.line, each.code)]
    return sorted(placed, key=lambda each: (each.line, each.column, each.code, each.message))


def _of_kernel(kernel: Kernel) -> list[Lint]:
    try:
        values = follow(kernel)
        return [each for check in _CHECKS for each in check(kernel, values)]
    except RecursionError:
        text = f"{kernel.node.name} is nested too deeply to be checked."
        return [TOO_DEEP.at(kernel.node, text, "information")]
