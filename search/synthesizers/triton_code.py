"""Read a Triton module: its kernels, its launches, and what a kernel loads, stores and computes from what.

Positions come from `ast`, so that changes can be textual and the author's formatting stays.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from kernelevolve.search.synthesizers.edit import Replacement

_PLAIN_CALLS = frozenset({"range", "min", "max", "abs", "float", "int", "bool", "len"})
_UNORDERED = re.compile(r"atomic_|inline_asm|debug_barrier")

Scope = ast.Module | ast.FunctionDef
Positioned = ast.expr | ast.stmt | ast.arg


def whole_number(node: ast.expr | None) -> int | None:
    """The value of an integer literal; None for anything else."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None


def keyword_value(call: ast.Call, name: str) -> ast.expr | None:
    """What a call gives for a keyword argument."""
    return next((word.value for word in call.keywords if word.arg == name), None)


class Module:
    """One parsed source."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.bytes = text.encode()
        self.line_starts = [0, *(match.end() for match in re.finditer(rb"\r\n|\r|\n", self.bytes))]
        self.triton: set[str] = set()
        self.language: set[str] = set()
        self.jit: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    if name.name == "triton" or (name.name.startswith("triton.") and name.asname is None):
                        self.triton.add(name.asname or "triton")
                    elif name.name == "triton.language" and name.asname:
                        self.language.add(name.asname)
            elif isinstance(node, ast.ImportFrom) and node.module == "triton":
                self.language |= {name.asname or name.name for name in node.names if name.name == "language"}
                self.jit |= {name.asname or name.name for name in node.names if name.name == "jit"}
        self.scope_of: dict[ast.AST, Scope] = {}
        self._place(self.tree, self.tree)
        self.kernels = {
            node.name: Kernel(self, node)
            for node in self.tree.body
            if isinstance(node, ast.FunctionDef) and any(self.is_jit(mark) for mark in node.decorator_list)
        }

    def _place(self, node: ast.AST, scope: Scope) -> None:
        for child in ast.iter_child_nodes(node):
            self.scope_of[child] = scope
            self._place(child, child if isinstance(child, ast.FunctionDef) else scope)

    def is_jit(self, mark: ast.expr) -> bool:
        """Whether a decorator is `triton.jit`."""
        mark = mark.func if isinstance(mark, ast.Call) else mark
        return (isinstance(mark, ast.Name) and mark.id in self.jit) or self.triton_name(mark) == "jit"

    def triton_name(self, node: ast.expr) -> str | None:
        """`autotune` for `triton.autotune`, whatever `triton` was imported as."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self.triton:
            return node.attr
        return None

    def language_name(self, node: ast.expr) -> str | None:
        """`load` for `tl.load`, whatever `triton.language` was imported as."""
        if not isinstance(node, ast.Attribute):
            return None
        if isinstance(node.value, ast.Name) and node.value.id in self.language:
            return node.attr
        return node.attr if self.triton_name(node.value) == "language" else None

    def offset(self, line: int, column: int) -> int:
        """Where in the text a line, from 1, and a column, in bytes, are."""
        return len(self.bytes[: self.line_starts[line - 1] + column].decode())

    def start(self, node: Positioned) -> int:
        """Where in the text a node begins."""
        return self.offset(node.lineno, node.col_offset)

    def end(self, node: Positioned) -> int:
        """Where in the text a node has ended."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.end_lineno, node.end_col_offset)

    def replace(self, node: ast.expr, text: str) -> Replacement:
        """Put another text in a node's place."""
        return Replacement(self.start(node), self.end(node), text)

    def add_keyword(self, call: ast.Call, text: str) -> Replacement:
        """Insert a keyword argument before the closing parenthesis."""
        close = self.end(call) - 1
        last = max((self.end(value) for value in (*call.args, *(word.value for word in call.keywords))), default=None)
        if last is None:
            return Replacement(close, close, text)
        comma = "," in re.sub(r"#[^\n]*", "", self.text[last:close])
        return Replacement(close, close, text if comma else f", {text}")

    @cached_property
    def launches(self) -> list[tuple[Kernel, ast.Call]]:
        """Calls of the form `kernel[grid](…)`, in the order of the text."""
        found = [
            (self.kernels[node.func.value.id], node)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Subscript)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in self.kernels
        ]
        return sorted(found, key=lambda launch: self.start(launch[1]))

    @cached_property
    def configs(self) -> list[tuple[Kernel | None, ast.Call]]:
        """Calls of `triton.Config`, each with the kernel whose decorator it stands in."""
        owners = {
            id(node): kernel
            for kernel in self.kernels.values()
            for mark in kernel.syntax.decorator_list
            for node in ast.walk(mark)
        }
        found = [
            (owners.get(id(node)), node)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Call) and self.triton_name(node.func) == "Config"
        ]
        return sorted(found, key=lambda config: self.start(config[1]))


