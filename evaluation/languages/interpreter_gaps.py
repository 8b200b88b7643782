"""Where Triton's interpreter does something else than its compiler, so that honest kernels would be refused: mended.

- A float argument stays a Python number: no `.to`, double precision. Compiled, it is a tensor of fp32.
- `a and b`, `a or b`, `not a` on blocks are decided for the block as a whole, and as `a and b` then is one of the two,
  a mask loses its other half and the kernel writes past its end. Compiled, they hold element by element.
- libdevice's functions are stubs that return None (`interpreted_math`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from kernelevolve.evaluation.languages.interpreted_math import complete_libdevice

_LOGICAL, _NEGATED = "_kernelevolve_logical", "_kernelevolve_negated"


def mend_interpreter() -> None:
    """Mend the interpreter of the Triton that is imported now. Doing it twice is harmless."""
    complete_libdevice()
    from triton.runtime import interpreter

    if hasattr(interpreter, _LOGICAL):
        return
    interpreter._implicit_cvt = _converting(interpreter._implicit_cvt)
    # The interpreter puts every name of its module into the globals of a kernel.
    setattr(interpreter, _LOGICAL, _logical)
    setattr(interpreter, _NEGATED, _negated)
    interpreter.ASTTransformer.visit_BoolOp = _visit_bool_op
    interpreter.ASTTransformer.visit_UnaryOp = _visit_unary_op


def _converting(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`_implicit_cvt` that also makes a float what a compiled kernel gets for it."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    def convert(argument: Any) -> Any:
        if isinstance(argument, float):
            with np.errstate(over="ignore"):
                return tl.tensor(TensorHandle(np.array([argument], dtype=np.float32), tl.float32), tl.float32)
        return plain(argument)

    return convert


def _visit_bool_op(transformer: Any, node: ast.BoolOp) -> ast.AST:
    """`a and b` → `_kernelevolve_logical("logical_and", lambda: a, lambda: b)`."""
    transformer.generic_visit(node)
    name = "logical_and" if isinstance(node.op, ast.And) else "logical_or"
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    parts: list[ast.expr] = [ast.Lambda(args=nothing, body=value) for value in node.values]
    return ast.copy_location(_call(_LOGICAL, [ast.Constant(value=name), *parts]), node)


def _visit_unary_op(transformer: Any, node: ast.UnaryOp) -> ast.AST:
    transformer.generic_visit(node)
    return ast.copy_location(_call(_NEGATED, [node.operand]), node) if isinstance(node.op, ast.Not) else node


def _call(name: str, arguments: list[ast.expr]) -> ast.Call:
    return ast.Call(func=ast.Name(id=name, ctx=ast.Load()), args=arguments, keywords=[])


def _logical(name: str, *parts: Callable[[], Any]) -> Any:
    """Tensors are combined element by element; Python values short-circuit as ever."""
    result = parts[0]()
    for part in parts[1:]:
        if _is_tensor(result):
            result = getattr(result, name)(part())
        elif bool(result) == (name == "logical_or"):
            return result
        else:
            result = part()
    return result


def _negated(value: Any) -> Any:
    return value == 0 if _is_tensor(value) else not value


def _is_tensor(value: Any) -> bool:
    import triton.language as tl

    return isinstance(value, tl.core.tensor)
