"""Persistent grids: a fixed number of programs that take one tile after another, instead of one program for each tile.

A program that has its tile's number and nothing else from the grid may as well be the body of a loop over tiles, as
long as no tile depends on another: in a grid, too, they run in any order. What is not certain is refused with a reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from kernelevolve.search.synthesizers.edit import Edit, Replacement
from kernelevolve.search.synthesizers.triton_code import Kernel, Module, keyword_value, whole_number

_PROGRAMS = (128, 256, 512, 1024)
"""From one for each multiprocessor of an H100 (132) to several for each of a B200 (148) or compute unit of an MI300X
(304). The results are the same for any number, and the device is not known here."""
_FIRST_PROGRAMS = 512
_FUNCTIONS = frozenset(
    (
        "abs add advance arange argmax argmin associative_scan assume broadcast broadcast_to cast cat cdiv ceil "
        "clamp constexpr cos cumprod cumsum div_rn dot dot_scaled erf exp exp2 expand_dims fdiv flip floor fma "
        "full gather histogram interleave join load log log2 make_block_ptr max max_constancy max_contiguous "
        "maximum min minimum mul multiple_of permute program_id rand rand4x randint randint4x randn randn4x range "
        "ravel reduce reduce_or reshape rsqrt sigmoid sin softmax sort split sqrt sqrt_rn squeeze static_assert "
        "static_range store sub sum swizzle2d topk trans umulhi unsqueeze view where xor_sum zeros zeros_like"
    ).split()
)
"""Functions of `triton.language` that compute, load or store, the same in a loop as outside; a descriptor made in the
kernel needs memory of its own for each."""
_METHODS = frozenset(
    (
        "abs argmax argmin associative_scan broadcast_to cast cdiv ceil cos cumprod cumsum erf exp exp2 "
        "expand_dims flip floor gather histogram load log log2 logical_and logical_or max min permute ravel "
        "reduce reduce_or reshape rsqrt sigmoid sin softmax sort split sqrt sqrt_rn store sum to trans view "
        "xor_sum"
    ).split()
)
_MATHS = frozenset({"math", "libdevice"})
"""Modules in which everything is a function of its arguments."""
_STATEMENTS = (
    ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.For | ast.While | ast.If | ast.Pass | ast.Assert
    | ast.Break | ast.Continue
)  # fmt: skip
_SCOPES = (
    ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.NamedExpr | ast.Yield
    | ast.YieldFrom | ast.Await | ast.JoinedStr
)  # fmt: skip
_BLANK_LINE = re.compile(r"[ \t\f]*[\r\n]")
_SIZES = frozenset({"numel", "size", "dim", "stride", "element_size"})
_ARITHMETIC = ast.Add | ast.Sub | ast.Mult | ast.FloorDiv | ast.Mod


class _RefusedError(Exception):
    """No persistent grid here; the text says why."""


def persistent_edits(module: Module) -> Iterator[Edit]:
    """A persistent grid for each kernel that permits one, and other numbers of programs for those that have one."""
    for kernel in module.kernels.values():
        try:
            _check_tiles_are_independent(kernel)
            change = _Resized(module, kernel) if kernel.tiles else _Persistent(module, kernel)
        except _RefusedError:
            continue
        for programs in _PROGRAMS:
            if programs != change.now:
                rank = 4 if change.now is None and programs == _FIRST_PROGRAMS else 5
                what = f"persistent grid of {programs} programs for `{kernel.name}`"
                yield Edit(what, rank, tuple(change.replacements(programs)))


def persistent_refusal(module: Module, kernel: Kernel) -> str | None:
    """Why a kernel with one program for each tile gets no persistent grid; None where it does."""
    try:
        _check_tiles_are_independent(kernel)
        _Persistent(module, kernel)
    except _RefusedError as reason:
        return str(reason)
    return None


# Independent tiles


def _check_tiles_are_independent(kernel: Kernel) -> None:
    _check_calls(kernel, frozenset())
    if not kernel.streams:
        raise _RefusedError("it may read memory that it writes, or call what is not known")
    launches = [call for owner, call in kernel.module.launches if owner is kernel]
    mentions = [node for node in ast.walk(kernel.module.tree) if isinstance(node, ast.Name) and node.id == kernel.name]
    if not launches or len(mentions) != len(launches) or _bindings(kernel.module.tree, kernel.name) != 1:
        raise _RefusedError(f"`{kernel.name}` is more than launched")
    stored = {entry.base for entry in kernel.memory if entry.write}
    loaded = {entry.base for entry in kernel.memory if not entry.write}
    for call in launches:
        if any(isinstance(value, ast.Starred) for value in call.args) or any(
            word.arg is None for word in call.keywords
        ):
            raise _RefusedError("a launch with `*` or `**`")
        given = kernel.arguments(call)
        for written in stored:
            for read in loaded:
                if written in given and read in given and _may_share(given[written], given[read]):
                    raise _RefusedError(f"`{written}` and `{read}` may be the same memory at a launch")


def _check_calls(kernel: Kernel, seen: frozenset[str]) -> None:
    """Refuse what depends on more than its arguments, or does more than compute, load and store."""
    module = kernel.module
    for call in kernel.calls:
        if isinstance(call.func, ast.Name):
            continue  # Triton's own or a helper, which `streams` and the loop below look at
        path = _dotted(call.func)
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        function = module.language_name(call.func)
        local = path is None or path[0] not in module.language | module.triton
        if function == "num_programs" and kernel.tiles is not None:
            continue
        known = function in _FUNCTIONS if function is not None else local and name in _METHODS
        if not known and not (path is not None and not _MATHS.isdisjoint(path[:-1])):
            raise _RefusedError(f"it calls `{ast.unparse(call.func)}`")
        if keyword_value(call, "volatile") is not None:
            raise _RefusedError("a volatile load")
    for node in kernel.nodes:
        helper = module.kernels.get(node.id) if isinstance(node, ast.Name) else None
        if helper is None or helper.name in seen:
            continue
        if any(isinstance(part, ast.Attribute) and part.attr == "program_id" for part in helper.nodes):
            raise _RefusedError(f"`{helper.name}` asks for its program")
        _check_calls(helper, seen | {helper.name})


def _dotted(node: ast.expr) -> tuple[str, ...] | None:
    """`("tl", "math", "exp")` for `tl.math.exp`."""
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return None if base is None else (*base, node.attr)
    return (node.id,) if isinstance(node, ast.Name) else None


def _may_share(one: ast.expr, other: ast.expr) -> bool:
    """Whether two arguments come from the same name: a tensor and a view of it, for one."""
    first, second = _origin(one), _origin(other)
    short = min(len(first), len(second))
    return bool(short) and first[:short] == second[:short]


def _origin(value: ast.expr) -> tuple[str, ...]:
    while isinstance(value, ast.Call | ast.Subscript):
        if isinstance(value, ast.Subscript):
            value = value.value
        else:
            value = value.func.value if isinstance(value.func, ast.Attribute) else value.func
    return _dotted(value) or ()


def _bindings(tree: ast.AST, name: str) -> int:
    """How many places of a module bind a name, in whatever scope; any place that could bind every name counts too."""
    count = 0
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=bound, ctx=ast.Store() | ast.Del()) | ast.arg(arg=bound):
                count += bound == name
            case ast.FunctionDef(name=bound) | ast.AsyncFunctionDef(name=bound) | ast.ClassDef(name=bound):
                count += bound == name
            case ast.alias():
                count += (node.asname or node.name).split(".")[0] in (name, "*")
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                count += 2 * (name in names)
            case ast.ExceptHandler(name=bound) | ast.MatchAs(name=bound) | ast.MatchStar(name=bound):
                count += bound == name
    return count


# From one program for each tile to a loop over tiles


@dataclass(frozen=True)
class _Grid:
    """The grid of one launch, in one dimension."""

    element: ast.expr | None
    """The number of programs, where it stands in the launch itself."""
    tiles: str
    """An expression for it that may be computed once more."""


class _Persistent:
    """The change that gives a kernel a loop over tiles.

    Raises:
        _RefusedError: it could change what the kernel computes, or is not certain not to.
    """

    now: int | None = None
    """How many programs there are already, where that is a fixed number."""

    def __init__(self, module: Module, kernel: Kernel) -> None:
        self.module = module
        self.kernel = kernel
        self.check_signature()
        self.check_statements()
        self.numbers = self.program_numbers()
        self.rebound = self.rebound_parameters()
        if not module.language:
            raise _RefusedError("`triton.language` has no name of its own")
        self.language = min(module.language)
        if _bindings(module.tree, "min"):
            raise _RefusedError("`min` is another function here")
        hidden = module.language | module.triton
        if not hidden.isdisjoint(kernel.stored | set(kernel.parameters)):
            raise _RefusedError("it hides Triton's name")
        self.launches = [(call, self.grid(call)) for owner, call in module.launches if owner is kernel]
        taken = _identifiers(module.tree)
        self.count = _fresh("num_tiles", taken)
        self.tile = _fresh("tile", taken)
        self.index = _fresh("tile_index", taken)
        self.copies = {name: _fresh(f"{name}_of_tile", taken) for name in self.rebound}

    # The kernel

    def check_signature(self) -> None:
        for mark in self.kernel.syntax.decorator_list:
            plain = mark.func if isinstance(mark, ast.Call) else mark
            if not self.module.is_jit(mark) and self.module.triton_name(plain) not in ("autotune", "heuristics"):
                raise _RefusedError(f"the decorator `{ast.unparse(plain)}`")
        given = self.kernel.syntax.args
        if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs or given.defaults or not given.args:
            raise _RefusedError("parameters that are not plain")

    def check_statements(self) -> None:
        statements = self.kernel.statements
        if not statements:
            raise _RefusedError("it does nothing")
        for node in self.kernel.nodes:
            if isinstance(node, ast.Return):
                raise _RefusedError("`return` inside")
            if isinstance(node, ast.stmt) and not isinstance(node, _STATEMENTS):
                raise _RefusedError(f"a statement of kind {type(node).__name__}")
            if isinstance(node, _SCOPES):
                raise _RefusedError(f"an expression of kind {type(node).__name__}")
        for statement in statements:
            for node in ast.walk(statement):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str | bytes)
                    and node.lineno != node.end_lineno
                ):
                    raise _RefusedError("a text of several lines, which cannot be indented")
        if self.indentation(statements[0]).strip():
            raise _RefusedError("its body begins in the middle of a line")

    def indentation(self, statement: ast.stmt) -> str:
        """What stands on a statement's line before it."""
        return self.module.text[self.module.offset(statement.lineno, 0) : self.module.start(statement)]

    def program_numbers(self) -> list[ast.Call]:
        """Every `tl.program_id(0)`."""
        calls = {
            id(node.func): node for node in self.kernel.calls if self.module.language_name(node.func) == "program_id"
        }
        if not calls:
            raise _RefusedError("it does not ask for its program's number")
        for node in self.kernel.nodes:
            if isinstance(node, ast.Attribute) and node.attr == "num_programs":
                raise _RefusedError("it asks for the number of programs")
            if isinstance(node, ast.Attribute) and node.attr == "program_id" and id(node) not in calls:
                raise _RefusedError("it uses `program_id` without calling it")
        if not all(self.kernel.is_along_grid(call, "program_id") for call in calls.values()):
            raise _RefusedError("it uses another axis of the grid")
        return list(calls.values())

    def rebound_parameters(self) -> list[str]:
        """Parameters that the body changes: in a loop, each tile must start from the original."""
        rebound = [name for name in self.kernel.parameters if name in self.kernel.stored]
        plain = {
            id(target)
            for node in self.kernel.nodes
            for target in (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)])
            if isinstance(node, ast.Assign | ast.AugAssign)
        }
        unconditional = _outside_branches(self.kernel.statements)
        for name in rebound:
            stores = [
                node
                for node in self.kernel.nodes
                if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load)
            ]
            # A parameter that is None or a constant for some launches cannot be copied for all of them.
            always = any(id(node) in unconditional for node in stores)
            if name in self.kernel.constants or not always or any(id(node) not in plain for node in stores):
                raise _RefusedError(f"it changes the parameter `{name}`")
        return rebound

    # The launches

    def grid(self, call: ast.Call) -> _Grid:
        assert isinstance(call.func, ast.Subscript)
        for node in ast.walk(call):
            if isinstance(node, ast.NamedExpr):
                raise _RefusedError("a launch that assigns")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.endswith("_"):
                raise _RefusedError("a launch that changes its arguments")
        written = call.func.slice
        if isinstance(written, ast.Tuple | ast.List):
            element = _only_element(written)
            self.check_repeatable(element)
            return _Grid(element, self.text(element))
        if isinstance(written, ast.Lambda):
            return _Grid(None, self.evaluated(written, call))
        if isinstance(written, ast.Name):
            value = self.only_value(written.id, call)
            if isinstance(value, ast.Tuple):
                _only_element(value)
                return _Grid(None, f"{written.id}[0]")
            if isinstance(value, ast.Lambda):
                return _Grid(None, self.evaluated(value, call))
        raise _RefusedError("a grid that is not plainly of one dimension")

    def text(self, node: ast.expr) -> str:
        return self.module.text[self.module.start(node) : self.module.end(node)]

    def only_value(self, name: str, call: ast.Call) -> ast.expr | None:
        """What a name certainly stands for at a launch: its only assignment, in the same function."""
        scope = self.module.scope_of.get(call)
        if scope is None:
            return None
        found = [
            node
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign)
            and self.module.scope_of.get(node) is scope
            and [target.id for target in node.targets if isinstance(target, ast.Name)] == [name]
        ]
        return found[0].value if len(found) == 1 and _bindings(scope, name) == 1 else None

    def evaluated(self, grid: ast.Lambda, call: ast.Call) -> str:
        """The text of a grid function's only element, with what the launch gives in place of `meta["BLOCK"]`."""
        match grid:
            case ast.Lambda(
                args=ast.arguments(
                    posonlyargs=[], args=[ast.arg(arg=meta)], vararg=None, kwonlyargs=[], kwarg=None, defaults=[]
                ),
                body=ast.Tuple() as body,
            ):
                pass
            case _:
                raise _RefusedError("a grid function that is not plain")
        element = _only_element(body)
        given = self.kernel.arguments(call)
        tuned = self.kernel.marked("autotune") or self.kernel.marked("heuristics")
        start = self.module.start(element)
        text, moved = self.text(element), 0
        lookups = [
            node for node in ast.walk(element) if isinstance(node, ast.Subscript) and _is_named(node.value, meta)
        ]
        for lookup in sorted(lookups, key=self.module.start):
            key = lookup.slice.value if isinstance(lookup.slice, ast.Constant) else None
            value = given.get(key) if isinstance(key, str) else None
            if value is None or tuned:
                raise _RefusedError("a grid that follows from a configuration")
            self.check_repeatable(value)
            new = self.text(value) if isinstance(value, ast.Name | ast.Constant) else f"({self.text(value)})"
            first, last = self.module.start(lookup) - start + moved, self.module.end(lookup) - start + moved
            text = text[:first] + new + text[last:]
            moved += len(new) - (last - first)
        self.check_repeatable(element, {id(lookup) for lookup in lookups}, meta)
        return text

    def check_repeatable(self, node: ast.expr, known: set[int] | None = None, hidden: str | None = None) -> None:
        """Refuse an expression that might be another number, or do something, the second time."""
        if known is not None and id(node) in known:
            return
        parts: list[ast.expr] | None = None
        match node:
            case ast.Constant():
                parts = [] if whole_number(node) is not None else None
            case ast.Name(id=name):
                parts = [] if name != hidden else None
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                parts = [operand]
            case ast.BinOp(left=left, op=op, right=right):
                parts = [left, right] if isinstance(op, _ARITHMETIC) else None
            case ast.Subscript(value=value, slice=index):
                parts = [value, index]
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                parts = [] if owner != hidden and (attribute == "shape" or owner == "self") else None
            case ast.Attribute(value=value, attr="shape"):
                parts = [value]
            case ast.Call(func=function, args=arguments, keywords=[]):
                if self.is_arithmetic(function):
                    parts = arguments
                elif isinstance(function, ast.Attribute) and function.attr in _SIZES:
                    parts = [function.value, *arguments]
        if parts is None:
            raise _RefusedError(f"`{ast.unparse(node)}` in a grid")
        for part in parts:
            self.check_repeatable(part, known, hidden)

    def is_arithmetic(self, function: ast.expr) -> bool:
        """Whether it is `triton.cdiv` or one of Python's own functions of numbers."""
        if isinstance(function, ast.Name):
            return function.id in ("min", "max", "len", "int") and not _bindings(self.module.tree, function.id)
        return self.module.triton_name(function) == "cdiv"

    # The text

    def replacements(self, programs: int) -> Iterator[Replacement]:
        module, kernel = self.module, self.kernel
        last = module.end(kernel.syntax.args.args[-1])
        yield Replacement(last, last, f", {self.count}")
        yield from self.loop()
        for call, grid in self.launches:
            assert isinstance(call.func, ast.Subscript)
            if grid.element is not None:
                yield Replacement(module.start(grid.element), module.start(grid.element), "min(")
                yield Replacement(module.end(grid.element), module.end(grid.element), f", {programs})")
            else:
                yield module.replace(call.func.slice, f"(min({grid.tiles}, {programs}),)")
            yield module.add_keyword(call, f"{self.count}={grid.tiles}")

    def loop(self) -> Iterator[Replacement]:
        """Indent the body, and put the loop before it."""
        module, statements = self.module, self.kernel.statements
        first, last = statements[0], statements[-1]
        indent = self.indentation(first)
        # In the interpreter the loop variable is a plain integer, and only an assignment makes it a tensor.
        assigned = {id(node.value) for node in self.kernel.nodes if isinstance(node, ast.Assign)}
        bare = all(id(call) in assigned for call in self.numbers)
        variable = self.tile if bare else self.index
        start, stride = (f"{self.language}.{name}(0)" for name in ("program_id", "num_programs"))
        header = f"{indent}for {variable} in {self.language}.range({start}, {self.count}, {stride}):\n"
        if not bare:
            header += f"{indent}{indent}{self.tile} = {self.index}\n"
        for name, copy in self.copies.items():
            header += f"{indent}{indent}{copy} = {name}\n"
        assert last.end_lineno is not None
        for line in range(first.lineno, last.end_lineno + 1):
            offset = module.offset(line, 0)
            if line == first.lineno:
                yield Replacement(offset, offset, header + indent)
            elif not _BLANK_LINE.match(module.text, offset):
                yield Replacement(offset, offset, indent)
        for call in self.numbers:
            yield module.replace(call, self.tile)
        for node in self.kernel.nodes:
            if isinstance(node, ast.Name) and node.id in self.copies:
                yield module.replace(node, self.copies[node.id])


