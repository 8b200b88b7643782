"""Follow the values of a kernel through its statements: what each expression is known to be."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from kernelevolve.server.language_server.lints.source import Kernel, whole_number
from kernelevolve.server.language_server.lints.values import (
    FLOATS,
    INTEGERS,
    UNKNOWN,
    Kind,
    Mark,
    Value,
    arithmetic,
    compute,
    constant,
    join,
    promote,
)

Names = dict[str, Value]
Values = dict[ast.AST, Value]
_ELEMENTWISE = frozenset(
    """
    exp exp2 log log2 sqrt sqrt_rn rsqrt abs sin cos erf floor ceil sigmoid fma fdiv div_rn maximum minimum clamp
    """.split()
)
_BOUNDING = frozenset({"minimum", "clamp"})
"""Offsets that went through these stay inside the data without a mask."""
_REDUCTIONS = frozenset("sum max min argmax argmin xor_sum reduce_or reduce".split())
_SAME_SHAPE = frozenset("softmax cumsum cumprod flip sort associative_scan".split())
_LAYOUT = frozenset("multiple_of max_contiguous max_constancy".split())
_RESHAPE = frozenset("reshape view broadcast_to expand_dims trans permute broadcast join split ravel cat".split())
_DTYPES = frozenset([*INTEGERS, *FLOATS, "float8e4nv", "float8e5", "float8e4b8", "float8e5b16", "float8e4b15"])
_METHODS = _ELEMENTWISE | _REDUCTIONS | _SAME_SHAPE | _RESHAPE | {"to", "cast", "gather", "histogram"}


def follow(kernel: Kernel) -> Values:
    """What is known of every expression of a kernel's body.

    Raises:
        RecursionError: the code is nested deeper than Python's stack.
    """
    flow = _Flow(kernel)
    flow.block(kernel.node.body)
    return flow.values


def parameter(kernel: Kernel, name: str) -> Value:
    """What is known of a parameter: numbers from defaults, tuned configurations and launches of the file."""
    if name not in kernel.constexprs:
        annotation = kernel.parameters[name].annotation
        dtype = kernel.source.name_of(annotation).removeprefix("tl.")
        if dtype in _DTYPES:
            return Value(Kind.SCALAR, dtype, marks=frozenset({Mark.PARAMETER}))
        # A function that other kernels call may be given constants and blocks.
        return Value(Kind.ARGUMENT if kernel.is_launched else Kind.UNKNOWN, marks=frozenset({Mark.PARAMETER}))
    numbers = {number for each in kernel.configurations if (number := each.values.get(name)) is not None}
    given = [kernel.defaults.get(name)] if not numbers else []
    given += [each.value for launch in kernel.launches for each in launch.keywords if each.arg == name]
    numbers |= {number for each in given if (number := whole_number(each)) is not None}
    return Value(Kind.CONSTEXPR, None, frozenset(numbers), False)


class _Flow:
    """One walk over a function; statements change `names`, expressions are remembered in `values`."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.name_of = kernel.source.name_of
        self.names: Names = {name: parameter(kernel, name) for name in kernel.parameters}
        self.values: Values = {}

    # Statements

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign():
                value = self.value(node.value)
                for target in node.targets:
                    self.assign(target, value, node.value, is_constexpr=False)
            case ast.AnnAssign():
                value = self.value(node.value) if node.value is not None else UNKNOWN
                self.assign(node.target, value, node.value, self.kernel.source.is_constexpr(node.annotation))
            case ast.AugAssign():
                value = self.operation(self.value(node.target), self.value(node.value), node.op)
                self.assign(node.target, value, node.value, is_constexpr=False)
            case ast.If():
                self.condition(node)
            case ast.For():
                self.loop(node)
            case ast.While():
                self.repeat(node.body, lambda: self.value(node.test))
                self.block(node.orelse)
            case ast.With():
                for item in node.items:
                    self.value(item.context_expr)
                self.block(node.body)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child)
                    elif isinstance(child, ast.stmt):
                        self.statement(child)

    def assign(self, target: ast.expr, value: Value, node: ast.expr | None, is_constexpr: bool) -> None:
        self.values[target] = value
        if isinstance(target, ast.Name):
            keeps = is_constexpr or value.kind is not Kind.CONSTEXPR
            self.names[target.id] = value if keeps else _stored(value, node)
        elif isinstance(target, ast.Tuple | ast.List):
            parts = node.elts if isinstance(node, ast.Tuple | ast.List) else []
            for place, each in enumerate(target.elts):
                known = place < len(parts) and len(parts) == len(target.elts)
                self.assign(each, self.value(parts[place]) if known else UNKNOWN, None, is_constexpr)
        else:
            for child in ast.iter_child_nodes(target):
                if isinstance(child, ast.expr):
                    self.value(child)

    def condition(self, node: ast.If) -> None:
        if self.value(node.test).kind in (Kind.SCALAR, Kind.BLOCK):
            self.kernel.runtime_conditions.add(node.test)
        before = dict(self.names)
        self.block(node.body)
        after = self.names
        self.names = before
        self.block(node.orelse)
        self.names = _joined(after, self.names)

    def loop(self, node: ast.For) -> None:
        iterated = self.value(node.iter)
        name = self.name_of(getattr(node.iter, "func", None))
        if name == "tl.static_range":
            index = Value(Kind.CONSTEXPR)
        elif name in ("range", "tl.range"):
            index = Value(Kind.SCALAR, iterated.dtype, marks=iterated.marks & {Mark.PROGRAM})
        else:
            index = UNKNOWN
        self.repeat(node.body, lambda: self.bind(node.target, index))
        self.block(node.orelse)

    def bind(self, target: ast.expr, value: Value) -> None:
        self.values[target] = value
        if isinstance(target, ast.Name):
            self.names[target.id] = value

    def repeat(self, body: list[ast.stmt], start: Callable[[], object]) -> None:
        """A loop's body: once to see what it changes, then with what holds in every round."""
        before = dict(self.names)
        start()
        self.block(body)
        self.names = _joined(before, self.names)
        start()
        self.block(body)
        self.names = _joined(before, self.names)

    # Expressions

    def value(self, node: ast.expr) -> Value:
        found = self._value(node)
        self.values[node] = found
        return found

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant():
                number = whole_number(node)
                return constant(number) if number is not None else Value(Kind.CONSTEXPR)
            case ast.Name():
                return self.names.get(node.id, UNKNOWN)
            case ast.BinOp():
                return self.operation(self.value(node.left), self.value(node.right), node.op)
            case ast.UnaryOp():
                return self.unary(node)
            case ast.Compare():
                compared = self.comparison([self.value(each) for each in (node.left, *node.comparators)])
                # `x is None` is decided while compiling, whatever x is.
                return Value(Kind.CONSTEXPR) if isinstance(node.ops[0], ast.Is | ast.IsNot) else compared
            case ast.BoolOp():
                return self.comparison([self.value(each) for each in node.values])
            case ast.IfExp():
                self.value(node.test)
                return join(self.value(node.body), self.value(node.orelse))
            case ast.Call():
                return self.call(node)
            case ast.Subscript():
                return self.subscript(node)
            case ast.Attribute():
                owner = self.value(node.value)
                if self.name_of(node).startswith("tl.") or node.attr in ("shape", "dtype", "type", "value"):
                    return Value(Kind.CONSTEXPR) if self.name_of(node).removeprefix("tl.") in _DTYPES else UNKNOWN
                return (
                    replace(owner, shape=owner.shape[::-1], holes=None) if node.attr == "T" and owner.shape else UNKNOWN
                )
            case ast.NamedExpr():
                value = self.value(node.value)
                self.assign(node.target, value, node.value, is_constexpr=False)
                return value
            case ast.Lambda() | ast.ListComp() | ast.GeneratorExp() | ast.SetComp() | ast.DictComp():
                return UNKNOWN
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child)
                return UNKNOWN

    def operation(self, left: Value, right: Value, operator: ast.operator) -> Value:
        name = type(operator).__name__
        dtype = promote(left, right)
        if name == "Div":
            both = left.dtype in INTEGERS and (right.dtype in INTEGERS or bool(right.choices))
            dtype = "float32" if both else dtype if dtype in FLOATS else None
        result = arithmetic(left, right, dtype)
        if result.kind is Kind.CONSTEXPR:
            return replace(result, choices=compute(left, right, name), is_exact=left.is_exact and right.is_exact)
        return result.marked(Mark.WRAPPED) if name == "Mod" else result

    def unary(self, node: ast.UnaryOp) -> Value:
        operand = self.value(node.operand)
        if operand.kind is Kind.CONSTEXPR:
            number = whole_number(node)
            return constant(number) if number is not None else Value(Kind.CONSTEXPR)
        return operand.without(Mark.ZERO_FILLED)

    def comparison(self, values: list[Value]) -> Value:
        result = values[0]
        for other in values[1:]:
            result = arithmetic(result, other, "int1")
        return replace(result, dtype=None if result.kind is Kind.CONSTEXPR else "int1", marks=frozenset())

    def subscript(self, node: ast.Subscript) -> Value:
        base = self.value(node.value)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for each in parts:
            self.value(each)
        if base.kind is not Kind.BLOCK or not all(is_new_axis(each) or is_whole_axis(each) for each in parts):
            return UNKNOWN
        return replace(base, shape=_with_axes(base.shape, parts), holes=None)

    def call(self, node: ast.Call) -> Value:
        arguments = [self.value(each) for each in node.args]
        keywords = {each.arg: self.value(each.value) for each in node.keywords if each.arg}
        name = self.name_of(node.func)
        if name.startswith("tl."):
            return self.language(name[3:], node, arguments, keywords)
        if name in ("min", "max") and len(arguments) == 2:
            left, right = arguments
            bounded = arithmetic(left, right, promote(left, right))
            return bounded.marked(Mark.WRAPPED) if name == "min" else bounded
        if name == "range":
            return Value(dtype=self._common_dtype(arguments), marks=_marks(arguments))
        if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            owner = self.value(node.func.value)
            if owner.kind is not Kind.UNKNOWN or owner.marks:
                return self.language(node.func.attr, node, [owner, *arguments], keywords)
        elif not isinstance(node.func, ast.Name):
            self.value(node.func)
        return UNKNOWN

    def language(self, name: str, node: ast.Call, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """The result of a function of `tl`, or of the method of the same name."""
        first = arguments[0] if arguments else UNKNOWN
        leaf = name.removeprefix("math.")
        if leaf in _ELEMENTWISE:
            result = arguments[0] if arguments else UNKNOWN
            for other in arguments[1:]:
                result = arithmetic(result, other, promote(result, other))
            result = result.marked(Mark.WRAPPED) if leaf in _BOUNDING else result
            return replace(result.without(Mark.ZERO_FILLED), choices=frozenset(), is_exact=False)
        if name in ("program_id", "num_programs"):
            return Value(Kind.SCALAR, "int32", marks=frozenset({Mark.PROGRAM}))
        if name == "arange":
            return _arange(node, arguments, keywords)
        if name in ("zeros", "full"):
            return self.filled(name, node)
        if name in ("load", "store"):
            return self.load(node, first, keywords) if name == "load" else UNKNOWN
        if name in ("to", "cast"):
            return self.cast(node, first)
        if name == "where" and len(arguments) == 3:
            chosen = arithmetic(arguments[1], arguments[2], promote(arguments[1], arguments[2]))
            kind = Kind.BLOCK if Kind.BLOCK in (first.kind, chosen.kind) else Kind.UNKNOWN
            shape = first.shape or chosen.shape
            return replace(chosen, kind=kind, shape=shape).without(Mark.UNFILLED, Mark.RANGE, Mark.PROGRAM)
        if name == "dot":
            return Value(Kind.BLOCK, self.dot_type(arguments, keywords, node))
        if name in _LAYOUT or name in _SAME_SHAPE:
            return first
        if name in _RESHAPE:
            return replace(first, shape=None, holes=None) if first.kind is Kind.BLOCK else UNKNOWN
        if name in _REDUCTIONS:
            return self.reduced(name, node, first)
        if name == "range":
            return Value(dtype=self._common_dtype(arguments), marks=_marks(arguments))
        if name == "cdiv" and len(arguments) == 2:
            return self.operation(arguments[0], arguments[1], ast.FloorDiv()).without(Mark.RANGE)
        return UNKNOWN

    def filled(self, name: str, node: ast.Call) -> Value:
        places = ("shape", "dtype") if name == "zeros" else ("shape", "value", "dtype")
        given = argument_nodes(node, places)
        shape = given.get("shape")
        dtype = self.dtype_of(given.get("dtype"))
        if isinstance(shape, ast.Tuple | ast.List):
            sizes = tuple(self.value(each).choices for each in shape.elts)
            return Value(Kind.BLOCK if sizes else Kind.SCALAR, dtype, shape=sizes)
        return Value(Kind.UNKNOWN, dtype)

    def load(self, node: ast.Call, pointer: Value, keywords: dict[str, Value]) -> Value:
        given = argument_nodes(node, ("pointer", "mask", "other", "boundary_check"))
        is_single = pointer.kind in (Kind.SCALAR, Kind.ARGUMENT)
        kind = Kind.SCALAR if is_single else Kind.BLOCK if pointer.kind is Kind.BLOCK else Kind.UNKNOWN
        loaded = Value(kind, shape=pointer.shape)
        if "mask" not in given or is_none(given["mask"]):
            return loaded
        other = given.get("other")
        if other is None or is_none(other):
            mask = self.values.get(given["mask"], UNKNOWN).shape
            known = mask is not None and pointer.shape is not None and len(mask) == len(pointer.shape)
            holes = frozenset(axis for axis, side in enumerate(mask or ()) if side != {1}) if known else None
            return replace(loaded, holes=holes).marked(Mark.UNFILLED)
        is_zero = isinstance(other, ast.Constant) and other.value in (0, 0.0) and other.value is not False
        return loaded.marked(Mark.ZERO_FILLED) if is_zero else loaded

    def cast(self, node: ast.Call, first: Value) -> Value:
        is_method = self.name_of(node.func) not in ("tl.cast",)
        given = argument_nodes(node, ("dtype",) if is_method else ("input", "dtype"))
        dtype = self.dtype_of(given.get("dtype"))
        if any(each.arg == "bitcast" for each in node.keywords):
            return Value(first.kind, dtype)
        kind = Kind.SCALAR if first.kind in (Kind.CONSTEXPR, Kind.ARGUMENT) else first.kind
        return replace(first, kind=kind, dtype=dtype, choices=frozenset(), is_exact=False)

    def reduced(self, name: str, node: ast.Call, first: Value) -> Value:
        if any(each.arg in ("return_indices", "keep_dims") for each in node.keywords) or first.kind is not Kind.BLOCK:
            return UNKNOWN
        is_method = not self.name_of(node.func).startswith("tl.")
        axis = argument_nodes(node, ("axis",) if is_method else ("input", "axis")).get("axis")
        dtype = "int32" if name.startswith("arg") else first.dtype if first.dtype in FLOATS else None
        if axis is None or (first.shape is not None and len(first.shape) == 1):
            return Value(Kind.SCALAR, dtype)
        number = whole_number(axis)
        if first.shape is None or number is None or not 0 <= number < len(first.shape):
            # Of unknown rank: one dimension gives a number, more give a block.
            return Value(Kind.UNKNOWN, dtype)
        return Value(Kind.BLOCK, dtype, shape=(*first.shape[:number], *first.shape[number + 1 :]))

    def dot_type(self, arguments: list[Value], keywords: dict[str, Value], node: ast.Call) -> str | None:
        given = argument_nodes(node, ("input", "other", "acc", "input_precision"))
        left = self.values.get(given["input"], UNKNOWN) if "input" in given else UNKNOWN
        if left.dtype == "int8":
            return "int32"
        if (out := given.get("out_dtype")) is not None:
            return self.dtype_of(out)
        acc = given.get("acc")
        return "float32" if acc is None else self.values.get(acc, UNKNOWN).dtype

    def dtype_of(self, node: ast.expr | None) -> str | None:
        """The element type that an expression names, e.g. `tl.float16`."""
        name = self.name_of(node).removeprefix("tl.")
        return name if name in _DTYPES else None

    def _common_dtype(self, values: list[Value]) -> str | None:
        known = {value.dtype for value in values if value.kind is not Kind.CONSTEXPR or value.dtype is not None}
        return known.pop() if len(known) == 1 else None if known else "int32"


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


is_new_axis = is_none


def is_whole_axis(node: ast.expr) -> bool:
    """Whether it is a bare `:`."""
    return isinstance(node, ast.Slice) and all(
        each is None or is_none(each) for each in (node.lower, node.upper, node.step)
    )


def _stored(value: Value, node: ast.expr | None) -> Value:
    """A constant after `name = constant`: numbers become run-time values, names of types and `None` stay."""
    if value.choices or isinstance(node, ast.BinOp):
        # The text says a number, or arithmetic on constants.
        return Value(Kind.SCALAR, "int32" if value.choices else None, value.choices, value.is_exact).marked(
            Mark.ASSIGNED
        )
    return UNKNOWN


def _arange(node: ast.Call, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    start = arguments[0] if arguments else keywords.get("start", UNKNOWN)
    end = arguments[1] if len(arguments) > 1 else keywords.get("end", UNKNOWN)
    lengths = compute(end, start, "Sub")
    names = {each.id.lower() for each in ast.walk(node) if isinstance(each, ast.Name)}
    # A length called D or HEAD_DIM is the data's own; one called BLOCK_M or TILE need not divide it.
    is_tile = any("block" in name or "tile" in name for name in names)
    marks = frozenset({Mark.RANGE}) if is_tile and not end.is_exact else frozenset()
    return Value(Kind.BLOCK, "int32", marks=marks, shape=(lengths,))


def _with_axes(shape: tuple[frozenset[int], ...] | None, parts: list[ast.expr]) -> tuple[frozenset[int], ...] | None:
    if shape is None:
        return None
    left = list(shape)
    result = [frozenset({1}) if is_new_axis(each) else left.pop(0) if left else frozenset() for each in parts]
    return (*result, *left)


def _marks(values: list[Value]) -> frozenset[Mark]:
    return frozenset(mark for value in values for mark in value.marks)


def _joined(left: Names, right: Names) -> Names:
    return {
        name: join(left[name], right[name]) if name in left and name in right else UNKNOWN for name in {*left, *right}
    }
