"""Rules about control flow and the Python that Triton does not compile."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from kernelevolve.server.language_server.lints.finding import (
    BOOLEAN,
    CONDITION,
    INDEXING,
    LOOP_ITERATOR,
    LOOP_JUMP,
    LOOP_RETURN,
    MIN_MAX,
    PROGRAM_AXIS,
    STATIC_RANGE,
    SYNTAX,
    Lint,
    Severity,
)
from kernelevolve.server.language_server.lints.flow import Values, argument_nodes, is_none, is_whole_axis
from kernelevolve.server.language_server.lints.source import Kernel, whole_number
from kernelevolve.server.language_server.lints.values import UNKNOWN, Kind

_REFUSED: dict[type[ast.AST], str] = {
    ast.Try: "try: nothing can be caught in a kernel",
    ast.Raise: "raise: use tl.device_assert, or tl.static_assert for constants",
    ast.Lambda: "lambda: write a @triton.jit function",
    ast.Dict: "a dictionary: use tuples or constexpr parameters",
    ast.Set: "a set: use a tuple",
    ast.DictComp: "a dictionary: use tuples or constexpr parameters",
    ast.SetComp: "a set: use a tuple",
    ast.Global: "global: kernels see constexpr globals only",
    ast.Nonlocal: "nonlocal: pass the value as an argument",
    ast.Import: "import: import at the top of the file",
    ast.ImportFrom: "import: import at the top of the file",
    ast.ClassDef: "a class: define it outside",
    ast.Delete: "del: names need no deleting",
    ast.Yield: "yield: a kernel stores its results",
    ast.YieldFrom: "yield: a kernel stores its results",
    ast.Await: "await: a kernel does not wait for Python",
    ast.AsyncFunctionDef: "an async function",
}


def conditions(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """`if`, `while` and conditional expressions on a block."""
    for node in kernel.nodes:
        if not isinstance(node, ast.If | ast.While | ast.IfExp):
            continue
        value = values.get(node.test, UNKNOWN)
        if value.kind is not Kind.BLOCK:
            continue
        certain = value.elements is not None and value.elements > 1 and kernel.is_certain(node)
        text = f"{ast.unparse(node.test)} is a block of conditions, and one program can go only one way. "
        text += "Use tl.where for a choice per element, a mask for loads and stores, or reduce it to one number first."
        yield CONDITION.at(node.test, text, "error" if certain else "warning")


def booleans(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """`and` and `or` between blocks: both sides are evaluated. The first of a kernel."""
    for node in kernel.nodes:
        if isinstance(node, ast.BoolOp) and sum(values.get(e, UNKNOWN).kind is Kind.BLOCK for e in node.values) > 1:
            word, sign = ("and", "&") if isinstance(node.op, ast.And) else ("or", "|")
            text = f"`{word}` between blocks works element by element and evaluates both sides: `{sign}` says so "
            text += "(with brackets around the comparisons)."
            yield BOOLEAN.at(node, text, "hint")
            return


def loops(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """What Triton refuses in loops."""
    for node in kernel.nodes:
        if isinstance(node, ast.Break | ast.Continue):
            word = "break" if isinstance(node, ast.Break) else "continue"
            text = f"Triton has no `{word}`. Put the condition into a `while`, or mask the rest of the body."
            yield LOOP_JUMP.at(node, text, _certain(kernel, node))
        elif isinstance(node, ast.Return) and any(_is_runtime_loop(kernel, each) for each in kernel.above(node)):
            text = "`return` inside a loop is refused. Set a flag, and end the loop by its condition or mask the rest."
            yield LOOP_RETURN.at(node, text, _certain(kernel, node))
        elif isinstance(node, ast.For):
            yield from _loop(kernel, node, values)


def _is_runtime_loop(kernel: Kernel, node: ast.AST) -> bool:
    if isinstance(node, ast.For):
        return kernel.source.name_of(getattr(node.iter, "func", None)) in ("range", "tl.range")
    return isinstance(node, ast.While)


def _loop(kernel: Kernel, node: ast.For, values: Values) -> Iterator[Lint]:
    if not isinstance(node.iter, ast.Call):
        text = f"A loop over {ast.unparse(node.iter)}: Triton loops over range, tl.range and tl.static_range only. "
        text += "Count with tl.static_range and index the tuple."
        yield LOOP_ITERATOR.at(node.iter, text, _certain(kernel, node))
        return
    name = kernel.source.name_of(node.iter.func)
    if name in ("enumerate", "zip", "reversed", "list", "sorted", "map", "filter"):
        text = f"A loop over {name}(...): Triton loops over range, tl.range and tl.static_range only."
        yield LOOP_ITERATOR.at(node.iter, text, _certain(kernel, node))
    if name == "tl.static_range":
        for each in [*node.iter.args, *(keyword.value for keyword in node.iter.keywords)]:
            value = values.get(each, UNKNOWN)
            if value.kind in (Kind.SCALAR, Kind.ARGUMENT, Kind.BLOCK):
                text = (
                    f"tl.static_range unrolls while compiling, and {ast.unparse(each)} is a run-time value. Use range, "
                )
                text += "or make it a `tl.constexpr`."
                # A plain argument that is 1 becomes a constant.
                severity = _certain(kernel, node) if value.kind is Kind.SCALAR else "warning"
                yield STATIC_RANGE.at(each, text, severity)


def syntax(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Python that the compiler does not know."""
    for node in kernel.nodes:
        refused = _REFUSED.get(type(node))
        if refused is not None and isinstance(node, ast.expr | ast.stmt):
            severity = _certain(kernel, node)
            if isinstance(node, ast.Raise) and severity != "error":
                # A guard on constants: what it guards against does not compile either way, but says less.
                severity = "information"
            yield SYNTAX.at(node, f"Triton does not compile {refused}.", severity)
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            text = "Triton does not compile `in`. Compare with each value."
            yield SYNTAX.at(node, text, _certain(kernel, node))
        elif isinstance(node, ast.Assign) and len(node.targets) > 1:
            yield SYNTAX.at(node, "Triton assigns one name at a time: write two assignments.", _certain(kernel, node))


