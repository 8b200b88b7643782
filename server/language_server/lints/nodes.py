"""Small questions about pieces of a syntax tree."""

from __future__ import annotations

import ast


def whole_number(node: ast.expr | None) -> int | None:
    """The number that a literal is; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = whole_number(node.operand)
        return None if number is None else -number
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    return None


def argument_nodes(node: ast.Call, names: tuple[str, ...]) -> dict[str, ast.expr]:
    """The arguments of a call by name, positional ones by the names given; nothing of `*args`."""
    found: dict[str, ast.expr] = {}
    for name, each in zip(names, node.args, strict=False):
        if isinstance(each, ast.Starred):
            break
        found[name] = each
    return found | {each.arg: each.value for each in node.keywords if each.arg}


def is_none(node: ast.expr | None) -> bool:
    """Whether it is the literal `None`."""
    return isinstance(node, ast.Constant) and node.value is None


def is_whole_axis(node: ast.expr) -> bool:
    """Whether it is a bare `:`."""
    return isinstance(node, ast.Slice) and all(
        each is None or is_none(each) for each in (node.lower, node.upper, node.step)
    )
