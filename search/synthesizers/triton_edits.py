"""Changes to a Triton module that keep its meaning: launch options, block sizes, pipelining and cache hints.

Positions come from `ast`, the changes are textual, so the author's formatting stays.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from kernelevolve.search.synthesizers.edit import Edit, Replacement

_WARPS = (1, 2, 4, 8, 16)
_DEFAULT_WARPS = 4
_STAGES = (1, 2, 3, 4, 5)
_DEFAULT_STAGES = 3
_FIRST_STAGES = (2, 3, 4)
"""What is tried first at a loop that states none."""
_HINTS = {"cache_modifier": (".cg", ".ca"), "eviction_policy": ("evict_first", "evict_last")}
_BLOCK_NAME = re.compile(r"BLOCK")
_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 32768
_LOAD_POSITIONS = 5
"""Positional arguments of `tl.load` before `cache_modifier`."""
_PLAIN_CALLS = frozenset({"range", "min", "max", "abs", "float", "int", "bool", "len"})
_UNORDERED = re.compile(r"atomic_|inline_asm|debug_barrier")

Scope = ast.Module | ast.FunctionDef


def triton_edits(text: str) -> list[Edit]:
    """Every change this module can make to a source; empty where the source cannot be parsed."""
    try:
        module = _Module(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [
        change
        for change in (
            *_launch_edits(module),
            *_literal_block_edits(module),
            *_named_block_edits(module),
            *_range_edits(module),
            *_hint_edits(module),
        )
        if _parses(change.apply(text))
    ]


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


class _Module:
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
            node.name: _Kernel(self, node)
            for node in self.tree.body
            if isinstance(node, ast.FunctionDef) and any(self.is_jit(mark) for mark in node.decorator_list)
        }

    def _place(self, node: ast.AST, scope: Scope) -> None:
        for child in ast.iter_child_nodes(node):
            self.scope_of[child] = scope
            self._place(child, child if isinstance(child, ast.FunctionDef) else scope)

    def is_jit(self, mark: ast.expr) -> bool:
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
        return len(self.bytes[: self.line_starts[line - 1] + column].decode())

    def start(self, node: ast.expr) -> int:
        return self.offset(node.lineno, node.col_offset)

    def end(self, node: ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.end_lineno, node.end_col_offset)

    def replace(self, node: ast.expr, text: str) -> Replacement:
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
    def launches(self) -> list[tuple[_Kernel, ast.Call]]:
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
    def configs(self) -> list[tuple[_Kernel | None, ast.Call]]:
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
class _Memory:
    """One load or store of a kernel."""

    call: ast.Call
    base: str | None
    """The pointer parameter it goes through, or None where that is not plain."""
    write: bool


@dataclass(eq=False)
class _Kernel:
    """One `@triton.jit` function."""

    module: _Module
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

    @staticmethod
    def _targets(target: ast.expr) -> Iterator[str]:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node.id

    @property
    def name(self) -> str:
        return self.syntax.name

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return [node for statement in self.syntax.body for node in ast.walk(statement)]

    @cached_property
    def calls(self) -> list[ast.Call]:
        found = [node for node in self.nodes if isinstance(node, ast.Call)]
        return sorted(found, key=lambda call: (call.lineno, call.col_offset))

    @property
    def parameters(self) -> list[str]:
        return [argument.arg for argument in (*self.syntax.args.posonlyargs, *self.syntax.args.args)]

    @property
    def constants(self) -> set[str]:
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
    def memory(self) -> list[_Memory]:
        found: list[_Memory] = []
        for call in self.calls:
            function = self.module.language_name(call.func)
            if function in ("load", "store"):
                address = call.args[0] if call.args else next(
                    (word.value for word in call.keywords if word.arg == "pointer"), None)  # fmt: skip
                found.append(_Memory(call, None if address is None else self.base(address), function == "store"))
            elif function is None and isinstance(call.func, ast.Attribute) and call.func.attr in ("load", "store"):
                found.append(_Memory(call, self.base(call.func.value), call.func.attr == "store"))
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


# Launch options


def _constant(node: ast.expr | None) -> int | None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in call.keywords if word.arg == name), None)


def _launch_edits(module: _Module) -> Iterator[Edit]:
    for number, (kernel, call) in enumerate(module.launches, 1):
        where = f"launch {number} of `{kernel.name}`"
        own = kernel.marked("autotune") or kernel.marked("heuristics")
        yield from _options(module, call, where, may_add=not own, streams=kernel.streams, taken=set(kernel.parameters))
    for number, (owner, call) in enumerate(module.configs, 1):
        owners = [owner] if owner is not None else list(module.kernels.values())
        taken = {name for kernel in owners for name in kernel.parameters}
        streams = all(kernel.streams for kernel in owners)
        yield from _options(module, call, f"config {number}", len(call.args) < 2, streams, taken)


def _options(
    module: _Module, call: ast.Call, where: str, may_add: bool, streams: bool, taken: set[str]
) -> Iterator[Edit]:
    may_add = may_add and all(word.arg is not None for word in call.keywords)
    choices = [("num_warps", _WARPS, _DEFAULT_WARPS, 1)]
    if streams:
        choices.append(("num_stages", _STAGES, _DEFAULT_STAGES, 3))
    for option, values, default, rank in choices:
        if option in taken:
            continue  # the kernel computes with it
        given = _keyword(call, option)
        now = _constant(given) if given is not None else default
        if now is None or (given is None and not may_add) or now not in values:
            continue
        for value in values:
            distance = abs(values.index(value) - values.index(now))
            if distance:
                text = f"{option}={value}"
                change = module.add_keyword(call, text) if given is None else module.replace(given, str(value))
                yield Edit(f"{text} at {where}", rank + (distance > 1), (change,))


# Block sizes


def _sizes(now: int) -> list[int]:
    if now < 1 or now & (now - 1):
        return []
    return [new for new in (now * 2, now // 2) if _SMALLEST_BLOCK <= new <= _LARGEST_BLOCK and now >= _SMALLEST_BLOCK]


def _literal_block_edits(module: _Module) -> Iterator[Edit]:
    """`kernel[grid](…, BLOCK=1024)` and `triton.Config({"BLOCK": 1024})`."""
    for number, (kernel, call) in enumerate(module.launches, 1):
        for word in call.keywords:
            now = _constant(word.value)
            if word.arg is None or not _BLOCK_NAME.match(word.arg) or now is None:
                continue
            if _block_may_change(module, kernel, word.arg, [call], None):
                for new in _sizes(now):
                    change = module.replace(word.value, str(new))
                    yield Edit(f"{word.arg} = {new} at launch {number} of `{kernel.name}`", 1, (change,))
    for number, (owner, call) in enumerate(module.configs, 1):
        options = call.args[0] if call.args else _keyword(call, "kwargs")
        if owner is None or not isinstance(options, ast.Dict):
            continue
        calls = [launch for kernel, launch in module.launches if kernel is owner]
        for key, value in zip(options.keys, options.values, strict=True):
            now = _constant(value)
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)) or now is None:
                continue
            name = key.value
            if _BLOCK_NAME.match(name) and calls and _block_may_change(module, owner, name, calls, None):
                for new in _sizes(now):
                    yield Edit(f"{name} = {new} at config {number}", 1, (module.replace(value, str(new)),))


def _named_block_edits(module: _Module) -> Iterator[Edit]:
    """`BLOCK = 1024`, assigned once and handed to kernels."""
    bound: dict[str, int] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            bound[node.id] = bound.get(node.id, 0) + 1
        elif isinstance(node, ast.arg) and not _in_kernel(module, node):
            bound[node.arg] = bound.get(node.arg, 0) + 1
        elif isinstance(node, ast.Global | ast.Nonlocal):
            bound.update(dict.fromkeys(node.names, 2))
    for statement in ast.walk(module.tree):
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1 or _in_kernel(module, statement):
            continue
        target, now = statement.targets[0], _constant(statement.value)
        if not isinstance(target, ast.Name) or now is None:
            continue
        if not _BLOCK_NAME.match(target.id) or bound.get(target.id) != 1:
            continue
        if _named_block_may_change(module, target.id):
            for new in _sizes(now):
                yield Edit(f"{target.id} = {new}", 1, (module.replace(statement.value, str(new)),))


def _in_kernel(module: _Module, node: ast.AST) -> bool:
    scope = module.scope_of.get(node)
    return any(scope is kernel.syntax for kernel in module.kernels.values())


def _named_block_may_change(module: _Module, name: str) -> bool:
    handed: dict[tuple[str, str], list[ast.Call]] = {}
    allowed: set[int] = set()
    for kernel, call in module.launches:
        given = list(zip(kernel.parameters, call.args, strict=False))
        given += [(word.arg, word.value) for word in call.keywords if word.arg is not None]
        for parameter, value in given:
            if isinstance(value, ast.Name) and value.id == name:
                if any(isinstance(argument, ast.Starred) for argument in call.args):
                    return False
                allowed.add(id(value))
                handed.setdefault((kernel.name, parameter), []).append(call)
    allowed |= {id(node) for node in _rounded_up(module.tree, name)}
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Name)
            and node.id == name
            and isinstance(node.ctx, ast.Load)
            and id(node) not in allowed
        ):
            inside = [kernel for kernel in module.kernels.values() if node in kernel.nodes]
            if not inside or name not in inside[0].parameters:
                return False
    return bool(handed) and all(
        _block_may_change(module, module.kernels[kernel_name], parameter, calls, name)
        for (kernel_name, parameter), calls in handed.items()
    )


def _rounded_up(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    """Every `BLOCK` in `cdiv(n, BLOCK)` and in `(n + BLOCK - 1) // BLOCK`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) == 2:
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function == "cdiv" and _is_size(node.args[1], name):
                yield node.args[1]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv) and _is_size(node.right, name):
            match node.left:
                case ast.BinOp(left=ast.BinOp(op=ast.Add(), right=size), op=ast.Sub(), right=ast.Constant(value=1)) if (
                    _is_size(size, name)
                ):
                    yield size
                    yield node.right


