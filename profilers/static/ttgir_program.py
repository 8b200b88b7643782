"""How the values of a module hang together: what a loop starts with, what a caller passes, what a branch yields."""

from __future__ import annotations

from kernelevolve.profilers.static.ttgir_attributes import parse_attribute
from kernelevolve.profilers.static.ttgir_parser import Module, Operation, Value

LOOPS = frozenset({"scf.for", "scf.while"})
"""Operations that are loops."""
SAME_ELEMENTS = frozenset({
    "ttg.convert_layout", "arith.extsi", "arith.extui", "arith.trunci", "arith.index_cast", "arith.index_castui",
    "arith.bitcast", "tt.bitcast", "tt.ptr_to_int", "tt.int_to_ptr", "amdg.in_thread_transpose",
})  # fmt: skip
"""Operations whose result holds the numbers of their operand, each at the same indices."""
_LOADS = frozenset({
    "tt.load", "tt.descriptor_load", "tt.descriptor_gather", "tt.gather", "tt.atomic_rmw", "tt.atomic_cas",
    "ttg.local_load", "ttg.local_gather", "amdg.buffer_load",
})  # fmt: skip
_MOST_STEPS = 10_000


class Program:
    """A module with what links its values."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.functions: dict[str, Operation] = {}
        """Name → function."""
        self.calls: dict[str, list[Operation]] = {}
        """Name of a function → its calls."""
        self._users: dict[int, list[Operation]] = {}
        for operation in module.walk():
            if operation.name == "tt.func":
                self.functions[operation.symbol] = operation
            elif operation.name == "tt.call":
                self.calls.setdefault(operation.symbol, []).append(operation)
            for value in operation.operands:
                if value is not None:
                    self._users.setdefault(id(value), []).append(operation)

    @property
    def target(self) -> str:
        """What it was compiled for, e.g. `cuda:90`, `hip:gfx950`; empty if it does not say."""
        outermost = self.module.operations[0].attributes if self.module.operations else {}
        return str(outermost.get("ttg.target", ""))

    def users(self, value: Value) -> list[Operation]:
        """The operations that use a value."""
        return self._users.get(id(value), [])

    def source(self, value: Value) -> Value | None:
        """The value that one stands for; None for one that is computed, or that nothing is known of.

        Arguments and results of loops stand for what the first iteration starts with, results of branches for what the
        first branch yields, arguments of functions for what the first call passes.
        """
        owner, index = value.owner, value.index
        if value.region is None:
            if owner.name == "scf.for":
                return owner.operand(index + 3)
            if owner.name == "scf.while":
                return _handed_on(owner, 0, "scf.condition", index + 1)
            if owner.name == "scf.if":
                return _handed_on(owner, 0, "scf.yield", index)
            function = self.functions.get(owner.symbol) if owner.name == "tt.call" else None
            return _handed_on(function, 0, "tt.return", index) if function else None
        if owner.name == "scf.for":
            return owner.operand(index + 2) if index > 0 else None
        if owner.name == "scf.while":
            return owner.operand(index) if value.region == 0 else _handed_on(owner, 0, "scf.condition", index + 1)
        if owner.name == "tt.func":
            calls = self.calls.get(owner.symbol)
            return calls[0].operand(index) if calls else None
        return owner.operand(index) if owner.name == "ttg.warp_specialize" else None

    def origin(self, value: Value | None) -> Value | None:
        """The value that is computed, or that nothing is known of, at the end of all that a value stands for."""
        for _ in range(_MOST_STEPS):
            source = self.source(value) if value is not None else None
            if source is None:
                return value
            value = source
        return None

    def maker(self, value: Value | None) -> Operation | None:
        """The operation that computes what a value stands for; None if that is no operation."""
        origin = self.origin(value)
        return origin.owner if origin is not None and origin.region is None else None

    def pointer(self, value: Value | None) -> str:
        """Name of the function's argument that a pointer or descriptor is made of; empty if that cannot be followed."""
        for _ in range(_MOST_STEPS):
            origin = self.origin(value)
            if origin is None:
                return ""
            if origin.region is not None:
                return origin.name if origin.owner.name == "tt.func" else ""
            value = self._base(origin)
        return ""

    def loads_before(self, value: Value | None) -> bool:
        """Whether a value depends on tensors that were loaded, in any iteration."""
        seen: set[int] = set()
        pending = [value]
        while pending:
            current = pending.pop()
            if current is None or id(current) in seen:
                continue
            seen.add(id(current))
            source = self.source(current)
            if source is not None:
                pending += [source, self._carried(current)]
            elif current.region is None:
                if is_load(current.owner) and current.owner.shape:
                    return True
                pending += current.owner.operands
        return False

    def changes_by_loads(self, value: Value) -> bool:
        """Whether a loop puts something in the place of a value that depends on tensors that were loaded."""
        carried = self._carried(value)
        return carried is not None and self.loads_before(carried)

    def _carried(self, value: Value) -> Value | None:
        """What an iteration hands to the next one in the place of a value."""
        owner = value.owner
        if owner.name == "scf.for":
            return _handed_on(owner, 0, "scf.yield", value.index if value.region is None else value.index - 1)
        if owner.name == "scf.while":
            # What the second region yields are the first one's arguments, which its condition may hand on.
            inner = value if value.region == 0 else _handed_on(owner, 0, "scf.condition", value.index + 1)
            if inner is not None and inner.owner is owner and inner.region == 0:
                return _handed_on(owner, 1, "scf.yield", inner.index)
        return None

    def _base(self, value: Value) -> Value | None:
        owner = value.owner
        if owner.name == "ttg.global_scratch_alloc":
            # A descriptor that the kernel makes: its fields are written into scratch memory.
            for user in self.users(value):
                if user.name == "ttng.tensormap_create":
                    return user.operand(1)
        return owner.operand(1 if owner.name == "arith.select" else 0)


def is_load(operation: Operation) -> bool:
    """Whether the results are what lies in memory."""
    return operation.name in _LOADS


def constant_number(operation: Operation) -> int | None:
    """The integer of an `arith.constant`, repeated over a tensor or not; None for other constants."""
    value = parse_attribute(operation.text)
    return int(value) if isinstance(value, int) else None


def constant_value(value: Value | None) -> int | None:
    """The number that a value always is; None if it is no constant."""
    # What goes around a loop or comes out of a branch has an owner that is in neither list.
    while value is not None and value.region is None:
        owner = value.owner
        if owner.name == "arith.constant":
            return constant_number(owner)
        if owner.name not in SAME_ELEMENTS and owner.name not in ("tt.splat", "tt.broadcast", "tt.expand_dims"):
            return None
        value = owner.operand(0)
    return None


def is_uniform(program: Program, mask: Value | None) -> bool:
    """Whether a mask is the same for all elements, e.g. the one with which the pipeliner skips the last iterations."""
    if mask is None:
        return True
    owner = program.maker(mask)
    if owner is None:
        return False
    if owner.name == "tt.splat":
        return True
    if owner.name == "arith.constant":
        return constant_number(owner) is not None
    if owner.name in SAME_ELEMENTS or owner.name in ("arith.andi", "arith.ori", "tt.broadcast", "tt.expand_dims"):
        return all(is_uniform(program, operand) for operand in owner.operands)
    return False


def _handed_on(operation: Operation, region: int, terminator: str, index: int) -> Value | None:
    """An operand of the operation that ends a region."""
    if region < len(operation.regions):
        for inner in reversed(operation.regions[region].operations):
            if inner.name == terminator:
                return inner.operand(index)
    return None
