"""Rules about `tl.dot`: operand types, the accumulator's type, precision."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from kernelevolve.server.language_server.lints.finding import (
    DOT_ACCUMULATOR,
    DOT_OPTION,
    DOT_PRECISION,
    DOT_TYPES,
    Lint,
)
from kernelevolve.server.language_server.lints.flow import Values, argument_nodes
from kernelevolve.server.language_server.lints.source import Kernel
from kernelevolve.server.language_server.lints.values import UNKNOWN

_REFUSED_OPERANDS = {"int16", "int32", "int64", "int1"}
_HALF = ("float16", "bfloat16")


def dots(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """What `tl.dot` refuses or does otherwise than one may think."""
    for node in kernel.calls("tl.dot"):
        given = argument_nodes(node, ("input", "other", "acc", "input_precision"))
        left, right, acc = (
            values.get(given[n], UNKNOWN).dtype if n in given else None for n in ("input", "other", "acc")
        )
        yield from _operands(kernel, node, left, right)
        yield from _accumulator(kernel, node, given, left, acc, values)
        options = {each.arg: each for each in node.keywords if each.arg}
        if "allow_tf32" in options:
            is_off = (
                isinstance(options["allow_tf32"].value, ast.Constant) and options["allow_tf32"].value.value is False
            )
            text = "allow_tf32 is the old name of this choice. Write input_precision="
            text += '"ieee".' if is_off else '"tf32" or "ieee".'
            yield DOT_OPTION.at(options["allow_tf32"], text, "information")
        elif left == right == "float32" and "input_precision" not in given:
            text = 'A dot of float32 operands uses TF32 on NVIDIA (10 bits of mantissa). Say input_precision="ieee", '
            text += '"tf32" or "tf32x3", so that it is a choice.'
            yield DOT_PRECISION.at(node, text, "information")


def _operands(kernel: Kernel, node: ast.Call, left: str | None, right: str | None) -> Iterator[Lint]:
    severity = "error" if kernel.is_certain(node) else "warning"
    for dtype in (left, right):
        if dtype in _REFUSED_OPERANDS:
            text = f"tl.dot takes no {dtype}: cast to int8 or to a floating-point type first."
            yield DOT_TYPES.at(node, text, severity)  # type: ignore[arg-type]
            return
    if left and right and left != right and not (left.startswith("float8") and right.startswith("float8")):
        text = f"tl.dot of {left} and {right}: both operands must have one type. Cast one with .to(tl.{left})."
        yield DOT_TYPES.at(node, text, severity)  # type: ignore[arg-type]


def _accumulator(
    kernel: Kernel, node: ast.Call, given: dict[str, ast.expr], left: str | None, acc: str | None, values: Values
) -> Iterator[Lint]:
    certain = "error" if kernel.is_certain(node) else "warning"
    out = kernel.source.name_of(given.get("out_dtype")).removeprefix("tl.")
    if out == "bfloat16":
        text = "out_dtype=tl.bfloat16 is refused: let it be float32 and convert afterwards with .to(tl.bfloat16)."
        yield DOT_ACCUMULATOR.at(node, text, certain)  # type: ignore[arg-type]
        return
    if "acc" not in given:
        parent = kernel.parents.get(node)
        if isinstance(parent, ast.AugAssign) and isinstance(parent.op, ast.Add):
            acc = values.get(parent.target, UNKNOWN).dtype
            product = values.get(node, UNKNOWN).dtype
            if acc in _HALF and product == "float32":
                yield DOT_ACCUMULATOR.at(parent, _half(acc), "warning")
        return
    wanted = "int32" if left == "int8" else None
    if wanted and acc and acc != wanted:
        text = (
            f"A dot of int8 operands accumulates in int32, and the accumulator is {acc}: use tl.zeros(..., tl.int32)."
        )
        yield DOT_ACCUMULATOR.at(given["acc"], text, certain)  # type: ignore[arg-type]
    elif acc in _HALF and "out_dtype" not in given:
        yield DOT_ACCUMULATOR.at(given["acc"], _half(acc), "warning")


def _half(dtype: str) -> str:
    text = f"The accumulator is {dtype}: every step rounds the sum to {11 if dtype == 'float16' else 8} bits. "
    return text + "Accumulate in float32 and convert once, at the store."
