"""Loops and matrix multiplications in Triton's GPU dialect, and how far its pipeliner took them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kernelevolve.profilers.report import AccessKind, Loop, MatrixOperation, SourceLine
from kernelevolve.profilers.static.ttgir_accesses import ACCESSES, AccessReader
from kernelevolve.profilers.static.ttgir_attributes import Shaped, parse_type
from kernelevolve.profilers.static.ttgir_locations import Frame
from kernelevolve.profilers.static.ttgir_parser import Operation, Value
from kernelevolve.profilers.static.ttgir_program import LOOPS, Program, constant_value

MATRIX = frozenset({"tt.dot", "tt.dot_scaled", "ttng.warp_group_dot", "ttng.tc_gen5_mma", "ttng.tc_gen5_mma_scaled"})
"""Operations that multiply matrices."""
_DTYPES = {
    "f16": "float16",
    "bf16": "bfloat16",
    "f32": "float32",
    "f64": "float64",
    "i8": "int8",
    "f8E4M3FN": "float8_e4m3fn",
    "f8E4M3FNUZ": "float8_e4m3fnuz",
    "f8E5M2": "float8_e5m2",
    "f8E5M2FNUZ": "float8_e5m2fnuz",
    "e2m1": "float4_e2m1fn",
}

Site = tuple[object, ...]
"""What an operation shares with the copies that the compiler made of it: its kind and its place in the source."""


@dataclass(eq=False)
class Found:
    """An operation of interest, and where it stands."""

    operation: Operation
    depth: int
    """Loops around it."""
    loop: Operation | None
    """The innermost of them."""
    site: Site


@dataclass
class Collection:
    """The operations of a module that matter, in the order of the text."""

    accesses: list[Found] = field(default_factory=list)
    products: list[Found] = field(default_factory=list)
    loops: list[Found] = field(default_factory=list)


def site_of(operation: Operation, frames: tuple[Frame, ...]) -> Site:
    """What copies of one operation share; an operation without a known place is on its own."""
    return (operation.name, frames) if frames else (operation.name, id(operation))


def originals(found: Iterable[Found]) -> list[Found]:
    """One operation of each site, the deepest; the first of those that are equally deep."""
    best: dict[Site, Found] = {}
    for each in found:
        seen = best.get(each.site)
        if seen is None or each.depth > seen.depth:
            best[each.site] = each
    return list(best.values())


def read_loop(
    program: Program, accesses: AccessReader, collection: Collection, loop: Found, where: SourceLine | None
) -> Loop:
    """What one loop does.

    Args:
        program: the module.
        accesses: knows how much a load moves.
        collection: the module's accesses and products.
        loop: the loop.
        where: its line.
    """
    operation = loop.operation
    # Prologues of an inner loop stand in this one's body, but are no loads of its own.
    loads = [
        each
        for each in originals(collection.accesses)
        if each.loop is operation and ACCESSES[each.operation.name].kind is AccessKind.LOAD
    ]
    products = [each for each in originals(collection.products) if each.loop is operation]
    copies = _Copies(collection, operation)
    stages = None
    if loads:
        ahead = max((copies.before(product.site) for product in products), default=0)
        # The largest load decides: small ones, e.g. of scales, often stay where they are.
        largest = max(accesses.block_bytes(load.operation) for load in loads)
        stages = min(
            _stages(program, load.operation, copies.before(load.site) - ahead)
            for load in loads
            if accesses.block_bytes(load.operation) == largest
        )
    trips = _trip_count(operation)
    if trips is not None:
        # Iterations that the pipeliner took out of the loop.
        trips += max((copies.before(product.site) + copies.after(product.site) for product in products), default=0)
    return Loop(
        depth=loop.depth + 1,
        global_loads=len(loads),
        matrix_operations=len(products),
        stages=stages,
        trip_count=trips,
        where=where,
    )


class _Copies:
    """Counts the copies of what a loop's body holds, next to the loop."""

    def __init__(self, collection: Collection, loop: Operation) -> None:
        self._sites = {id(each.operation): each.site for each in (*collection.accesses, *collection.products)}
        regions = loop.parent.regions if loop.parent else []
        siblings = next((region.operations for region in regions if loop in region.operations), [loop])
        position = siblings.index(loop)
        # What lies beyond another loop belongs to that one.
        self._before = self._until_loop(reversed(siblings[:position]))
        self._after = self._until_loop(siblings[position + 1 :])

    def before(self, site: Site) -> int:
        """Copies between the loop before and this one."""
        return self._before.count(site)

    def after(self, site: Site) -> int:
        """Copies between this loop and the next."""
        return self._after.count(site)

    def _until_loop(self, operations: Iterable[Operation]) -> list[Site]:
        sites: list[Site] = []
        for operation in operations:
            if operation.name in LOOPS:
                break
            # Whether an iteration outside the loop happens at all may depend on a condition.
            inner = operation.walk() if operation.name == "scf.if" else [operation]
            sites += [self._sites[id(each)] for each in inner if id(each) in self._sites]
        return sites


