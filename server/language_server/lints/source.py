"""A Python text as the rules see it: what parses of it, its kernels, what its names stand for, where it says noqa."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

_PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `ast.parse` raises: bad syntax, a NUL, and two ways of too deep."""
_FILE = "<editor>"
# A text that is being typed makes Python warn (`1if`), and on the standard error it would tell nobody anything.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=re.escape(_FILE))
_NOQA = re.compile(r"#\s*noqa(?P<codes>\s*:\s*[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*)?", re.IGNORECASE)
_SHORT = {"triton.language": "tl", "triton.language.core": "tl", "triton.language.standard": "tl"}
_KNOWN_ALIASES = {"tl": "tl", "triton": "triton"}
"""What a name stands for where the text does not say: a text that is being written may lack its imports."""
Function = ast.FunctionDef


@dataclass(frozen=True)
class Configuration:
    """A `triton.Config` as it stands in the text."""

    node: ast.Call
    values: Mapping[str, int | None]
    """Meta-parameters; None where the text does not say the number."""
    nodes: Mapping[str, ast.expr]


@dataclass
class Kernel:
    """A `@triton.jit` function."""

    node: Function
    source: Source
    decorators: list[tuple[str, ast.expr]]
    """Canonical name and node, from the outermost."""
    launches: list[ast.Call] = field(default_factory=list)
    """`kernel[grid](...)` of this file."""
    configurations: list[Configuration] = field(default_factory=list)
    runtime_conditions: set[ast.expr] = field(default_factory=set)
    """Tests of `if` that are known to be run-time values, so that both branches are compiled."""

    @cached_property
    def parameters(self) -> dict[str, ast.arg]:
        """By name, in order."""
        arguments = self.node.args
        return {each.arg: each for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}

    @cached_property
    def defaults(self) -> dict[str, ast.expr]:
        """Default values by parameter."""
        arguments = self.node.args
        ordered = [*arguments.posonlyargs, *arguments.args]
        found = {each.arg: value for each, value in zip(ordered[::-1], arguments.defaults[::-1], strict=False)}
        found |= {
            each.arg: value
            for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if value is not None
        }
        return found

    @cached_property
    def constexprs(self) -> set[str]:
        """Parameters that are annotated as compile-time constants."""
        return {name for name, argument in self.parameters.items() if self.source.is_constexpr(argument.annotation)}

    @property
    def is_launched(self) -> bool:
        """Whether this file launches it, so that its plain parameters are run-time values for certain."""
        return bool(self.launches or self.configurations)

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node above each node of the body."""
        return {child: node for node in ast.walk(self.node) for child in ast.iter_child_nodes(node)}

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Everything of the body, without functions defined inside it."""
        found: list[ast.AST] = []
        waiting: list[ast.AST] = list(reversed(self.node.body))
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting += reversed(list(ast.iter_child_nodes(node)))
        return found

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, from the nearest, up to the function."""
        while (parent := self.parents.get(node)) is not None and parent is not self.node:
            yield parent
            node = parent

    def is_certain(self, node: ast.AST) -> bool:
        """Whether the compiler sees the node whenever it compiles the kernel.

        Below an `if` (or an early `return`) it may not: a condition on a constexpr leaves the branch out.
        """
        if any(self._may_leave_out(each) for each in self.above(node)):
            return False
        top: ast.AST = node
        for top in self.above(node):  # noqa: B007 - the last one is the statement of the body
            pass
        for statement in self.node.body:
            if statement is top:
                return True
            if any(isinstance(each, ast.Return) for each in ast.walk(statement)):
                return False
        return True

    def _may_leave_out(self, node: ast.AST) -> bool:
        if isinstance(node, ast.If | ast.IfExp):
            return node.test not in self.runtime_conditions
        return isinstance(node, ast.For) and self.source.name_of(getattr(node.iter, "func", None)) == "tl.static_range"

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Calls in the body of functions with these canonical names."""
        for name in names:
            yield from self._calls.get(name, ())

    @cached_property
    def _calls(self) -> dict[str, list[ast.Call]]:
        found: dict[str, list[ast.Call]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Call):
                found.setdefault(self.source.name_of(node.func), []).append(node)
        return found


