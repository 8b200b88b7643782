"""Where the lanes of a warp point: addresses in Triton's intermediate code, followed back to the kernel's arguments.

Addresses are computed rather than derived: every number that is only known at run time gets a stand-in, and the
expression is evaluated at the elements that one warp holds. Stand-ins are large, differ from each other and divide by
16 Ki, so that rows `stride` apart share no sector, `x % n` and `x < n` leave a tile's indices alone, and alignment is
the best that it can be. A second evaluation with stand-ins that divide by no more than Triton was told
(`tt.divisibility`) shows what depends on them, and how well pieces are aligned at worst.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernelevolve.profilers.static.ttgir_attributes import parse_type
from kernelevolve.profilers.static.ttgir_parser import Operation, Value
from kernelevolve.profilers.static.ttgir_program import SAME_ELEMENTS, Program, constant_number, is_load, is_uniform

Coordinates = tuple[np.ndarray, ...]
"""Indices of elements, one array for each dimension of a tensor, all of one shape; empty for a scalar."""

_GRAIN = 1 << 14
# Odd and different from each other, so that no two sizes are the same and no product of two is a third.
_FACTORS = (
    131,
    137,
    139,
    149,
    151,
    157,
    163,
    167,
    173,
    179,
    181,
    191,
    193,
    197,
    199,
    211,
    223,
    227,
    229,
    233,
    239,
    241,
)
_LIMIT = 1 << 40
UNALIGNED = 1 << 20
"""Elements in a row for which something holds when nothing limits it."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of an expression at some elements."""

    numbers: np.ndarray | None
    """Integers, or byte addresses for pointers, of the shape of the coordinates or one that broadcasts to it; None if
    the expression cannot be followed."""
    indirect: bool = False
    """Whether they depend on tensors that were loaded."""
    scattered: bool = False
    """Whether loaded values make them differ between the elements; the numbers only say where they are equal."""
    together: int = UNALIGNED
    """Neighbouring elements, along the last axis, of which the compiler can tell that their numbers follow each other.
    Remainders, quotients, choices, minima and maxima hide it (Triton's `AxisInfo.cpp`)."""


def combined(samples: list[Sample], numbers: np.ndarray | None, together: int = UNALIGNED) -> Sample:
    """The sample of an expression over others."""
    return Sample(
        numbers,
        indirect=any(sample.indirect for sample in samples),
        scattered=any(sample.scattered for sample in samples),
        together=min([together, *(sample.together for sample in samples)]),
    )


