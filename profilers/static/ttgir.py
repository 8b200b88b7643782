"""Read one kernel in Triton's GPU dialect: how it touches memory, what its loops hold, where layouts change."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from kernelevolve.profilers.report import GlobalAccess, Loop, MatrixOperation, SourceLine
from kernelevolve.profilers.static.ttgir_accesses import ACCESSES, AccessReader
from kernelevolve.profilers.static.ttgir_attributes import parse_type
from kernelevolve.profilers.static.ttgir_layouts import needs_shared_memory
from kernelevolve.profilers.static.ttgir_locations import Locations
from kernelevolve.profilers.static.ttgir_loops import (
    MATRIX,
    Collection,
    Found,
    Site,
    originals,
    read_loop,
    read_matrix_operation,
    site_of,
)
from kernelevolve.profilers.static.ttgir_parser import Operation, Value, parse_module
from kernelevolve.profilers.static.ttgir_program import LOOPS, Program, constant_value

_DIVISIONS = frozenset(
    f"arith.{name}" for name in ("divsi", "divui", "remsi", "remui", "floordivsi", "ceildivsi", "ceildivui")
)
# What a text that is cut off or damaged brings about, wherever the reading is when it meets it.
_DAMAGE = (LookupError, ValueError, TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class TtgirFacts:
    """What a kernel's TTGIR says. Copies that the compiler made of one operation (prologues and epilogues of pipelined
    loops, unrolled bodies, partitions of warps) count once."""

    accesses: tuple[GlobalAccess, ...] = ()
    """Accesses to device memory."""
    loops: tuple[Loop, ...] = ()
    """Loops, in the order of the code."""
    matrix_operations: tuple[MatrixOperation, ...] = ()
    """Matrix multiplications."""
    shared_conversions: int = 0
    """Values that go through shared memory to change their layout."""
    divisions: tuple[SourceLine, ...] = ()
    """Lines that divide integers, element by element or inside a loop, by what is not known at compile time."""
    notes: tuple[str, ...] = ()
    """What could not be read or followed."""


def read_ttgir(text: str, source: str) -> TtgirFacts:
    """Read one kernel.

    Args:
        text: the stage `ttgir` of Triton 3.6 to 3.9; `ttir` works too, but has no layouts.
        source: the candidate's text, in which the lines of the result are.

    Returns:
        What could be read; what could not is in `notes`. Nothing is raised, whatever the text is.
    """
    try:
        return _Reader(text, source).facts()
    except _DAMAGE as error:
        return TtgirFacts(notes=(f"The TTGIR could not be read ({type(error).__name__}: {error}).",))


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        module = parse_module(text)
        self.program = Program(module)
        self.locations = Locations(module, source)
        self.accesses = AccessReader(self.program)
        self.collection = Collection()
        self.conversions: dict[Site, Counter[int]] = defaultdict(Counter)
        self.divisions: dict[int, SourceLine] = {}
        self.failures: dict[str, int] = {}
        self._depths: dict[str, int] = {}
        for function in self.program.functions.values():
            self._walk(function, self._depth_of(function), None)

    def facts(self) -> TtgirFacts:
        accesses: list[GlobalAccess] = []
        products: list[MatrixOperation] = []
        loops: list[tuple[Found, Loop]] = []
        for found in originals(self.collection.accesses):
            with self._noting(found.operation):
                accesses.append(self.accesses.read(found.operation, found.depth, self._where(found.operation)))
        for found in originals(self.collection.products):
            with self._noting(found.operation):
                products.append(read_matrix_operation(self.program, found.operation, self._where(found.operation)))
        for found in self.collection.loops:
            with self._noting(found.operation):
                where = self._where(found.operation)
                loops.append((found, read_loop(self.program, self.accesses, self.collection, found, where)))
        return TtgirFacts(
            accesses=tuple(accesses),
            loops=_merged(loops),
            matrix_operations=tuple(products),
            # A pipelined loop has copies of its body before and after it, in blocks of their own.
            shared_conversions=sum(max(blocks.values()) for blocks in self.conversions.values()),
            divisions=tuple(self.divisions.values()),
            notes=tuple(self._notes()),
        )

    @contextlib.contextmanager
    def _noting(self, operation: Operation) -> Iterator[None]:
        """Goes on to the next operation when one cannot be read, and counts it."""
        try:
            yield
        except _DAMAGE:
            self.failures[operation.name] = self.failures.get(operation.name, 0) + 1

    def _walk(self, operation: Operation, depth: int, loop: Operation | None) -> None:
        for region in operation.regions:
            for inner in region.operations:
                found = Found(inner, depth, loop, site_of(inner, self.locations.frames(inner.location)))
                if inner.name in LOOPS:
                    self.collection.loops.append(found)
                    self._walk(inner, depth + 1, inner)
                    continue
                with self._noting(inner):
                    self._sort(found)
                self._walk(inner, depth, loop)

    def _sort(self, found: Found) -> None:
        operation = found.operation
        if operation.name in ACCESSES:
            self.collection.accesses.append(found)
        elif operation.name in MATRIX:
            self.collection.products.append(found)
        elif operation.name in _DIVISIONS:
            self._division(operation, found.depth)
        elif self._converts(operation):
            self.conversions[found.site][id(operation.parent)] += 1

    def _depth_of(self, function: Operation) -> int:
        """Loops around the calls of a function, at most; 0 for the kernel."""
        known = self._depths.get(function.symbol)
        if known is not None:
            return known
        self._depths[function.symbol] = deepest = 0
        for call in self.program.calls.get(function.symbol, []):
            loops, outer = 0, call.parent
            while outer is not None:
                loops += outer.name in LOOPS
                if outer.name == "tt.func":
                    loops += self._depth_of(outer)
                outer = outer.parent
            deepest = max(deepest, loops)
        self._depths[function.symbol] = deepest
        return deepest

    def _division(self, operation: Operation, depth: int) -> None:
        divisor = operation.operand(1)
        if divisor is None or (operation.tensor is None and depth == 0):
            return
        where = self._where(operation)
        if where is not None and constant_value(divisor) is None:
            self.divisions.setdefault(where.line, where)

    def _converts(self, operation: Operation) -> bool:
        before, after = operation.types
        if operation.name == "ttg.convert_layout" and before and after:
            tensor, target = parse_type(before[0]), parse_type(after[0])
            return needs_shared_memory(self.program.module, tensor.shape, tensor.encoding, target.encoding)
        if operation.name != "ttg.local_alloc" or not operation.operands:
            return False
        # Into shared memory and out again. Loaded tiles that products read from there go through it anyway.
        readers = self._readers(operation.results[0]) if operation.results else []
        stored = operation.operands[0]
        if not readers or any(reader.name != "ttg.local_load" for reader in readers) or stored is None:
            return False
        encodings = [self.program.module.encoding(parse_type(written).encoding) for reader in readers
                     for written in reader.types[1]]  # fmt: skip
        for_products = all(encoding is not None and encoding.name == "dot_op" for encoding in encodings)
        if stored.region is None and stored.owner.name == "amdg.in_thread_transpose":
            stored = stored.owner.operands[0]
        loaded = stored is not None and stored.region is None and stored.owner.name in ACCESSES
        return not (for_products and loaded)

    def _readers(self, memory: Value) -> list[Operation]:
        """What uses a piece of shared memory, or a view of it."""
        readers = []
        for user in self.program.users(memory):
            if user.name.startswith("ttg.memdesc_") and user.results:
                readers += self._readers(user.results[0])
            elif user.name != "ttg.local_dealloc":
                readers.append(user)
        return readers

    def _where(self, operation: Operation) -> SourceLine | None:
        return self.locations.line(operation.location)

    def _notes(self) -> list[str]:
        notes = []
        if not self.program.functions:
            notes.append("The TTGIR has no function.")
        if self.program.module.unread:
            notes.append(f"Lines of the TTGIR that could not be read: {self.program.module.unread}.")
        notes += [f"{count} × {name} could not be read." for name, count in sorted(self.failures.items())]
        if self.accesses.unknown_layouts:
            names = ", ".join(sorted(self.accesses.unknown_layouts))
            notes.append(f"Accesses whose lanes are not known, because of their layout: {names}.")
        if self.accesses.unfollowed:
            notes.append(f"Accesses whose addresses could not be followed: {self.accesses.unfollowed}.")
        return notes


def _merged(loops: list[tuple[Found, Loop]]) -> tuple[Loop, ...]:
    """One loop for each site: partitions of warps share the work of one loop, unrolling repeats it."""
    merged: dict[object, Loop] = {}
    for found, loop in loops:
        key = (found.site, found.depth)
        seen = merged.get(key)
        if seen is not None:
            stages = [each.stages for each in (seen, loop) if each.stages is not None]
            loop = loop.model_copy(
                update={
                    "global_loads": max(seen.global_loads, loop.global_loads),
                    "matrix_operations": max(seen.matrix_operations, loop.matrix_operations),
                    "stages": min(stages, default=None),
                    "trip_count": seen.trip_count if seen.trip_count == loop.trip_count else None,
                }
            )
        merged[key] = loop
    return tuple(merged.values())