class Source:
    """The parsed text."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.tree = parse(text)
        self.nodes = list(ast.walk(self.tree))
        self.aliases = dict(_aliases(self.nodes))
        self.kernels = self._find_kernels()

    def name_of(self, node: ast.expr | None) -> str:
        """The canonical dotted name of an expression (`tl.load`, `triton.jit`, `torch.sum`); else empty."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        parts.append(self.aliases.get(node.id, _KNOWN_ALIASES.get(node.id, node.id)))
        name = ".".join(reversed(parts))
        for long, short in _SHORT.items():
            if name == long or name.startswith(f"{long}."):
                return short + name[len(long) :]
        return name

    def is_constexpr(self, annotation: ast.expr | None) -> bool:
        """Whether an annotation says `tl.constexpr`, in whatever spelling."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            return "constexpr" in annotation.value
        if isinstance(annotation, ast.Subscript):
            return self.is_constexpr(annotation.value)
        return self.name_of(annotation).split(".")[-1] in ("constexpr", "constexpr_or_f32", "constexpr_or_f64")

    def is_silenced(self, line: int, code: str) -> bool:
        """Whether a `# noqa` on the line (from 0) covers the code."""
        match = _NOQA.search(self.lines[line]) if line < len(self.lines) else None
        if match is None:
            return False
        codes = match["codes"]
        return codes is None or code in re.findall(r"[A-Z]+[0-9]+", codes.upper())

    @cached_property
    def constants(self) -> dict[str, ast.stmt]:
        """Module-level names whose only assignment is a plain literal."""
        found: dict[str, ast.stmt] = {}
        seen: set[str] = set()
        for node in self.tree.body:
            for name in _assigned(node):
                value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
                annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
                plain = isinstance(node, ast.Assign | ast.AnnAssign) and _is_literal(value)
                if plain and name not in seen and not self.is_constexpr(annotation):
                    found[name] = node
                else:
                    found.pop(name, None)
                seen.add(name)
        return found

    def _find_kernels(self) -> list[Kernel]:
        kernels: list[Kernel] = []
        for node in self.nodes:
            if not isinstance(node, ast.FunctionDef):
                continue
            decorators = [(self._decorator(each), each) for each in node.decorator_list]
            if any(name == "triton.jit" for name, _ in decorators):
                kernels.append(Kernel(node, self, decorators))
        by_name = {kernel.node.name: kernel for kernel in kernels}
        for node in self.nodes:
            launched = isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript)
            if launched and isinstance(node.func.value, ast.Name) and node.func.value.id in by_name:  # type: ignore[attr-defined]
                by_name[node.func.value.id].launches.append(node)  # type: ignore[attr-defined, arg-type]
        for kernel in kernels:
            kernel.configurations = [each for name, node in kernel.decorators for each in self._configs(name, node)]
        return kernels

    def _decorator(self, node: ast.expr) -> str:
        name = self.name_of(node.func if isinstance(node, ast.Call) else node)
        return {"triton.runtime.jit.jit": "triton.jit", "triton.runtime.jit": "triton.jit"}.get(name, name)

    def _configs(self, name: str, node: ast.expr) -> Iterator[Configuration]:
        """The configurations of an autotuner's decorator: any whose arguments hold `triton.Config` calls."""
        if not isinstance(node, ast.Call) or name in ("triton.jit", "triton.heuristics"):
            return
        lists: list[ast.expr] = [*node.args, *(each.value for each in node.keywords)]
        for each in lists:
            where = self._module_value(each.id) if isinstance(each, ast.Name) else each
            for inner in ast.walk(where) if where is not None else ():
                if isinstance(inner, ast.Call) and self.name_of(inner.func).split(".")[-1] == "Config":
                    yield _configuration(inner)

    def _module_value(self, name: str) -> ast.expr | None:
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                return node.value
        return None


def parse(text: str) -> ast.Module:
    """The tree of a text; of a half-typed one, the tree of the top-level statements that parse, in their places."""
    try:
        return ast.parse(text, _FILE)
    except _PARSE_ERRORS:
        return _parse_parts(text)


def _parse_parts(text: str) -> ast.Module:
    from parso.grammar import load_grammar  # takes a tenth of a second, and only broken texts need it

    body: list[ast.stmt] = []
    try:
        module = load_grammar().parse(text)
    except _PARSE_ERRORS:
        return ast.Module(body, [])
    for child in module.children:
        if child.type in ("error_leaf", "endmarker", "newline"):
            continue
        first = child.start_pos[0]
        code = child.get_code(include_prefix=False)
        try:
            # Blank lines before it keep the line numbers.
            body += ast.parse("\n" * (first - 1) + code, _FILE).body
        except _PARSE_ERRORS:
            continue
    return ast.Module(body, [])


def _aliases(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for each in node.names:
                yield (each.asname, each.name) if each.asname else (each.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                yield each.asname or each.name, f"{node.module}.{each.name}"


def _configuration(node: ast.Call) -> Configuration:
    keywords = {each.arg: each.value for each in node.keywords if each.arg}
    table = node.args[0] if node.args else keywords.get("kwargs")
    nodes: dict[str, ast.expr] = {}
    if isinstance(table, ast.Dict):
        for key, value in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                nodes[key.value] = value
    return Configuration(node, {name: whole_number(value) for name, value in nodes.items()}, nodes)


def whole_number(node: ast.expr | None) -> int | None:
    """The number that a literal is; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = whole_number(node.operand)
        return None if number is None else -number
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    return None


def _is_literal(node: ast.expr | None) -> bool:
    if isinstance(node, ast.List | ast.Dict | ast.Set):
        return True
    if isinstance(node, ast.UnaryOp):
        return _is_literal(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float | str)


def _assigned(node: ast.stmt) -> Iterator[str]:
    """Names that a statement of a module binds, at any depth of `if` and `try`."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.split(".")[0]
        return
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, ast.FunctionDef | ast.ClassDef):
            yield each.name
        elif isinstance(each, ast.Import | ast.ImportFrom):
            for alias in each.names:
                yield alias.asname or alias.name.split(".")[0]
