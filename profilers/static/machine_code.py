"""What the machine code of one kernel says, whatever its instruction set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter

from kernelevolve.profilers.report import InstructionMix, SourceLine

_MOST_UNKNOWN = 8


class Role(StrEnum):
    """What an instruction does. Each but `OTHER` is the name of its count in `InstructionMix`."""

    MATRIX = "matrix"
    FLOAT = "float"
    HALF = "half"
    SPECIAL = "special"
    INTEGER = "integer"
    CONVERSION = "conversion"
    GLOBAL_MEMORY = "global_memory"
    SHARED_MEMORY = "shared_memory"
    LOCAL_MEMORY = "local_memory"
    SHUFFLE = "shuffle"
    BARRIER = "barrier"
    CONTROL = "control"
    OTHER = "other"
    """Moves, selects, constants and kernel arguments, waits for data, fences, cache control: only in the total."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What an instruction set says of one opcode."""

    role: Role
    """What it does."""
    atomic: bool = False
    """Whether it is an atomic on device memory."""
    vector_bytes: int | None = None
    """Bytes that one thread moves; only for loads and stores of device memory that have a width for each thread."""
    asynchronous: bool = False
    """Whether it moves data between device memory and shared memory without passing through registers."""
    matrix: str = ""
    """Name under which a matrix instruction is counted."""


@dataclass(slots=True)
class Instruction:
    """One machine instruction in its place."""

    operation: Operation
    """What it does."""
    line: int | None
    """Line of the candidate that it comes from, from 1; None if it comes from none."""
    targets: tuple[str, ...] = ()
    """Labels that it may jump to."""
    falls_through: bool = True
    """Whether the next instruction may follow it."""
    call: str = ""
    """Label of the subroutine that it calls."""
    division: bool = False
    """Whether it stands for one integer division by an unknown value."""


@dataclass(slots=True)
class Listing:
    """The instructions of one kernel, in the order of their addresses, without padding."""

    instructions: list[Instruction] = field(default_factory=list)
    """All of them, subroutines included."""
    labels: dict[str, int] = field(default_factory=dict)
    """Label → index of the instruction that follows it."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Opcodes that the reader does not know → how often."""


@dataclass(frozen=True)
class MachineFacts:
    """What the machine code of one kernel says. All counts are static: a loop's body counts once."""

    mix: InstructionMix = field(default_factory=InstructionMix)
    """Instructions of the whole kernel."""
    loop_mix: InstructionMix = field(default_factory=InstructionMix)
    """Instructions inside any loop."""
    spill_lines: tuple[SourceLine, ...] = ()
    """Lines of the candidate whose code touches local memory, most frequent first."""
    barrier_lines: tuple[SourceLine, ...] = ()
    """Lines of the candidate whose code waits for the whole block, most frequent first."""
    division_lines: tuple[SourceLine, ...] = ()
    """Lines of the candidate with an integer division by an unknown value, most frequent first."""
    global_vectors: dict[int, int] = field(default_factory=dict)
    """Bytes that one thread moves with one load or store of device memory → how many such instructions, narrowest
    first. Transfers of whole tiles (TMA) have no width for each thread and are not here."""
    matrix_instructions: dict[str, int] = field(default_factory=dict)
    """Opcode of matrix instructions → how many: `HGMMA`, `HMMA`, `v_mfma_f32_32x32x16_bf16`."""
    asynchronous: int = 0
    """Instructions that copy between device memory and shared memory without passing through registers: `LDGSTS`,
    `UBLKCP`, `UTMALDG`, AMD's loads with `lds`."""
    divisions: int = 0
    """Integer divisions by unknown values. The compiler computes one reciprocal for each divisor; divisions and
    remainders that share it count once."""
    notes: tuple[str, ...] = ()
    """What a reader should know, e.g. opcodes that are not known."""


def summarize(listing: Listing, source: str, notes: Iterable[str] = ()) -> MachineFacts:
    """Count what a kernel's instructions do.

    Args:
        listing: the kernel's instructions.
        source: the candidate's text, for the lines.
        notes: what the reader found worth saying.
    """
    instructions = listing.instructions
    looped = [instruction for instruction, inside in zip(instructions, inside_loops(listing), strict=True) if inside]
    operations = Counter(instruction.operation for instruction in instructions)
    vectors: Counter[int] = Counter()
    matrix: Counter[str] = Counter()
    for operation, count in operations.items():
        if operation.vector_bytes is not None:
            vectors[operation.vector_bytes] += count
        if operation.matrix:
            matrix[operation.matrix] += count
    notes = list(notes)
    if listing.unknown:
        named = ", ".join(f"{opcode} ({count})" for opcode, count in listing.unknown.most_common(_MOST_UNKNOWN))
        more = len(listing.unknown) - _MOST_UNKNOWN
        notes.append(f"Opcodes that are not known: {named}" + (f" and {more} more" if more > 0 else "") + ".")
    return MachineFacts(
        mix=_mix(instructions),
        loop_mix=_mix(looped),
        spill_lines=_lines((entry for entry in instructions if entry.operation.role is Role.LOCAL_MEMORY), source),
        barrier_lines=_lines((entry for entry in instructions if entry.operation.role is Role.BARRIER), source),
        division_lines=_lines((entry for entry in instructions if entry.division), source),
        global_vectors=dict(sorted(vectors.items())),
        matrix_instructions=dict(matrix.most_common()),
        asynchronous=sum(count for operation, count in operations.items() if operation.asynchronous),
        divisions=sum(entry.division for entry in instructions),
        notes=tuple(notes),
    )