def _stages(program: Program, load: Operation, distance: int) -> int:
    """Iterations in flight for one load.

    Args:
        program: the module.
        load: the load in the loop's body.
        distance: how many iterations the load is ahead of its use, counted by copies before the loop.
    """
    if distance > 0:
        return distance + 1
    buffers = max((_buffers(program, operand) for operand in load.operands), default=1)
    if buffers > 1:
        # Loads in a warp of their own run ahead by as many buffers as there are.
        return buffers
    users = [user for result in load.results for user in program.users(result)]
    # What is only handed to the next iteration is waited for there.
    return 2 if users and all(user.name == "scf.yield" for user in users) else 1


def _buffers(program: Program, value: Value | None) -> int:
    """How many buffers the allocation has of which a piece of shared memory is one."""
    maker = program.maker(value)
    if maker is None or maker.name != "ttg.memdesc_index" or not maker.types[0]:
        return 1
    shape = parse_type(maker.types[0][0]).shape
    return shape[0] if shape else 1


def _trip_count(loop: Operation) -> int | None:
    if loop.name != "scf.for" or len(loop.operands) < 3:
        return None
    start, stop, step = (constant_value(operand) for operand in loop.operands[:3])
    if start is None or stop is None or not step:
        return None
    return max(-(-(stop - start) // step), 0)


def read_matrix_operation(program: Program, operation: Operation, where: SourceLine | None) -> MatrixOperation:
    """What one matrix multiplication does.

    Args:
        program: the module.
        operation: one of `MATRIX`.
        where: its line.
    """
    before, after = operation.types
    # Where there is no result, the accumulator is the third operand.
    inputs = [parse_type(written) for written in before]
    left = inputs[0] if inputs else parse_type("")
    results = [parse_type(written) for written in after] if operation.results else inputs[2:]
    result = results[0] if results else parse_type("")
    unit = _unit(program, operation, result)
    shape = None
    if len(left.shape) >= 2 and len(result.shape) >= 2:
        shape = (result.shape[-2], result.shape[-1], _depth(program, operation, left))
    return MatrixOperation(unit=unit, input_dtype=_dtype(operation, left, unit), shape=shape, where=where)


def _unit(program: Program, operation: Operation, result: Shaped) -> str:
    if operation.name == "ttng.warp_group_dot":
        return "wgmma"
    if operation.name.startswith("ttng.tc_gen5"):
        return "tcgen05"
    encoding = program.module.encoding(result.encoding)
    if encoding is None:
        return "unknown"
    if encoding.name == "nvidia_mma":
        return "wgmma" if encoding.fields.get("versionMajor") == 3 else "mma"
    return {"amd_mfma": "mfma", "amd_wmma": "wmma"}.get(encoding.name, "fma")


def _depth(program: Program, operation: Operation, left: Shaped) -> int:
    """Columns of the left operand, as the source has them."""
    depth = left.shape[-1]
    load = program.maker(operation.operand(0))
    piece = program.maker(load.operand(0)) if load is not None and load.name == "ttg.local_load" else None
    # The prefetcher cuts a product along its depth, so that it can load ahead by a piece.
    if piece is not None and piece.name == "ttg.memdesc_subslice" and piece.types[0]:
        whole = parse_type(piece.types[0][0])
        depth = whole.shape[-1] if len(whole.shape) == len(left.shape) else depth
    # Two numbers of four bits share a byte.
    return depth * 2 if left.element == "i8" and "lhs = e2m1" in operation.text else depth


def _dtype(operation: Operation, left: Shaped, unit: str) -> str:
    if left.element == "i8" and "lhs = e2m1" in operation.text:
        return _DTYPES["e2m1"]
    if left.element == "f32" and unit != "fma":
        # `InputPrecision` 0 is TF32; tcgen05 has no other way for 32-bit floats.
        precision = operation.attributes.get("inputPrecision")
        if unit == "tcgen05" or precision == 0 or "inputPrecision = tf32" in operation.text:
            return "tf32"
    return _DTYPES.get(left.element, left.element)