def indexing(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Blocks that are indexed like arrays."""
    for node in kernel.nodes:
        if not isinstance(node, ast.Subscript):
            continue
        value = values.get(node.value, UNKNOWN)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if value.kind is Kind.BLOCK and isinstance(node.ctx, ast.Store):
            text = "A block cannot be assigned to by index. Choose elements with tl.where, or store to memory."
            yield INDEXING.at(node, text, _certain(kernel, node))
        elif value.kind is Kind.BLOCK and not all(_is_axis(each, values) for each in parts):
            text = (
                f"{ast.unparse(node)}: a block takes only `:` and `None` as an index. To pick elements use tl.gather, "
            )
            text += "a masked tl.sum, or another load."
            yield INDEXING.at(node, text, _certain(kernel, node))


def _is_axis(node: ast.expr, values: Values) -> bool:
    """`:`, `None`, or something that may be `None`."""
    if is_none(node) or is_whole_axis(node):
        return True
    return not isinstance(node, ast.Slice | ast.Constant | ast.UnaryOp) and not values.get(node, UNKNOWN).is_runtime


def builtins(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Python's `min` and `max` used as they are not meant in a kernel, and axes of the grid that do not exist."""
    for node in kernel.calls("min", "max"):
        if any(isinstance(each, ast.Starred) for each in node.args):
            continue
        name = kernel.source.name_of(node.func)
        if len(node.args) == 1 and values.get(node.args[0], UNKNOWN).kind is Kind.BLOCK:
            text = f"Python's {name} of one block: the reduction over its elements is tl.{name}(x, axis=0)."
            yield MIN_MAX.at(node, text, _certain(kernel, node))
    for node in kernel.calls("tl.program_id", "tl.num_programs"):
        axis = argument_nodes(node, ("axis",)).get("axis")
        number = whole_number(axis)
        if number is not None and number not in (0, 1, 2):
            text = f"A grid has the axes 0, 1 and 2, not {number}. Fold the dimensions: pid // N and pid % N."
            yield PROGRAM_AXIS.at(node, text, _certain(kernel, node))


def _certain(kernel: Kernel, node: ast.AST) -> Severity:
    return "error" if kernel.is_certain(node) else "warning"