def _is_size(node: ast.expr, name: str) -> bool:
    """Whether an expression is the constant itself or `meta["BLOCK"]`."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == name
    return isinstance(node, ast.Name) and node.id == name


def _block_may_change(
    module: _Module, kernel: _Kernel, parameter: str, launches: list[ast.Call], constant: str | None
) -> bool:
    """Whether a block size is only a block size: all elements are still covered, and the tail still masked.

    Args:
        module: the source.
        kernel: the kernel that gets the size.
        parameter: its parameter.
        launches: the launches that hand it over.
        constant: the host's name for it, where it has one.
    """
    if parameter not in kernel.constants or not kernel.calls_are_known():
        return False
    by_program, by_loop = _coverage(module, kernel, parameter)
    if by_program is None or not (by_program or by_loop):
        return False
    if not _tail_is_masked(module, kernel):
        return False
    if not by_program:
        return True
    return all(_grid_rounds_up(module, call, parameter, constant) for call in launches)


def _coverage(module: _Module, kernel: _Kernel, name: str) -> tuple[bool | None, bool]:
    """How a block size is used: multiplied by a program's number, as a loop's step; (None, …) for any other use."""
    programs = kernel.reached_from("program_id")
    counts = kernel.reached_from("cdiv", through_loads=False)
    for entry in kernel.memory:
        written = entry.call.args[1:2] + [word.value for word in entry.call.keywords if word.arg == "value"]
        if entry.write and any(kernel.depends(value, "cdiv", counts, through_loads=False) for value in written):
            return None, False  # how many blocks there are is part of the result
    counters = {
        node.target.id
        for node in kernel.nodes
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and _mentions(node.iter, name)
    }
    addresses = {entry.base for entry in kernel.memory if entry.base is not None}
    allowed: set[int] = set()
    by_program = by_loop = False
    for node in kernel.nodes:
        if isinstance(node, ast.Call):
            function = module.language_name(node.func)
            plain = isinstance(node.func, ast.Name) and node.func.id == "range"
            if function == "arange" and len(node.args) == 2 and _constant(node.args[0]) == 0:
                allowed.add(id(node.args[1]))
            elif (plain or function == "range") and len(node.args) == 3:
                allowed.add(id(node.args[2]))
                by_loop = by_loop or _is_size(node.args[2], name)
            elif function == "cdiv" and len(node.args) == 2:
                allowed.add(id(node.args[1]))
            elif function in ("zeros", "full", "make_block_ptr", "make_tensor_descriptor"):
                shapes = [*node.args[:1]] if function in ("zeros", "full") else []
                shapes += [word.value for word in node.keywords if word.arg in ("shape", "block_shape")
                           and (word.arg == "block_shape" or function in ("zeros", "full"))]  # fmt: skip
                for shape in shapes:
                    if isinstance(shape, ast.Tuple | ast.List):
                        allowed |= {id(element) for element in shape.elts}
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            for size, other in ((node.left, node.right), (node.right, node.left)):
                if not _is_size(size, name) or not kernel.only_starts_blocks(node):
                    continue
                if kernel.depends(other, "program_id", programs) and kernel.is_program_number(other):
                    by_program = True
                    allowed.add(id(size))
                elif isinstance(other, ast.Name) and other.id in counters:
                    allowed.add(id(size))
        elif isinstance(node, ast.For) and _mentions(node.iter, name):
            by_loop = by_loop or any(id(size) in {id(part) for part in ast.walk(node.iter)}
                                     for size in _rounded_up(node.iter, name))  # fmt: skip
            for inner in ast.walk(node):
                # `pointers += BLOCK_K * stride`, once for each turn of a loop that counts blocks
                if (
                    isinstance(inner, ast.AugAssign)
                    and isinstance(inner.op, ast.Add)
                    and isinstance(inner.target, ast.Name)
                    and kernel.base(inner.target) in addresses
                ):
                    allowed.add(id(inner.value))
                    if isinstance(inner.value, ast.BinOp) and isinstance(inner.value.op, ast.Mult):
                        allowed |= {id(inner.value.left), id(inner.value.right)}
    uses = [node for node in kernel.nodes if isinstance(node, ast.Name) and node.id == name]
    if any(id(use) not in allowed for use in uses):
        return None, by_loop
    return by_program, by_loop


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))


def _tail_is_masked(module: _Module, kernel: _Kernel) -> bool:
    for entry in kernel.memory:
        if module.language_name(entry.call.func) is None:
            continue  # a tensor descriptor knows the tensor's end
        address = entry.call.args[0] if entry.call.args else None
        if address is None:
            return False
        names = {word.arg for word in entry.call.keywords}
        position = 2 if entry.write else 1
        masked = "mask" in names or "boundary_check" in names or len(entry.call.args) > position
        if not masked and kernel.depends(address, "arange", kernel.lanes):
            return False
        if not masked and _is_block_pointer(module, kernel, address):
            return False
    return True


def _is_block_pointer(module: _Module, kernel: _Kernel, address: ast.expr) -> bool:
    return isinstance(address, ast.Name) and any(
        isinstance(value, ast.Call) and module.language_name(value.func) in ("make_block_ptr", "advance")
        for value in kernel.values.get(address.id, [])
    )


def _grid_rounds_up(module: _Module, call: ast.Call, parameter: str, constant: str | None) -> bool:
    """Whether a launch's grid is computed from the block size."""
    assert isinstance(call.func, ast.Subscript)
    pending: list[ast.expr] = [call.func.slice]
    seen: set[str] = set()
    while pending:
        expression = pending.pop()
        if any(isinstance(size, ast.Subscript) for size in _rounded_up(expression, parameter)):
            return True
        if constant is not None and any(isinstance(size, ast.Name) for size in _rounded_up(expression, constant)):
            return True
        for node in ast.walk(expression):
            if isinstance(node, ast.Name) and node.id not in seen:
                seen.add(node.id)
                pending += _assigned_values(module, node.id, module.scope_of.get(call))
    return False