def _only_element(grid: ast.Tuple | ast.List) -> ast.expr:
    """The number of programs of a grid whose other dimensions are 1."""
    if not grid.elts or isinstance(grid.elts[0], ast.Starred) or any(whole_number(size) != 1 for size in grid.elts[1:]):
        raise _RefusedError("a grid of more than one dimension")
    return grid.elts[0]


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _outside_branches(statements: list[ast.stmt]) -> set[int]:
    """Every node that no `if` decides about."""
    found: set[int] = set()
    pending: list[ast.AST] = [*statements]
    while pending:
        node = pending.pop()
        if not isinstance(node, ast.If | ast.IfExp | ast.While):
            found.add(id(node))
            pending += ast.iter_child_nodes(node)
    return found


def _identifiers(tree: ast.AST) -> set[str]:
    """Every name that occurs in a module, whatever it names."""
    found: set[str] = set()
    for node in ast.walk(tree):
        for field in ("id", "arg", "attr", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.add(value)
    return found


def _fresh(name: str, taken: set[str]) -> str:
    """A name that is not taken; it is from then on."""
    number = 1
    while (found := name if number == 1 else f"{name}_{number}") in taken:
        number += 1
    taken.add(found)
    return found


# Another number of programs


class _Resized:
    """The change that gives a persistent kernel another number of programs.

    Raises:
        _RefusedError: its launches are not those of a kernel whose result is the same for every number.
    """

    def __init__(self, module: Module, kernel: Kernel) -> None:
        assert kernel.tiles is not None
        self.module = module
        self.sizes: list[ast.expr] = []
        for owner, call in module.launches:
            if owner is kernel:
                self.sizes.append(self.size(call, kernel.arguments(call).get(kernel.tiles.count)))
        sizes = {whole_number(size) for size in self.sizes}
        self.now = sizes.pop()
        if sizes:
            raise _RefusedError("launches with different numbers of programs")

    def size(self, call: ast.Call, count: ast.expr | None) -> ast.expr:
        """The number in `kernel[(min(count, number),)](…, count)`."""
        assert isinstance(call.func, ast.Subscript)
        match call.func.slice:
            case ast.Tuple(elts=[ast.Call(func=ast.Name(id="min"), args=[tiles, size], keywords=[])]) if whole_number(
                size
            ):
                if count is not None and ast.dump(tiles) == ast.dump(count) and not _bindings(self.module.tree, "min"):
                    return size
        raise _RefusedError("a grid that is not the smaller of the tiles and a number")

    def replacements(self, programs: int) -> Iterator[Replacement]:
        for size in self.sizes:
            yield self.module.replace(size, str(programs))
