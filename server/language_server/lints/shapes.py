"""Rules about shapes of blocks and the constants they are made of."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from kernelevolve.server.language_server.lints.finding import (
    ARANGE,
    CONSTEXPR_REASSIGNED,
    MISSING_CONSTEXPR,
    RUNTIME_SHAPE,
    SHAPE,
    UNUSED_CONSTEXPR,
    Lint,
    Severity,
)
from kernelevolve.server.language_server.lints.flow import Values, argument_nodes
from kernelevolve.server.language_server.lints.source import Kernel
from kernelevolve.server.language_server.lints.values import UNKNOWN, Kind, Mark, Value

MOST_ELEMENTS = 1_048_576
"""`TRITON_MAX_TENSOR_NUMEL`."""
_OPTIONS = frozenset({"num_warps", "num_stages", "num_ctas"})
"""Launch options, which a kernel may name as parameters in order to read them."""
_SHAPED = {"tl.zeros": ("shape", "dtype"), "tl.full": ("shape", "value", "dtype")}


def arange(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """`tl.arange` whose length is, or can be, no power of two."""
    for node in kernel.calls("tl.arange"):
        bounds = argument_nodes(node, ("start", "end"))
        if "start" not in bounds or "end" not in bounds:
            continue
        start, end = (values.get(bounds[name], UNKNOWN) for name in ("start", "end"))
        yield from _runtime(kernel, node, [(bounds["start"], start), (bounds["end"], end)], "tl.arange")
        if start.kind is not Kind.CONSTEXPR or end.kind is not Kind.CONSTEXPR or len(start.choices) != 1:
            continue
        lengths = {number - next(iter(start.choices)) for number in end.choices}
        bad = sorted(length for length in lengths if not is_power_of_two(length))
        if not bad:
            continue
        certain = start.is_exact and end.is_exact
        what = "no more than its start" if bad[0] <= 0 else "no power of two"
        if certain:
            text = f"tl.arange of {bad[0]} elements: the end is {what}, and Triton refuses it. "
        else:
            listed = ", ".join(map(str, bad[:4]))
            text = f"{ast.unparse(bounds['end'])} can be {listed} here (a default, a configuration or a launch): "
            text += f"tl.arange then has {what} as its length, and Triton refuses it. "
        text += f"Use {round_up(bad[-1])} (triton.next_power_of_2 in the wrapper) and mask the rest."
        yield ARANGE.at(node, text, _certainty(kernel, node, certain))


def block_shapes(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Blocks whose sides are no powers of two, or that have too many elements."""
    for node in kernel.calls(*_SHAPED):
        shape = argument_nodes(node, _SHAPED[kernel.source.name_of(node.func)]).get("shape")
        if not isinstance(shape, ast.Tuple | ast.List):
            continue
        sides = [(each, values.get(each, UNKNOWN)) for each in shape.elts]
        yield from _runtime(kernel, node, sides, kernel.source.name_of(node.func))
        for each, side in sides:
            bad = sorted(number for number in side.choices if not is_power_of_two(number))
            if bad and side.kind is Kind.CONSTEXPR:
                text = f"A side of {bad[0]}: every side of a block is a power of two. Use {round_up(bad[0])} and mask."
                yield SHAPE.at(each, text, _certainty(kernel, node, side.is_exact))
        block = values.get(node, UNKNOWN)
        if block.elements is not None and block.elements > MOST_ELEMENTS:
            text = f"A block of {block.elements:,} elements: Triton allows {MOST_ELEMENTS:,}. Loop over smaller tiles."
            yield SHAPE.at(node, text, _certainty(kernel, node, all(side.is_exact for _, side in sides)))


def constexprs(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Parameters marked `tl.constexpr` that nothing reads, or that the body assigns."""
    if all(_is_nothing(each) for each in kernel.node.body):
        return
    read = {
        each.id
        for body in kernel.node.body
        for each in ast.walk(body)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    }
    mentioned = {
        each.value
        for _, node in kernel.decorators
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    for name in kernel.parameters:
        if name in kernel.constexprs and name not in read | mentioned | _OPTIONS and not name.startswith("_"):
            text = f"{name} is never read: every new value of it compiles the kernel again for nothing. Remove it."
            yield UNUSED_CONSTEXPR.at(kernel.parameters[name], text, "hint")
    for node in kernel.nodes:
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            yield from _reassigned(kernel, node, values)


def _is_nothing(node: ast.stmt) -> bool:
    """A docstring, `...` or `pass`: a body that is still to be written."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _reassigned(kernel: Kernel, node: ast.Assign | ast.AugAssign | ast.AnnAssign, values: Values) -> Iterator[Lint]:
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if not isinstance(target, ast.Name) or target.id not in kernel.constexprs:
            continue
        if isinstance(node, ast.AnnAssign) and kernel.source.is_constexpr(node.annotation) and node.value is not None:
            text = f"{target.id} is a constexpr already: Triton refuses to define it again. Give the value a new name."
            yield CONSTEXPR_REASSIGNED.at(node, text, _certainty(kernel, node, True))
        elif not kernel.source.name_of(node.value).startswith("tl."):
            text = f"{target.id} is a constexpr parameter; after this it is a run-time value, unfit for shapes and "
            text += "tl.static_range. Write a new name with `: tl.constexpr` instead."
            yield CONSTEXPR_REASSIGNED.at(node, text, "information")


def _runtime(kernel: Kernel, node: ast.Call, sides: list[tuple[ast.expr, Value]], function: str) -> Iterator[Lint]:
    """Lengths that are run-time values."""
    for each, value in sides:
        written = ast.unparse(each)
        if value.kind is Kind.ARGUMENT and isinstance(each, ast.Name) and each.id in kernel.parameters:
            text = f"{written} is the length of a block: annotate the parameter, `{written}: tl.constexpr`."
            yield MISSING_CONSTEXPR.at(kernel.parameters[each.id], text, _certainty(kernel, node, True))
        elif value.kind in (Kind.SCALAR, Kind.ARGUMENT, Kind.BLOCK):
            text = f"{function} needs constants, and {written} is a run-time value here. "
            if value.has(Mark.ASSIGNED):
                text += f"An assignment makes it one: write `{written}: tl.constexpr = ...`."
            else:
                text += "Pass the length as a `tl.constexpr` parameter and mask what is too much."
            yield RUNTIME_SHAPE.at(each, text, _certainty(kernel, node, True))


def _certainty(kernel: Kernel, node: ast.AST, certain: bool) -> Severity:
    return "error" if certain and kernel.is_certain(node) else "warning"


def is_power_of_two(number: int) -> bool:
    """Whether it is 1, 2, 4, …"""
    return number > 0 and number & (number - 1) == 0


def round_up(number: int) -> int:
    """The next power of two."""
    return 1 << max(0, number - 1).bit_length()
