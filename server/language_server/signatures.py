"""With which arguments to compile a kernel that nobody was seen to launch: what a comment says, else a stated guess.

Standard library alone, on the kernel's syntax tree: pointers are what is loaded from and stored to, constants take
their defaults, the first autotuning configuration, or a value that their use suggests.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

FLOATS = {"fp16", "bf16", "fp32", "fp64", "fp8e4nv", "fp8e5", "fp8e4b8", "fp8e5b16"}
INTEGERS = {"i1", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"}
_ALIASES = {
    "float16": "fp16", "half": "fp16", "bfloat16": "bf16", "float32": "fp32", "float": "fp32", "float64": "fp64",
    "int1": "i1", "bool": "i1", "int8": "i8", "int16": "i16", "int32": "i32", "int": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
    "float8_e4m3fn": "fp8e4nv", "float8_e5m2": "fp8e5",
}  # fmt: skip
_MEMORY = {"load", "store"}
_PASSED_ON = {"advance", "multiple_of", "max_contiguous", "max_constancy", "cast", "broadcast_to", "expand_dims"}
_FLOAT_NAME = re.compile(
    r"eps|scale|alpha|beta(?!s)|^lr$|decay|momentum|dropout|^p$|prob|temperature|slope|factor|threshold|softcap|gamma"
    r"|smoothing|^inv_|epsilon|std|mean|sigma"
)
_WIDE_NAME = re.compile(r"lse|mean|rstd|var|loss|acc|stat|norm$|amax|workspace|(^|_)(m|l|delta)(_ptr)?$", re.IGNORECASE)
_INDEX_NAME = re.compile(
    r"idx|index|indices|ids?(_ptr)?$|label|target|seqlen|offsets?(_ptr)?$|table|lens(_ptr)?$|(^|_)pos"
)
_BLOCK_NAME = re.compile(r"BLOCK|TILE|CHUNK|^B[A-Z]{1,2}$|^[a-z]*block", re.IGNORECASE)
_DTYPE_NAME = re.compile(r"d_?type", re.IGNORECASE)
_FLAG_NAME = re.compile(
    r"^(IS|HAS|USE|EVEN|DO|WITH|ALLOW|STORE|SAVE|RETURN|TRANS|INTERLEAVED|CAUSAL|REVERSE|ENABLE)_|^CAUSAL$",
    re.IGNORECASE,
)
_LAUNCH_OPTIONS = {"num_warps", "num_stages", "num_ctas", "maxnreg", "waves_per_eu", "matrix_instr_nonkdim", "kpack"}
INTEGER_VALUE = 1024
"""What an integer is taken to be: Triton specialises for multiples of 16, as sizes and strides mostly are."""


@dataclass(frozen=True)
class Typed:
    """One argument to compile with."""

    name: str
    """Parameter."""
    type: str
    """`*fp16`, `i32`, `fp32`, or `constant`."""
    value: Any
    """Value of a constant; what an integer or float is taken to be."""
    guessed: bool
    """Whether nobody says so."""


class AnnotationError(ValueError):
    """An annotation comment that makes no sense; the text says what to write."""


@dataclass(frozen=True)
class KernelParameter:
    """A parameter as Triton sees it."""

    name: str
    """Name."""
    constant: bool
    """Whether it is a `tl.constexpr`."""
    default: Any = None
    """Its default."""
    has_default: bool = False
    """Whether it has one."""


def launch_options(said: Mapping[str, str]) -> dict[str, int]:
    """Launch options that an annotation says."""
    return {name: int(value) for name, value in said.items() if name in _LAUNCH_OPTIONS and value.isdecimal()}


def arguments_of(
    tree: ast.FunctionDef,
    parameters: list[KernelParameter],
    said: Mapping[str, str],
    configuration: Mapping[str, Any],
    wide: bool = False,
) -> list[Typed]:
    """Arguments for every parameter.

    Args:
        tree: the kernel.
        parameters: its parameters.
        said: what its annotation comment says.
        configuration: constants of its first autotuning configuration.
        wide: guess fp32 for every floating-point pointer.

    Raises:
        AnnotationError: the annotation names no parameter, or no type.
    """
    names = {parameter.name for parameter in parameters}
    for name in said:
        if name not in names and name not in _LAUNCH_OPTIONS:
            raise AnnotationError(
                f"The annotation says {name}, which is no parameter of {tree.name} and no launch option. "
                f"Parameters: {', '.join(parameter.name for parameter in parameters)}."
            )
    uses = Uses(tree, {parameter.name for parameter in parameters})
    return [_argument(parameter, uses, said, configuration, wide) for parameter in parameters]


def _argument(
    parameter: KernelParameter, uses: Uses, said: Mapping[str, str], configuration: Mapping[str, Any], wide: bool
) -> Typed:
    name = parameter.name
    if parameter.constant:
        if name in said:
            return Typed(name, "constant", constant(said[name]), guessed=False)
        if name in configuration:
            return Typed(name, "constant", configuration[name], guessed=False)
        if parameter.has_default:
            return Typed(name, "constant", parameter.default, guessed=False)
        return Typed(name, "constant", uses.constant(name), guessed=True)
    if name in said:
        return said_argument(name, said[name])
    if parameter.has_default and isinstance(parameter.default, (bool, int, float)):
        kind = "i1" if isinstance(parameter.default, bool) else "i32" if isinstance(parameter.default, int) else "fp32"
        return Typed(name, kind, parameter.default, guessed=False)
    kind = uses.type_of(name, wide)
    return Typed(name, kind, _value(kind), guessed=True)


def said_argument(name: str, text: str) -> Typed:
    """What an annotation says of an argument that is no constant: a type, or a number that stands for itself.

    Raises:
        AnnotationError: it is neither.
    """
    if text.startswith("*"):
        inner = _ALIASES.get(text[1:], text[1:])
        if inner in FLOATS | INTEGERS:
            return Typed(name, f"*{inner}", None, guessed=False)
    plain = _ALIASES.get(text, text)
    if plain in FLOATS | INTEGERS:
        return Typed(name, plain, _value(plain), guessed=False)
    value = constant(text)
    if isinstance(value, bool):
        return Typed(name, "i1", value, guessed=False)
    if isinstance(value, (int, float)):
        return Typed(name, "i32" if isinstance(value, int) else "fp32", value, guessed=False)
    if value is None:
        return Typed(name, "constant", None, guessed=False)
    raise AnnotationError(
        f"The annotation says {name}={text}, which is no type. Write a pointer (*fp16, *bf16, *fp32, *i32, …), a "
        "scalar (i32, i64, fp32, …) or a number."
    )


def constant(text: str) -> Any:
    """A constant as a comment writes it: a number, True, False, None, a quoted or bare word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _value(kind: str) -> Any:
    if kind.startswith("*"):
        return None
    if kind in FLOATS:
        return 1.0
    if kind == "i1":
        return True
    return 1 << 40 if kind in ("i64", "u64") else 16 if kind in ("i8", "u8", "i16", "u16") else INTEGER_VALUE


