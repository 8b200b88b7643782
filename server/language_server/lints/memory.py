"""Rules about loads, stores and their offsets."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from kernelevolve.server.language_server.lints.finding import (
    BLOCK_POINTER,
    FLOAT_INDEX,
    NO_MASK,
    NO_OTHER,
    OVERFLOW,
    WIDENED_LATE,
    WRONG_OTHER,
    Lint,
)
from kernelevolve.server.language_server.lints.flow import Values, argument_nodes, is_none
from kernelevolve.server.language_server.lints.source import Kernel, whole_number
from kernelevolve.server.language_server.lints.triton_names import triton_version
from kernelevolve.server.language_server.lints.values import FLOATS, UNKNOWN, Kind, Mark, Value

_ORDER = frozenset({"max", "min", "argmax", "argmin", "softmax"})
_SUMS = frozenset({"sum", "dot"})
BLOCK_POINTER_NAMES = frozenset({"tl.make_block_ptr", "tl.advance"})
_WITHOUT_BLOCK_POINTERS = (3, 9)


def masks(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Loads and stores of a block that need not divide the data, without a mask."""
    accesses = [(node, *_access(kernel, node)) for node in kernel.calls("tl.load", "tl.store")]
    guarded = {name for _, pointer, has_mask in accesses if has_mask for name in _pointer_names(kernel, pointer)}
    for node, address, has_mask in accesses:
        is_load = kernel.source.name_of(node.func) == "tl.load"
        pointer = values.get(address, UNKNOWN) if address is not None else UNKNOWN
        if has_mask or _pointer_names(kernel, address) & guarded:
            # Whole blocks without a mask beside a masked rest are a common, sound pair.
            continue
        if pointer.kind is not Kind.BLOCK or not pointer.has(Mark.RANGE) or pointer.has(Mark.WRAPPED):
            continue
        if not pointer.has(Mark.PROGRAM, Mark.PARAMETER) or _is_in_a_special_case(kernel, node):
            continue
        what = "load" if is_load else "store"
        text = f"This {what} covers a whole block: where the block does not divide the data it reaches past the end. "
        text += f"Add mask=offsets < length{', other=...' if is_load else ''}, unless every size is a multiple of it."
        yield NO_MASK.at(node, text, "hint")


def _access(kernel: Kernel, node: ast.Call) -> tuple[ast.expr | None, bool]:
    """The address of a load or store, and whether a mask guards it."""
    is_load = kernel.source.name_of(node.func) == "tl.load"
    given = argument_nodes(node, ("pointer", "mask", "other") if is_load else ("pointer", "value", "mask"))
    return given.get("pointer"), ("mask" in given and not is_none(given["mask"])) or "boundary_check" in given


def _pointer_names(kernel: Kernel, address: ast.expr | None) -> set[str]:
    """Names in an address that stand for a pointer rather than an offset."""
    names = {each.id for each in ast.walk(address) if isinstance(each, ast.Name)} if address is not None else set()
    return {name for name in names if "ptr" in name.lower() or (name in kernel.parameters and _is_pointer(name))}


def _is_in_a_special_case(kernel: Kernel, node: ast.AST) -> bool:
    """Below an `if` on constants, e.g. `if EVEN_K:`, or after an assumption about the sizes."""
    for each in kernel.above(node):
        if isinstance(each, ast.If) and each.test not in kernel.runtime_conditions:
            return True
    return any(True for _ in kernel.calls("tl.assume", "tl.static_assert", "tl.device_assert"))


