"""What is known of a value in a kernel without running or compiling it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

INTEGERS = ("int1", "int8", "int16", "int32", "int64")
"""By width; unsigned types are treated as unknown."""
FLOATS = ("float16", "bfloat16", "float32", "float64")
_MOST_CHOICES = 64
"""Numbers kept of one constant; autotuners seldom try more."""


class Kind(Enum):
    """Where a value comes from and what shape it has."""

    UNKNOWN = "unknown"
    CONSTEXPR = "constexpr"
    SCALAR = "scalar"
    """A run-time number."""
    ARGUMENT = "argument"
    """A plain parameter of a kernel: a run-time number or a pointer."""
    BLOCK = "block"
    """A tensor of more than no dimensions, of pointers or of numbers."""


class Mark(Enum):
    """What went into a value."""

    PROGRAM = "program"
    """`tl.program_id`."""
    RANGE = "range"
    """A `tl.arange` whose length is a parameter."""
    WRAPPED = "wrapped"
    """A remainder or a minimum: offsets that were brought inside the data need no mask."""
    UNFILLED = "unfilled"
    """Lanes of a masked load that no `other=` filled."""
    ZERO_FILLED = "zero_filled"
    """A masked load with `other=0`, and nothing done to it."""
    PARAMETER = "parameter"
    """A plain parameter of the kernel."""
    ASSIGNED = "assigned"
    """A constant that lost its being constant by an assignment without `: tl.constexpr`."""


KEPT_BY_ARITHMETIC = frozenset({Mark.PROGRAM, Mark.RANGE, Mark.WRAPPED, Mark.UNFILLED, Mark.PARAMETER})


_SINGLE = (Kind.CONSTEXPR, Kind.SCALAR, Kind.ARGUMENT)
"""Kinds that have no dimensions."""


@dataclass(frozen=True)
class Value:
    """An abstract value."""

    kind: Kind = Kind.UNKNOWN
    dtype: str | None = None
    """Element type where it is known for certain: `int32`, `float16`, …"""
    choices: frozenset[int] = frozenset()
    """Numbers that a constant may be, as far as the text says; empty where it says nothing."""
    is_exact: bool = False
    """Whether `choices` is the whole truth (literals), not defaults or tuned values."""
    marks: frozenset[Mark] = frozenset()
    shape: tuple[frozenset[int], ...] | None = None
    """Possible lengths by dimension, where the rank is known."""
    holes: frozenset[int] | None = None
    """Axes along which a mask left lanes unfilled, where they are known."""

    def has(self, *marks: Mark) -> bool:
        """Whether any of the marks is on it."""
        return any(mark in self.marks for mark in marks)

    @property
    def is_runtime(self) -> bool:
        """Known to be no constant."""
        return self.kind in (Kind.SCALAR, Kind.ARGUMENT, Kind.BLOCK)

    @property
    def elements(self) -> int | None:
        """Elements of a block whose exact shape is known."""
        if self.shape is None or any(len(each) != 1 for each in self.shape):
            return None
        count = 1
        for each in self.shape:
            count *= next(iter(each))
        return count

    def marked(self, *marks: Mark) -> Value:
        """The same with more marks."""
        return replace(self, marks=self.marks | set(marks))

    def without(self, *marks: Mark) -> Value:
        """The same with fewer marks."""
        return replace(self, marks=self.marks - set(marks))


UNKNOWN = Value()


def constant(number: int) -> Value:
    """A literal."""
    return Value(Kind.CONSTEXPR, None, frozenset({number}), True)


def join(left: Value, right: Value) -> Value:
    """What holds whichever of the two it is."""
    if left == right:
        return left
    same = left.is_exact and right.is_exact and left.kind is right.kind
    return Value(
        left.kind if left.kind is right.kind else Kind.UNKNOWN,
        left.dtype if left.dtype == right.dtype else None,
        left.choices | right.choices if same else frozenset(),
        same,
        left.marks | right.marks,
        left.shape if left.shape == right.shape else None,
        left.holes if left.holes == right.holes else None,
    )


def arithmetic(left: Value, right: Value, dtype: str | None) -> Value:
    """Type, shape and marks of an elementwise operation; numbers are the caller's business."""
    kinds = {left.kind, right.kind}
    if Kind.BLOCK in kinds:
        kind = Kind.BLOCK
    elif kinds == {Kind.CONSTEXPR}:
        kind = Kind.CONSTEXPR
    elif Kind.UNKNOWN in kinds:
        kind = Kind.UNKNOWN
    elif Kind.ARGUMENT in kinds:
        kind = Kind.ARGUMENT
    else:
        kind = Kind.SCALAR
    shape = _shape(left, right)
    holes = None
    if shape is not None and all(each.holes is not None or not each.has(Mark.UNFILLED) for each in (left, right)):
        holes = (left.holes or frozenset()) | (right.holes or frozenset())
    marks = (left.marks | right.marks) & KEPT_BY_ARITHMETIC
    return Value(kind, dtype, marks=marks, shape=shape, holes=holes)


def promote(left: Value, right: Value) -> str | None:
    """Element type of `left + right`, where it is certain."""
    if left.kind is Kind.CONSTEXPR and right.kind is Kind.CONSTEXPR:
        return left.dtype if left.dtype == right.dtype else None
    for one, other in ((left, right), (right, left)):
        if one.kind is Kind.CONSTEXPR:
            # A Python number takes the other's type, except a float that meets integers.
            is_whole = bool(one.choices) or one.dtype in INTEGERS
            return other.dtype if is_whole or other.dtype in FLOATS else None
    if left.dtype == right.dtype:
        return left.dtype
    if left.dtype in INTEGERS and right.dtype in INTEGERS:
        return max(str(left.dtype), str(right.dtype), key=INTEGERS.index)
    if left.kind is right.kind is Kind.BLOCK and "float32" in (left.dtype, right.dtype):
        narrower = right.dtype if left.dtype == "float32" else left.dtype
        return "float32" if narrower in ("float16", "bfloat16") else None
    return None


def compute(left: Value, right: Value, operator: str) -> frozenset[int]:
    """Numbers that an operation on two constants can give, pair by pair; empty where it is not known."""
    if not left.choices or not right.choices or len(left.choices) * len(right.choices) > _MOST_CHOICES:
        return frozenset()
    found = set()
    for a in left.choices:
        for b in right.choices:
            number = _number(a, b, operator)
            if number is None:
                return frozenset()
            found.add(number)
    return frozenset(found)


def _number(a: int, b: int, operator: str) -> int | None:
    match operator:
        case "Add":
            return a + b
        case "Sub":
            return a - b
        case "Mult":
            return a * b
        case "FloorDiv":
            return a // b if b else None
        case "Mod":
            return a % b if b else None
        case "LShift":
            return a << b if 0 <= b < 64 else None
        case "Pow":
            return a**b if 0 <= b < 64 and abs(a) < 1024 else None
        case _:
            return None


def _shape(left: Value, right: Value) -> tuple[frozenset[int], ...] | None:
    if left.kind is Kind.BLOCK and right.kind is Kind.BLOCK:
        if left.shape is None or right.shape is None or len(left.shape) != len(right.shape):
            return None
        return tuple(
            b if a == {1} else a if b == {1} or a == b else frozenset()
            for a, b in zip(left.shape, right.shape, strict=True)
        )
    if left.kind is Kind.BLOCK and right.kind in _SINGLE:
        return left.shape
    if right.kind is Kind.BLOCK and left.kind in _SINGLE:
        return right.shape
    return None