class Evaluator:
    """Computes integers and addresses with one set of stand-ins.

    Args:
        program: whose values are evaluated.
        aligned: whether stand-ins divide by 16 Ki, or only by what `tt.divisibility` says.
    """

    def __init__(self, program: Program, aligned: bool) -> None:
        self.program = program
        self.aligned = aligned
        self._samples: dict[tuple[int, tuple[int, ...]], Sample] = {}
        self._known: dict[bytes, int] = {}
        self._arrays: dict[int, tuple[np.ndarray, int]] = {}
        self._stand_ins = 0

    def sample(self, value: Value | None, coordinates: Coordinates = ()) -> Sample:
        """Evaluate a value at some elements of its tensor; a scalar has no coordinates."""
        if value is None:
            return Sample(None)
        key = (id(value), tuple(self._number_of(array) for array in coordinates))
        found = self._samples.get(key)
        if found is None:
            # Guards against values that depend on themselves, which no valid module has.
            self._samples[key] = Sample(None)
            found = self._samples[key] = self._evaluate(value, coordinates)
        return found

    def mask_run(self, value: Value | None, coordinates: Coordinates) -> int:
        """Neighbouring elements for which a mask is surely the same, counted along the last axis of the coordinates.

        A comparison of an index that grows by one with a bound changes at most where their difference is zero, so it is
        the same for as many elements as the difference at the start divides by.
        """
        if value is None or not coordinates:
            return UNALIGNED
        source = self.program.source(value)
        if source is not None:
            return self.mask_run(source, coordinates)
        owner = value.owner
        if value.region is not None or owner.name in ("tt.splat", "arith.constant"):
            return UNALIGNED
        if owner.name in ("arith.andi", "arith.ori", "arith.xori", "arith.select"):
            return min(self.mask_run(operand, coordinates) for operand in owner.operands)
        if owner.name == "arith.cmpi":
            sides = [self.sample(operand, coordinates).numbers for operand in owner.operands]
            if len(sides) != 2 or sides[0] is None or sides[1] is None:
                return 1
            difference = np.broadcast_to(sides[0] - sides[1], coordinates[0].shape)
            if (difference == difference[..., :1]).all():
                return UNALIGNED
            return 1 if owner.text.startswith(("eq", "ne")) else power_of_two(difference[..., 0])
        moved = _moved(owner, coordinates)
        return self.mask_run(owner.operand(0), moved) if moved is not None else 1

    def _evaluate(self, value: Value, coordinates: Coordinates) -> Sample:
        owner = value.owner
        source = self.program.source(value)
        if source is not None:
            if coordinates and self.program.changes_by_loads(value):
                return self._any(coordinates)
            return self.sample(source, coordinates)
        if value.region is not None:
            return self._argument(value) if not coordinates else Sample(None)
        name = owner.name
        if name == "arith.constant":
            number = constant_number(owner)
            return Sample(None if number is None else np.asarray(number))
        if name == "tt.get_program_id":
            return Sample(np.asarray(1))
        if name == "tt.make_range":
            start = owner.attributes.get("start")
            return Sample(coordinates[0] + (start if isinstance(start, int) else 0))
        if name == "tt.splat":
            return self.sample(owner.operand(0))
        if name == "tt.addptr":
            return self._add_to_pointer(owner, coordinates)
        if is_load(owner):
            return self._loaded(owner, coordinates) if coordinates else Sample(self._stand_in(1))
        if name in ("tt.join", "tt.split"):
            return self._joined(value, coordinates)
        moved = _moved(owner, coordinates)
        if moved is not None:
            return self.sample(owner.operand(0), moved)
        if name in _ARITHMETIC or name == "arith.cmpi":
            return self._computed(owner, coordinates)
        if coordinates:
            return Sample(None, indirect=self.program.loads_before(value))
        return Sample(self._stand_in(1))

    def _argument(self, value: Value) -> Sample:
        owner = value.owner
        if owner.name == "scf.for" and value.index == 0:
            # The second iteration: in the first, what is multiplied with the variable would vanish.
            start, step = self.sample(owner.operand(0)), self.sample(owner.operand(2))
            if start.numbers is not None and step.numbers is not None:
                return Sample(start.numbers + step.numbers)
        divisor = value.attributes.get("tt.divisibility")
        smallest = divisor if isinstance(divisor, int) else 1
        if "ptr<" in value.type:
            # Without a word about it, a pointer is aligned for its elements (Triton's `AxisInfo`).
            smallest = max(smallest, parse_type(value.type).element_bytes)
        return Sample(self._stand_in(smallest))

    def _stand_in(self, divisor: int) -> np.ndarray:
        self._stand_ins += 1
        round_, position = divmod(self._stand_ins, len(_FACTORS))
        number = _GRAIN * (_FACTORS[position] + 250 * round_)
        return np.asarray(number if self.aligned else number + divisor * _FACTORS[position], dtype=np.int64)

    def _add_to_pointer(self, owner: Operation, coordinates: Coordinates) -> Sample:
        base, offset = (self.sample(operand, coordinates) for operand in owner.operands[:2])
        width = parse_type(owner.types[0][0]).element_bytes if owner.types[0] else 1
        numbers = None
        if base.numbers is not None and offset.numbers is not None:
            numbers = base.numbers + offset.numbers * max(width, 1)
        return combined([base, offset], numbers)

    def _loaded(self, owner: Operation, coordinates: Coordinates) -> Sample:
        """Some number for each address that is loaded from, or for each element where addresses are not known."""
        pointer = self.sample(owner.operand(0), coordinates) if owner.name == "tt.load" else Sample(None)
        return self._any(coordinates if pointer.numbers is None else (pointer.numbers,), coordinates[0].shape)

    def _any(self, keys: Coordinates, shape: tuple[int, ...] | None = None) -> Sample:
        """Numbers that nothing is known of: the same where all keys are the same, else far apart."""
        key = np.zeros(keys[0].shape, dtype=np.int64)
        for axis in keys:
            key = key * 4099 + axis
        _, order = np.unique(key, return_inverse=True)
        numbers = np.asarray(order, dtype=np.int64).reshape(key.shape) * 7919 % 10_007 + 1
        scattered = bool((numbers != numbers.flat[0]).any())
        numbers = numbers * _GRAIN if self.aligned else numbers
        return Sample(np.broadcast_to(numbers, shape or key.shape), indirect=True, scattered=scattered)

    def _joined(self, value: Value, coordinates: Coordinates) -> Sample:
        owner = value.owner
        if owner.name == "tt.split" and coordinates:
            return self.sample(owner.operand(0), (*coordinates, np.full_like(coordinates[0], value.index)))
        if len(owner.operands) != 2 or len(coordinates) < 2:
            return Sample(None)
        first, second = (self.sample(operand, coordinates[:-1]) for operand in owner.operands)
        numbers = None
        if first.numbers is not None and second.numbers is not None:
            numbers = np.where(coordinates[-1] == 0, first.numbers, second.numbers)
        return combined([first, second], numbers)

    def _computed(self, owner: Operation, coordinates: Coordinates) -> Sample:
        samples = [self.sample(operand, coordinates) for operand in owner.operands]
        numbers = [sample.numbers for sample in samples if sample.numbers is not None]
        compute = _comparison(owner) if owner.name == "arith.cmpi" else _ARITHMETIC[owner.name]
        wanted = 3 if owner.name == "arith.select" else 2
        if compute is None or len(numbers) != len(samples) or len(numbers) != wanted:
            return combined(samples, None)
        # Products of many stand-ins leave 64 bits; only what they divide by matters then.
        with np.errstate(over="ignore"):
            result = np.asarray(compute(*numbers), dtype=np.int64)
        if not coordinates:
            value = int(result)
            return combined(samples, np.asarray(value % _LIMIT + _LIMIT if abs(value) >= _LIMIT else value))
        limit = UNALIGNED
        if owner.name in _DIVISIONS and _varies(numbers[0], coordinates):
            limit = power_of_two(numbers[1])
        elif owner.name in _CHOICES and _varies(result, coordinates):
            chosen_at_once = owner.name == "arith.select" and is_uniform(self.program, owner.operand(0))
            limit = UNALIGNED if chosen_at_once else 1
        return combined(samples, result, limit)

    def _number_of(self, array: np.ndarray) -> int:
        """The same number for equal coordinates, whichever way they came about."""
        found = self._arrays.get(id(array))
        if found is None:
            number = self._known.setdefault(array.tobytes() + bytes(str(array.shape), "ascii"), len(self._known))
            # The array is kept, so that its identity stays its own.
            found = self._arrays[id(array)] = (array, number)
        return found[1]