def _assigned_values(module: _Module, name: str, scope: Scope | None) -> list[ast.expr]:
    found = [
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign)
        and module.scope_of.get(node) in (scope, module.tree)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]
    return found if len(found) == 1 else []


# Loops and loads


def _range_edits(module: _Module) -> Iterator[Edit]:
    for kernel in module.kernels.values():
        if not kernel.streams:
            continue
        loops = [node for node in kernel.nodes if isinstance(node, ast.For) and isinstance(node.iter, ast.Call)]
        for number, loop in enumerate(sorted(loops, key=lambda node: node.lineno), 1):
            call = loop.iter
            assert isinstance(call, ast.Call)
            inside = [node for statement in loop.body for node in ast.walk(statement)]
            if any(isinstance(node, ast.For | ast.While) for node in inside):
                continue
            if not any(entry.call in inside and not entry.write for entry in kernel.memory):
                continue
            plain = isinstance(call.func, ast.Name) and call.func.id == "range" and not call.keywords
            if plain and module.language:
                changes = [module.replace(call.func, f"{min(module.language)}.range")]
            elif module.language_name(call.func) == "range":
                changes = []
            else:
                continue
            given = _keyword(call, "num_stages")
            if given is not None and _constant(given) is None:
                continue
            for stages in _STAGES if given is not None else _FIRST_STAGES:
                if stages == _constant(given):
                    continue
                text = f"num_stages={stages}"
                added = module.add_keyword(call, text) if given is None else module.replace(given, str(stages))
                yield Edit(f"{text} at loop {number} of `{kernel.name}`", 4, (*changes, added))


def _hint_edits(module: _Module) -> Iterator[Edit]:
    for kernel in module.kernels.values():
        loads = [entry.call for entry in kernel.memory if not entry.write]
        if not kernel.streams:
            continue
        for number, call in enumerate(loads, 1):
            if module.language_name(call.func) != "load" or len(call.args) > _LOAD_POSITIONS:
                continue
            if any(word.arg in (None, "volatile") for word in call.keywords):
                continue
            for option, values in _HINTS.items():
                given = _keyword(call, option)
                now = given.value if isinstance(given, ast.Constant) else None
                if given is not None and not isinstance(now, str):
                    continue
                for value in values:
                    if value == now:
                        continue
                    text = f'"{value}"'
                    change = (
                        module.add_keyword(call, f"{option}={text}") if given is None else module.replace(given, text)
                    )
                    yield Edit(f"{option}={text} at load {number} of `{kernel.name}`", 5, (change,))