def inside_loops(listing: Listing) -> list[bool]:
    """For each instruction, whether it is in a loop.

    A loop is a cycle of the control-flow graph. The order of addresses would not do: compilers put rare paths behind
    the end of the kernel, and those jump back without being a loop. A subroutine is in a loop if it is called from one.
    """
    blocks = basic_blocks(listing)
    number = {block.start: index for index, block in enumerate(blocks)}
    successors: list[list[int]] = []
    calls: list[tuple[int, int]] = []
    for index, block in enumerate(blocks):
        last = listing.instructions[block[-1]]
        follow = [number[start] for start in resolve(listing, last.targets)]
        if last.falls_through and index + 1 < len(blocks):
            follow.append(index + 1)
        successors.append(follow)
        called = [listing.instructions[place].call for place in block]
        calls += [(index, number[start]) for label in called if label for start in resolve(listing, (label,))]
    looping = _blocks_on_cycles(successors)
    # A subroutine may call another one, so marking goes on until nothing changes.
    before = -1
    while len(looping) > before:
        before = len(looping)
        looping.update(_depth_first(successors, [target for caller, target in calls if caller in looping]))
    return [index in looping for index, block in enumerate(blocks) for _ in block]


def basic_blocks(listing: Listing) -> list[range]:
    """Indices of the instructions of each basic block, in the order of their addresses."""
    count = len(listing.instructions)
    starts = {0}
    for index, entry in enumerate(listing.instructions):
        if entry.targets or not entry.falls_through:
            starts.update(resolve(listing, entry.targets))
            starts.add(index + 1)
        if entry.call:
            starts.update(resolve(listing, (entry.call,)))
    ordered = sorted(start for start in starts if start < count)
    return [range(start, end) for start, end in zip(ordered, [*ordered[1:], count], strict=True)] if count else []


def resolve(listing: Listing, labels: tuple[str, ...]) -> list[int]:
    """Indices of the instructions at labels; a label outside the kernel, or at its very end, has none."""
    found = [listing.labels.get(label, len(listing.instructions)) for label in labels]
    return [index for index in found if index < len(listing.instructions)]


def _blocks_on_cycles(successors: list[list[int]]) -> set[int]:
    """Blocks that lie on a cycle: strongly connected components (Kosaraju and Sharir) of more than one block, and
    blocks that follow themselves."""
    order = _depth_first(successors, range(len(successors)))
    predecessors: list[list[int]] = [[] for _ in successors]
    for block, followers in enumerate(successors):
        for follower in followers:
            predecessors[follower].append(block)
    found: set[int] = set()
    seen: set[int] = set()
    for root in reversed(order):
        if root in seen:
            continue
        component = _depth_first(predecessors, [root], seen)
        if len(component) > 1 or root in successors[root]:
            found.update(component)
    return found


def _depth_first(successors: list[list[int]], roots: Iterable[int], seen: set[int] | None = None) -> list[int]:
    """Blocks that can be reached from the roots and were not seen before, in the order in which they are left."""
    seen = set() if seen is None else seen
    order = []
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        path = [(root, iter(successors[root]))]
        while path:
            block, followers = path[-1]
            for follower in followers:
                if follower not in seen:
                    seen.add(follower)
                    path.append((follower, iter(successors[follower])))
                    break
            else:
                order.append(block)
                path.pop()
    return order


def _mix(instructions: list[Instruction]) -> InstructionMix:
    roles = Counter(entry.operation.role for entry in instructions)
    counts = {role.value: roles[role] for role in Role if role is not Role.OTHER}
    return InstructionMix(
        total=len(instructions),
        atomic=sum(entry.operation.atomic for entry in instructions),
        division=sum(entry.division for entry in instructions),
        **counts,
    )


def _lines(instructions: Iterable[Instruction], source: str) -> tuple[SourceLine, ...]:
    """Lines of the candidate that instructions come from, most frequent first."""
    text = source.splitlines()
    counts = Counter(entry.line for entry in instructions if entry.line is not None)
    ranked = sorted(sorted(counts.items()), key=itemgetter(1), reverse=True)
    return tuple(SourceLine(line=line, text=text[line - 1].strip() if line <= len(text) else "") for line, _ in ranked)