@dataclass(frozen=True)
class Memory:
    """One load or store of a kernel."""

    call: ast.Call
    base: str | None
    """The pointer parameter it goes through, or None where that is not plain."""
    write: bool


@dataclass(frozen=True)
class Tiles:
    """The loop that is all a persistent kernel does.

    It is `for tile in tl.range(tl.program_id(0), count, tl.num_programs(0))`. What it computes is the same for any
    number of programs, as long as its tiles do not depend on each other.
    """

    loop: ast.For
    first: ast.expr
    """The call of `tl.program_id`."""
    number: str
    """The loop variable."""
    count: str
    """The parameter that says how many tiles there are."""


@dataclass(eq=False)
class Kernel:
    """One `@triton.jit` function."""

    module: Module
    syntax: ast.FunctionDef
    values: dict[str, list[ast.expr]] = field(default_factory=dict)
    """Name → everything that is assigned to it."""

    def __post_init__(self) -> None:
        for node in self.nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    for name in self._targets(target):
                        self.values.setdefault(name, []).append(node.value)
            elif isinstance(node, ast.AnnAssign | ast.AugAssign) and isinstance(node.target, ast.Name) and node.value:
                self.values.setdefault(node.target.id, []).append(node.value)
        if self.tiles is not None:
            self.values.setdefault(self.tiles.number, []).append(self.tiles.first)

    @staticmethod
    def _targets(target: ast.expr) -> Iterator[str]:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node.id

    @property
    def name(self) -> str:
        """Its function's name."""
        return self.syntax.name

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Everything in its body."""
        return [node for statement in self.syntax.body for node in ast.walk(statement)]

    @property
    def statements(self) -> list[ast.stmt]:
        """Its body, less the docstring."""
        return self.syntax.body[1 if ast.get_docstring(self.syntax, clean=False) is not None else 0 :]

    @cached_property
    def stored(self) -> set[str]:
        """Names that it assigns to, in whatever way."""
        return {node.id for node in self.nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}

    @cached_property
    def tiles(self) -> Tiles | None:
        """Its loop over tiles, where it is a persistent kernel."""
        match self.statements:
            case [
                ast.For(
                    target=ast.Name(id=number),
                    iter=ast.Call(func=function, args=[ast.Call() as first, ast.Name(id=count), ast.Call() as step]),
                    orelse=[],
                ) as loop
            ]:
                pass
            case _:
                return None
        plain = isinstance(function, ast.Name) and function.id == "range"
        if not plain and self.module.language_name(function) != "range":
            return None
        if not (self.is_along_grid(first, "program_id") and self.is_along_grid(step, "num_programs")):
            return None
        inside = [node for statement in loop.body for node in ast.walk(statement)]
        if any(isinstance(node, ast.Attribute) and node.attr in ("program_id", "num_programs") for node in inside):
            return None
        stored = [node.id for node in inside if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
        if count not in self.parameters or not {number, *self.parameters}.isdisjoint(stored):
            return None
        return Tiles(loop, first, number, count)

    def is_along_grid(self, call: ast.Call, function: str) -> bool:
        """Whether a call is `tl.<function>(0)` or `tl.<function>(axis=0)`."""
        if self.module.language_name(call.func) != function or len(call.args) + len(call.keywords) != 1:
            return False
        axis = call.args[0] if call.args else keyword_value(call, "axis")
        return whole_number(axis) == 0

    def arguments(self, call: ast.Call) -> dict[str, ast.expr]:
        """Parameter → what a launch without `*` and `**` gives for it."""
        given = dict(zip(self.parameters, call.args, strict=False))
        return given | {word.arg: word.value for word in call.keywords if word.arg is not None}

    @cached_property
    def calls(self) -> list[ast.Call]:
        """Its calls, in the order of the text."""
        found = [node for node in self.nodes if isinstance(node, ast.Call)]
        return sorted(found, key=lambda call: (call.lineno, call.col_offset))

    @property
    def parameters(self) -> list[str]:
        """Its positional parameters, in order."""
        return [argument.arg for argument in (*self.syntax.args.posonlyargs, *self.syntax.args.args)]

    @property
    def constants(self) -> set[str]:
        """Its `tl.constexpr` parameters."""
        arguments = (*self.syntax.args.posonlyargs, *self.syntax.args.args, *self.syntax.args.kwonlyargs)
        return {
            argument.arg
            for argument in arguments
            if argument.annotation is not None and self.module.language_name(argument.annotation) == "constexpr"
        }

    def marked(self, name: str) -> bool:
        """Whether it carries a decorator such as `triton.autotune`."""
        marks = (mark.func if isinstance(mark, ast.Call) else mark for mark in self.syntax.decorator_list)
        return any(self.module.triton_name(mark) == name for mark in marks)

    def base(self, address: ast.expr, seen: frozenset[str] = frozenset()) -> str | None:
        """The parameter an address starts from: the leftmost term of its sum."""
        while isinstance(address, ast.BinOp) and isinstance(address.op, ast.Add):
            address = address.left
        if isinstance(address, ast.Call):
            made = self.module.language_name(address.func)
            if made in ("make_block_ptr", "make_tensor_descriptor", "advance"):
                given = address.args[0] if address.args else next(
                    (word.value for word in address.keywords if word.arg == "base"), None)  # fmt: skip
                return None if given is None else self.base(given, seen)
            return None
        if not isinstance(address, ast.Name) or address.id in seen:
            return None
        if address.id not in self.values:
            return address.id if address.id in self.parameters else None
        # `pointers += step` moves within the same memory: only what is not a plain increment decides.
        moves = {
            id(node.value)
            for node in self.nodes
            if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub)
        }
        origins = [value for value in self.values[address.id] if id(value) not in moves]
        seen = seen | {address.id}
        bases = {self.base(value, seen) for value in origins if not self._advances(value, address.id)}
        if address.id in self.parameters:
            bases.add(address.id)
        return bases.pop() if len(bases) == 1 else None

    def _advances(self, value: ast.expr, name: str) -> bool:
        """Whether a value is the old pointer plus something."""
        while isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            value = value.left
        if isinstance(value, ast.Call) and self.module.language_name(value.func) == "advance" and value.args:
            value = value.args[0]
        return isinstance(value, ast.Name) and value.id == name

    @cached_property
    def memory(self) -> list[Memory]:
        """Its loads and stores, in the order of the text."""
        found: list[Memory] = []
        for call in self.calls:
            function = self.module.language_name(call.func)
            if function in ("load", "store"):
                address = call.args[0] if call.args else next(
                    (word.value for word in call.keywords if word.arg == "pointer"), None)  # fmt: skip
                found.append(Memory(call, None if address is None else self.base(address), function == "store"))
            elif function is None and isinstance(call.func, ast.Attribute) and call.func.attr in ("load", "store"):
                found.append(Memory(call, self.base(call.func.value), call.func.attr == "store"))
        return found

    def calls_are_known(self, seen: frozenset[str] = frozenset()) -> bool:
        """Whether it calls only Triton's own functions and helpers that touch no memory."""
        for call in self.calls:
            if isinstance(call.func, ast.Attribute) and _UNORDERED.search(call.func.attr):
                return False
            if isinstance(call.func, ast.Name) and call.func.id not in _PLAIN_CALLS:
                helper = self.module.kernels.get(call.func.id)
                if helper is None or helper.name in seen or helper.memory:
                    return False
                if not helper.calls_are_known(seen | {helper.name}):
                    return False
        return True

    @cached_property
    def streams(self) -> bool:
        """Whether it certainly never loads from memory that it also writes, so that loads may be moved and cached."""
        if not self.calls_are_known():
            return False
        if any(entry.base is None for entry in self.memory):
            return False
        stored = {entry.base for entry in self.memory if entry.write}
        return not any(entry.base in stored for entry in self.memory if not entry.write)

    def reached_from(self, function: str, through_loads: bool = True) -> set[str]:
        """Names whose value depends on a call of `tl.<function>`.

        Args:
            function: the function.
            through_loads: whether what is loaded depends on the address it is loaded from.
        """
        found: set[str] = set()
        grown = True
        while grown:
            grown = False
            for name, values in self.values.items():
                if name not in found and any(self.depends(value, function, found, through_loads) for value in values):
                    found.add(name)
                    grown = True
        return found

    def depends(self, value: ast.AST, function: str, names: set[str], through_loads: bool = True) -> bool:
        """Whether an expression calls `tl.<function>` or uses one of the names."""
        if isinstance(value, ast.Name):
            return value.id in names
        if isinstance(value, ast.Call):
            called = self.module.language_name(value.func)
            if called == function:
                return True
            if not through_loads and (called == "load" or getattr(value.func, "attr", "") == "load"):
                return False
        children = ast.iter_child_nodes(value)
        return any(self.depends(child, function, names, through_loads) for child in children)

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """Each node's parent in the tree."""
        return {child: node for node in (self.syntax, *self.nodes) for child in ast.iter_child_nodes(node)}

    @cached_property
    def lanes(self) -> set[str]:
        """Names whose value differs between the elements of a block."""
        return self.reached_from("arange")

    @cached_property
    def positions(self) -> set[str]:
        """Names computed from an element's place in its block, and not from what is stored there."""
        return self.reached_from("arange", through_loads=False)

    def is_program_number(self, value: ast.expr, seen: frozenset[str] = frozenset()) -> bool:
        """Whether an expression is whole-number arithmetic on program numbers, and on nothing else that varies."""
        match value:
            case ast.Constant():
                return True
            case ast.Name(id=name) if name in self.values:
                return name not in seen and all(
                    self.is_program_number(origin, seen | {name}) for origin in self.values[name]
                )
            case ast.Name(id=name):
                return name in self.parameters
            case ast.BinOp(left=left, right=right):
                return self.is_program_number(left, seen) and self.is_program_number(right, seen)
            case ast.Call(func=ast.Attribute(value=inner, attr="to")):
                return self.is_program_number(inner, seen)
            case ast.Call(func=function, args=arguments):
                called = self.module.language_name(function)
                plain = isinstance(function, ast.Name) and function.id in ("min", "max")
                if called in ("program_id", "num_programs"):
                    return True
                return (called == "cdiv" or plain) and all(self.is_program_number(given, seen) for given in arguments)
        return False

    def only_starts_blocks(self, node: ast.AST, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a value serves only as the place where a block starts, never as a value of the computation."""
        while True:
            parent = self.parents.get(node)
            match parent:
                case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
                    if self.depends(right if left is node else left, "arange", self.positions, False):
                        return True
                    node = parent
                case ast.Compare(left=left, comparators=[right]):
                    return self.depends(right if left is node else left, "arange", self.positions, False)
                case ast.Attribute(attr="to") | ast.Call(func=ast.Attribute(attr="to")):
                    node = parent
                case ast.Tuple() | ast.List():
                    return self._is_offsets(parent)
                case ast.Assign(targets=[ast.Name(id=name)]):
                    uses = [use for use in self.nodes if isinstance(use, ast.Name) and use.id == name
                            and isinstance(use.ctx, ast.Load)]  # fmt: skip
                    return name not in seen and all(self.only_starts_blocks(use, seen | {name}) for use in uses)
                case _:
                    return False

    def _is_offsets(self, shape: ast.AST) -> bool:
        """Whether a tuple says where a block pointer or a descriptor's block starts."""
        parent = self.parents.get(shape)
        if isinstance(parent, ast.keyword):
            return parent.arg in ("offsets", "offset")
        if not isinstance(parent, ast.Call) or not isinstance(parent.func, ast.Attribute):
            return False
        return parent.func.attr in ("load", "store", "advance")