class Uses:
    """How a kernel uses its parameters.

    Args:
        tree: the kernel.
        names: its parameters.
    """

    def __init__(self, tree: ast.FunctionDef, names: set[str]) -> None:
        self._tree = tree
        self._names = names
        self._definitions: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self._definitions.setdefault(target.id, []).append(node.value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self._definitions.setdefault(node.target.id, []).append(node.value)

    @cached_property
    def _calls(self) -> list[tuple[str, ast.Call]]:
        return [
            (_last_name(node.func), node)
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name))
        ]

    @cached_property
    def has_dot(self) -> bool:
        """Whether matrices are multiplied."""
        return any(name in ("dot", "dot_scaled") for name, _ in self._calls)

    @cached_property
    def _addresses(self) -> list[tuple[str, ast.expr]]:
        """How memory is accessed, and where."""
        found = []
        for name, call in self._calls:
            if (name in _MEMORY or name.startswith("atomic_")) and call.args:
                found.append((name, call.args[0]))
            elif name in ("make_block_ptr", "make_tensor_descriptor"):
                base = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "base"), None)
                if base is not None:
                    found.append(("load", base))
        return found

    @cached_property
    def _pointers(self) -> dict[str, set[str]]:
        """Pointer parameter → how it is accessed."""
        found: dict[str, set[str]] = {}
        for how, address in self._addresses:
            name = self._pointer(address, frozenset())
            if name is not None:
                found.setdefault(name, set()).add(how)
        return found

    def _pointer(self, expression: ast.expr, seen: frozenset[str]) -> str | None:
        """The parameter that an address is built on."""
        candidates = list(dict.fromkeys(self._bases(expression, seen)))
        return next((name for name in candidates if "ptr" in name.lower()), candidates[0] if candidates else None)

    def _bases(self, expression: ast.expr, seen: frozenset[str]) -> Iterator[str]:
        match expression:
            case ast.Name(id=name):
                if name in self._names:
                    yield name
                elif name not in seen:
                    for value in self._definitions.get(name, []):
                        yield from self._bases(value, seen | {name})
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                yield from self._bases(left, seen)
                yield from self._bases(right, seen)
            case ast.BinOp(left=left, op=ast.Sub()):
                yield from self._bases(left, seen)
            case ast.Subscript(value=value):
                yield from self._bases(value, seen)
            case ast.IfExp(body=body, orelse=other):
                yield from self._bases(body, seen)
                yield from self._bases(other, seen)
            case ast.Call(func=ast.Attribute(value=value, attr="to")):
                yield from self._bases(value, seen)
            case ast.Call(func=ast.Attribute(attr=attr), args=[first, *_]) if attr in _PASSED_ON:
                yield from self._bases(first, seen)

    @cached_property
    def _indices(self) -> set[str]:
        """Pointers whose loaded values become part of an address."""
        names: set[str] = set()
        pending = [name for _, address in self._addresses for name in _names(address)]
        found: set[str] = set()
        while pending:
            name = pending.pop()
            if name in names:
                continue
            names.add(name)
            for value in self._definitions.get(name, []):
                loads = [node for node in ast.walk(value) if isinstance(node, ast.Call) and _is_load(node)]
                for load in loads:
                    pointer = self._pointer(load.args[0], frozenset())
                    if pointer is not None:
                        found.add(pointer)
                if not loads:
                    pending += _names(value)
        return found

    def type_of(self, name: str, wide: bool) -> str:
        """The type of an argument that is no constant, as its use suggests."""
        how = self._pointers.get(name)
        if how is None and re.search(r"(^|_)(ptr|pointer)s?$", name, re.IGNORECASE):
            how = set()
        if how is None:
            return "fp32" if _FLOAT_NAME.search(name.lower()) and "stride" not in name.lower() else "i32"
        if name in self._indices:
            return "*i64"
        if "mask" in name.lower():
            return "*i1"
        if _INDEX_NAME.search(name.lower()) and not how & {"store"}:
            return "*i64"
        atomic = any(access.startswith("atomic_") for access in how)
        return "*fp32" if wide or atomic or _WIDE_NAME.search(name) else "*fp16"

    def constant(self, name: str) -> Any:
        """A value for a constant that has none."""
        if _DTYPE_NAME.search(name):
            return "fp16"
        if name in self._in_ranges:
            return self._block(name)
        if (compared := self._compared(name)) is not None:
            return compared
        if name in self._tested or _FLAG_NAME.search(name):
            return False
        if _BLOCK_NAME.search(name):
            return self._block(name)
        if "stages" in name.lower():
            return 2
        if "group" in name.lower():
            return 8
        if "warps" in name.lower():
            return 4
        return 1 if "stride" in name.lower() else 64

    def _block(self, name: str) -> int:
        blocks = [other for other in self._in_ranges if other in self._names]
        if self.has_dot:
            return 32 if re.search(r"K$", name) else 64
        return 1024 if len(blocks) <= 1 else 64

    @cached_property
    def _in_ranges(self) -> set[str]:
        """Names that give the size of a block: in `tl.arange` and in shapes."""
        found: set[str] = set()
        for name, call in self._calls:
            if name == "arange":
                found |= {inner for argument in call.args for inner in _names(argument)}
            elif name in ("zeros", "full") and call.args:
                found |= set(_names(call.args[0]))
            for keyword in call.keywords:
                if keyword.arg in ("block_shape", "shape") and name != "make_block_ptr":
                    found |= set(_names(keyword.value))
                if keyword.arg == "block_shape":
                    found |= set(_names(keyword.value))
        # A block may be given by a name that is computed from constants.
        for name in list(found):
            for value in self._definitions.get(name, []):
                found |= set(_names(value)) & self._names
        return found

    @cached_property
    def _tested(self) -> set[str]:
        """Names that a condition asks for as they are."""
        found: set[str] = set()

        def look(test: ast.expr) -> None:
            match test:
                case ast.Name(id=name):
                    found.add(name)
                case ast.UnaryOp(op=ast.Not(), operand=operand):
                    look(operand)
                case ast.BoolOp(values=values):
                    for value in values:
                        look(value)

        for node in ast.walk(self._tree):
            if isinstance(node, (ast.If, ast.IfExp, ast.While)):
                look(node.test)
        return found

    def _compared(self, name: str) -> Any:
        """The first constant that a name is compared with for equality."""
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
                continue
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Name) and side.id == name for side in sides):
                for side in sides:
                    if isinstance(side, ast.Constant) and isinstance(side.value, (str, int, bool)):
                        return side.value
        return None


def _last_name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_load(call: ast.Call) -> bool:
    return _last_name(call.func) == "load" and bool(call.args)


def _names(expression: ast.AST) -> list[str]:
    return [node.id for node in ast.walk(expression) if isinstance(node, ast.Name)]