def power_of_two(numbers: np.ndarray) -> int:
    """The largest power of two that divides all; at most 2^20."""
    bits = int(np.bitwise_or.reduce(np.asarray(numbers, dtype=np.int64), axis=None)) | UNALIGNED
    return bits & -bits


def _moved(owner: Operation, coordinates: Coordinates) -> Coordinates | None:
    """Which elements of its operand an operation puts at these coordinates; None if it does more than move them."""
    name = owner.name
    if name in SAME_ELEMENTS:
        return coordinates
    if not coordinates:
        return None
    if name == "tt.expand_dims":
        axis = owner.attributes.get("axis")
        return (*coordinates[:axis], *coordinates[axis + 1 :]) if isinstance(axis, int) else None
    if name == "tt.trans":
        order = owner.attributes.get("order")
        return _transposed(order, coordinates) if isinstance(order, list) else None
    shape = owner.shape
    if name == "tt.broadcast" and len(shape) == len(coordinates):
        return tuple(np.zeros_like(axis) if size == 1 else axis for size, axis in zip(shape, coordinates, strict=True))
    if name == "tt.reshape" and shape and owner.types[1]:
        flat = np.zeros_like(coordinates[0])
        for size, axis in zip(parse_type(owner.types[1][0]).shape, coordinates, strict=False):
            flat = flat * size + axis
        return tuple(np.asarray(axis) for axis in np.unravel_index(flat % int(np.prod(shape)), shape))
    return None


def _transposed(order: list[object], coordinates: Coordinates) -> Coordinates | None:
    if sorted(order, key=str) != list(range(len(coordinates))):
        return None
    # Dimension i of the result is dimension order[i] of the operand.
    return tuple(coordinates[order.index(axis)] for axis in range(len(order)))


def _quotient(number: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    # Toward zero, as `arith.divsi` does; what divides by zero is undefined anyway.
    safe = np.where(divisor == 0, 1, divisor)
    return np.abs(number) // np.abs(safe) * np.sign(number) * np.sign(safe)


def _remainder(number: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    return number - _quotient(number, divisor) * divisor


def _floor_quotient(number: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    return number // np.where(divisor == 0, 1, divisor)


def _ceiling_quotient(number: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    return -_floor_quotient(-number, divisor)


def _shift_left(number: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return number << (bits & 63)


def _shift_right(number: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return number >> (bits & 63)


def _select(condition: np.ndarray, chosen: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(condition != 0, chosen, other)


_ARITHMETIC: dict[str, Callable[..., np.ndarray]] = {
    "arith.addi": operator.add,
    "arith.subi": operator.sub,
    "arith.muli": operator.mul,
    "arith.divsi": _quotient,
    "arith.divui": _quotient,
    "arith.remsi": _remainder,
    "arith.remui": _remainder,
    "arith.floordivsi": _floor_quotient,
    "arith.ceildivsi": _ceiling_quotient,
    "arith.ceildivui": _ceiling_quotient,
    "arith.andi": operator.and_,
    "arith.ori": operator.or_,
    "arith.xori": operator.xor,
    "arith.shli": _shift_left,
    "arith.shrsi": _shift_right,
    "arith.shrui": _shift_right,
    "arith.minsi": np.minimum,
    "arith.minui": np.minimum,
    "arith.maxsi": np.maximum,
    "arith.maxui": np.maximum,
    "arith.select": _select,
}
_DIVISIONS = frozenset(name for name in _ARITHMETIC if "div" in name or "rem" in name)
_CHOICES = frozenset({"arith.select", "arith.minsi", "arith.minui", "arith.maxsi", "arith.maxui"})
_COMPARISONS: dict[str, Callable[..., np.ndarray]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def _varies(numbers: np.ndarray, coordinates: Coordinates) -> bool:
    """Whether numbers change along the last axis."""
    whole = np.broadcast_to(numbers, coordinates[0].shape)
    return bool((whole != whole[..., :1]).any())


def _comparison(owner: Operation) -> Callable[..., np.ndarray] | None:
    match = re.match(r"[su]?(eq|ne|lt|le|gt|ge)\b", owner.text)
    return _COMPARISONS[match.group(1)] if match else None