def fillings(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Reductions of masked loads whose masked lanes hold anything, or something that is not neutral."""
    for node in kernel.nodes:
        if not isinstance(node, ast.Call):
            continue
        name, inputs = _reduction(kernel, node)
        for each in inputs:
            value = values.get(each, UNKNOWN)
            yield from _filling(kernel, node, name, each, value)


def _reduction(kernel: Kernel, node: ast.Call) -> tuple[str, list[ast.expr]]:
    name = kernel.source.name_of(node.func)
    if name.startswith("tl."):
        return name[3:], node.args[:2] if name == "tl.dot" else node.args[:1]
    if isinstance(node.func, ast.Attribute):
        return node.func.attr, [node.func.value]
    return "", []


def _filling(kernel: Kernel, node: ast.Call, name: str, operand: ast.expr, value: Value) -> Iterator[Lint]:
    has_holes = value.has(Mark.UNFILLED) and _meets_holes(node, name, operand, value)
    if has_holes and name in _ORDER:
        neutral = 'float("inf")' if "min" in name else 'float("-inf")'
        text = f"{name} over a masked load without other=: what the masked lanes hold is undefined and may win. "
        text += f"Load with other={neutral}, or put tl.where(mask, x, {neutral}) before it."
        yield NO_OTHER.at(node, text, "warning")
    elif has_holes and name in _SUMS:
        text = (
            f"{name} over a masked load without other=: what the masked lanes hold is undefined. Load with other=0.0."
        )
        yield NO_OTHER.at(node, text, "information")
    elif value.has(Mark.ZERO_FILLED) and name in _ORDER and not _is_of_positive_data(kernel, name):
        neutral = "inf" if "min" in name else "-inf"
        text = (
            f"{name} over a load whose masked lanes are 0: 0 wins over {'positive' if neutral == 'inf' else 'negative'}"
        )
        text += f' data. The neutral value is float("{neutral}").'
        yield WRONG_OTHER.at(node, text, "hint")


def _is_of_positive_data(kernel: Kernel, name: str) -> bool:
    """A maximum in a kernel that is not about maxima (norms, counts, flags) is mostly one of positive numbers."""
    called = kernel.node.name.lower()
    return name == "max" and ("max" not in called or "norm" in called or "count" in called)


def _meets_holes(node: ast.Call, name: str, operand: ast.expr, value: Value) -> bool:
    """Whether the reduction runs along an axis that the mask cuts; lanes masked along another one go to no result."""
    if value.shape is not None and len(value.shape) == 1:
        return True
    rank = len(value.shape) if value.shape is not None else None
    if name == "dot":
        if value.holes is None or rank is None:
            return False
        return (rank - 1 if operand is node.args[0] else rank - 2) in value.holes
    is_method = isinstance(node.func, ast.Attribute) and node.func.value is operand
    axis = argument_nodes(node, ("axis",) if is_method else ("input", "axis")).get("axis")
    if axis is None or is_none(axis):
        return True
    number = whole_number(axis)
    if number is None or value.holes is None or rank is None:
        return False
    return (number if number >= 0 else number + rank) in value.holes


def overflow(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Offsets computed in int32 that large tensors overflow; the first of a kernel."""
    for node in kernel.nodes:
        if isinstance(node, ast.Call) and (product := _widened_product(kernel, node, values)) is not None:
            text = f"{ast.unparse(product)} is computed in int32 and may overflow before it is widened. "
            text += f"Widen a factor: {ast.unparse(product.left)}.to(tl.int64) * {ast.unparse(product.right)}."
            yield WIDENED_LATE.at(node, text, "warning")
    for node in kernel.nodes:
        if _is_stride_product(kernel, node, values) and _reaches_a_pointer(kernel, node):
            assert isinstance(node, ast.BinOp)
            text = f"{ast.unparse(node)} is computed in int32: it overflows for tensors of more than 2^31 elements. "
            text += "Write tl.program_id(...).to(tl.int64) where tensors can be that large."
            yield OVERFLOW.at(node, text, "hint")
            return


def _widened_product(kernel: Kernel, node: ast.Call, values: Values) -> ast.BinOp | None:
    """The product of int32 factors in `(pid * stride).to(tl.int64)`."""
    name = kernel.source.name_of(node.func)
    if name == "tl.cast":
        inner, dtype = (node.args[0] if node.args else None), (node.args[1] if len(node.args) > 1 else None)
    elif isinstance(node.func, ast.Attribute) and node.func.attr == "to":
        inner, dtype = node.func.value, node.args[0] if node.args else None
    else:
        return None
    if kernel.source.name_of(dtype) != "tl.int64" or not _is_stride_product(kernel, inner, values):
        return None
    return inner if isinstance(inner, ast.BinOp) else None


def _is_stride_product(kernel: Kernel, node: ast.AST | None, values: Values) -> bool:
    """`program * stride`, one of them an int32 made from the program's number, the other a run-time stride."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
        return False
    for factor, stride in ((node.left, node.right), (node.right, node.left)):
        value = values.get(factor, UNKNOWN)
        if (
            isinstance(stride, ast.Name)
            and "stride" in stride.id.lower()
            and values.get(stride, UNKNOWN).kind is Kind.ARGUMENT
            and value.dtype == "int32"
            and value.has(Mark.PROGRAM)
        ):
            return True
    return False


def _reaches_a_pointer(kernel: Kernel, node: ast.AST) -> bool:
    """Whether a sum around the node has a plain parameter named like a pointer in it."""
    for each in kernel.above(node):
        if isinstance(each, ast.AugAssign):
            return isinstance(each.op, ast.Add) and isinstance(each.target, ast.Name) and _is_pointer(each.target.id)
        if not isinstance(each, ast.BinOp) or not isinstance(each.op, ast.Add):
            return False
        leaves = [each.left, each.right]
        while leaves:
            leaf = leaves.pop()
            if isinstance(leaf, ast.BinOp) and isinstance(leaf.op, ast.Add):
                leaves += [leaf.left, leaf.right]
            elif isinstance(leaf, ast.Name) and leaf.id in kernel.parameters and _is_pointer(leaf.id):
                return True
    return False


def _is_pointer(name: str) -> bool:
    return "stride" not in name.lower() and (name.lower().endswith(("ptr", "ptrs", "_p")) or name[:1].isupper())


def float_indices(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """`/` between whole numbers where an offset or a loop's end is wanted."""
    for node in kernel.nodes:
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
            continue
        if values.get(node, UNKNOWN).dtype not in FLOATS or not _both_whole(node, values):
            continue
        parent = kernel.parents.get(node)
        in_loop = isinstance(parent, ast.Call) and kernel.source.name_of(parent.func) in ("range", "tl.range")
        if in_loop:
            text = f"{ast.unparse(node)} is a float32, and loops count whole numbers. Divide with `//` or tl.cdiv."
            yield FLOAT_INDEX.at(node, text, "error" if kernel.is_certain(node) else "warning")


def _both_whole(node: ast.BinOp, values: Values) -> bool:
    return all(
        (value := values.get(each, UNKNOWN)).dtype == "int32" or bool(value.choices) for each in (node.left, node.right)
    )


def block_pointers(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """`tl.make_block_ptr` and `tl.advance`, which Triton 3.9 took away."""
    version = triton_version()
    for node in kernel.calls(*BLOCK_POINTER_NAMES):
        name = kernel.source.name_of(node.func)
        gone = version >= _WITHOUT_BLOCK_POINTERS
        text = f"{name} is gone from Triton 3.9 on"
        text += f" ({'.'.join(map(str, version))} is installed). " if gone else ". "
        text += "Use tl.make_tensor_descriptor, or pointers with a mask."
        yield BLOCK_POINTER.at(node.func, text, "error" if gone and kernel.is_certain(node) else "warning")
