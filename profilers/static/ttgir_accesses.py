"""Accesses to device memory in Triton's GPU dialect: what one warp moves with one instruction."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from kernelevolve.profilers.report import AccessKind, GlobalAccess, SourceLine
from kernelevolve.profilers.static.ttgir_addresses import UNALIGNED, Evaluator, Sample, combined, power_of_two
from kernelevolve.profilers.static.ttgir_attributes import Shaped, parse_type
from kernelevolve.profilers.static.ttgir_layouts import linear_layout
from kernelevolve.profilers.static.ttgir_parser import Operation, Value
from kernelevolve.profilers.static.ttgir_program import Program, is_uniform

_SECTOR_BYTES = 32
_VECTOR_BYTES = 16
"""Widest access of one lane: `ld.global.v4.b32`, `global_load_dwordx4`."""
_MOST_COPIES = 8
"""Bounds the work for layouts in which many lanes hold the same."""


@dataclass(frozen=True)
class Form:
    """How an operation accesses memory, and how it is written."""

    kind: AccessKind
    how: str
    """`pointers`: an operand holds pointers; `buffer`: `%pointer[%offsets]`; `descriptor`: a block, by TMA."""
    asynchronous: bool = False
    pointers: int = 0
    """Position of the pointers among the operands."""
    mask: int | None = None
    """Position of the mask among the operands, if it is not written behind a word or an offset."""


_LOAD, _STORE, _ATOMIC = AccessKind.LOAD, AccessKind.STORE, AccessKind.ATOMIC
ACCESSES = {
    "tt.load": Form(_LOAD, "pointers", mask=1),
    "tt.store": Form(_STORE, "pointers", mask=2),
    "tt.atomic_rmw": Form(_ATOMIC, "pointers", mask=2),
    "tt.atomic_cas": Form(_ATOMIC, "pointers"),
    "tt.atomic_load": Form(_ATOMIC, "pointers"),
    "tt.atomic_store": Form(_ATOMIC, "pointers"),
    "ttg.async_copy_global_to_local": Form(_LOAD, "pointers", asynchronous=True),
    "amdg.async_copy_local_to_global": Form(_STORE, "pointers", asynchronous=True, pointers=1),
    "amdg.buffer_load": Form(_LOAD, "buffer"),
    "amdg.buffer_load_to_local": Form(_LOAD, "buffer", asynchronous=True),
    "amdg.buffer_store": Form(_STORE, "buffer"),
    "amdg.buffer_atomic_rmw": Form(_ATOMIC, "buffer"),
    "amdg.buffer_atomic_cas": Form(_ATOMIC, "buffer"),
    "tt.descriptor_load": Form(_LOAD, "descriptor", asynchronous=True),
    "tt.descriptor_gather": Form(_LOAD, "descriptor", asynchronous=True),
    "tt.descriptor_store": Form(_STORE, "descriptor", asynchronous=True),
    "tt.descriptor_scatter": Form(_STORE, "descriptor", asynchronous=True),
    "tt.descriptor_reduce": Form(_ATOMIC, "descriptor", asynchronous=True),
    "ttng.async_tma_copy_global_to_local": Form(_LOAD, "descriptor", asynchronous=True),
    "ttng.async_tma_gather": Form(_LOAD, "descriptor", asynchronous=True),
    "ttng.async_tma_copy_local_to_global": Form(_STORE, "descriptor", asynchronous=True),
    "ttng.async_tma_scatter": Form(_STORE, "descriptor", asynchronous=True),
    "ttng.async_tma_reduce": Form(_ATOMIC, "descriptor", asynchronous=True),
    "amdg.async_tdm_copy_global_to_local": Form(_LOAD, "descriptor", asynchronous=True),
    "amdg.async_tdm_copy_local_to_global": Form(_STORE, "descriptor", asynchronous=True),
    "amdg.async_tdm_gather": Form(_LOAD, "descriptor", asynchronous=True),
    "amdg.async_tdm_scatter": Form(_STORE, "descriptor", asynchronous=True),
}
"""Name → form of every operation that touches device memory."""


class AccessReader:
    """Reads accesses of one module."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.unknown_layouts: set[str] = set()
        """Layouts that are not known here, by name."""
        self.unfollowed = 0
        """Accesses whose addresses could not be followed."""
        # LLVM's AMD back end merges neighbouring accesses, aligned or not, where no mask divides them and it sees that
        # they are neighbours.
        self._merges = program.target.startswith("hip:")
        self._aligned = Evaluator(program, aligned=True)
        self._unaligned = Evaluator(program, aligned=False)

    def read(self, operation: Operation, depth: int, where: SourceLine | None) -> GlobalAccess:
        """What one operation does.

        Args:
            operation: one of `ACCESSES`.
            depth: loops around it.
            where: its line.
        """
        form = ACCESSES[operation.name]
        if form.how == "descriptor":
            return self._descriptor(operation, form, depth, where)
        pointers, offsets, mask = self._operands(operation, form)
        tensor = operation.tensor
        element_bytes = _element_bytes(operation, form, tensor)
        access = GlobalAccess(
            kind=form.kind,
            element_bytes=element_bytes,
            masked=not is_uniform(self.program, mask),
            asynchronous=form.asynchronous,
            loop_depth=depth,
            bytes_per_block=element_bytes * int(np.prod(tensor.shape)) if tensor else element_bytes,
            pointer=self.program.pointer(pointers),
            where=where,
        )
        if tensor is None:
            # One lane moves one element.
            return access.model_copy(update={"vector_bytes": element_bytes, "stride_bytes": 0, "sector_use": 1.0})
        if element_bytes == 0:
            return access
        return access.model_copy(update=self._addresses(form, tensor, element_bytes, pointers, offsets, mask))

    def block_bytes(self, operation: Operation) -> int:
        """Bytes that one execution touches; 0 if unknown."""
        form = ACCESSES[operation.name]
        tensor = _block(operation) if form.how == "descriptor" else operation.tensor
        return int(np.prod(tensor.shape)) * _element_bytes(operation, form, tensor) if tensor else 0

    def _descriptor(self, operation: Operation, form: Form, depth: int, where: SourceLine | None) -> GlobalAccess:
        block = _block(operation)
        return GlobalAccess(
            kind=form.kind,
            element_bytes=block.element_bytes if block else 0,
            # The unit moves whole rows of the block, whatever threads do.
            sector_use=1.0,
            indirect=any(self.program.loads_before(operand) for operand in operation.operands[1:])
            and operation.name.endswith(("gather", "scatter")),
            asynchronous=form.asynchronous,
            loop_depth=depth,
            bytes_per_block=int(np.prod(block.shape)) * block.element_bytes if block else None,
            pointer=self.program.pointer(operation.operand(0)),
            where=where,
        )

    def _operands(self, operation: Operation, form: Form) -> tuple[Value | None, Value | None, Value | None]:
        """Pointers, offsets and mask."""
        named = dict(zip(operation.uses, operation.operands, strict=True))
        mask = operation.operand_after("mask")
        if form.how == "buffer":
            match = re.search(r"(%[^\s,\[]+)\[(%[^\s,\]]+)\](?:, (%[^\s,]+))?", operation.text)
            base, offsets, written = match.groups() if match else ("", "", None)
            return named.get(base), named.get(offsets), mask or (named.get(written) if written else None)
        if mask is None and form.mask is not None:
            mask = operation.operand(form.mask)
        return operation.operand(form.pointers), None, mask

    def _addresses(
        self,
        form: Form,
        tensor: Shaped,
        element_bytes: int,
        pointers: Value | None,
        offsets: Value | None,
        mask: Value | None,
    ) -> dict[str, object]:
        """The fields of an access that depend on where its lanes point."""
        indirect = self.program.loads_before(offsets or pointers)
        layout = linear_layout(self.program.module, tensor.encoding, tensor.shape)
        if layout is None:
            encoding = self.program.module.encoding(tensor.encoding)
            self.unknown_layouts.add(encoding.name if encoding else tensor.encoding or "none")
            return {"indirect": indirect}
        # Registers that one access could hold. Where it cannot be that wide, each access finds what the one before it
        # brought still in the cache, so sectors count for all of them together. Lanes that hold the same leave room for
        # more.
        widest = max(_VECTOR_BYTES // element_bytes, 1)
        copies = min(1 << sum(not any(basis) for basis in layout.lane), _MOST_COPIES)
        registers = min(1 << len(layout.register), widest * copies)
        coordinates = layout.coordinates(registers)

        def sample(evaluator: Evaluator) -> Sample:
            found = evaluator.sample(pointers, () if offsets else coordinates)
            if offsets is None or found.numbers is None:
                return found
            offset = evaluator.sample(offsets, coordinates)
            if offset.numbers is None:
                return offset
            return combined([found, offset], found.numbers + offset.numbers * element_bytes)

        aligned, unaligned = sample(self._aligned), sample(self._unaligned)
        if aligned.numbers is None or unaligned.numbers is None:
            self.unfollowed += 1
            return {"indirect": indirect}
        shape = coordinates[0].shape
        best, worst = (np.broadcast_to(found.numbers, shape) for found in (aligned, unaligned))
        run = min(_run(best, element_bytes), widest)
        vector = 1
        if form.kind is not AccessKind.ATOMIC:
            vector = min(run, unaligned.together)
            if mask is not None or not self._merges or unaligned.together < UNALIGNED:
                # Both sets of stand-ins count: what is aligned for all of a kind is so for both.
                starts = power_of_two(np.concatenate([best[:, 0], worst[:, 0]])) // element_bytes
                alike = (each.mask_run(mask, coordinates) for each in (self._aligned, self._unaligned))
                vector = max(min(vector, starts, *alike), 1)
        stride = _stride(best)
        sector_use = _sector_use(best, element_bytes)
        return {
            "vector_bytes": vector * element_bytes,
            "stride_bytes": stride if stride == _stride(worst) else None,
            # Loaded indices were given values far apart: if sectors are full even so, they are whatever is loaded.
            "sector_use": None if aligned.scattered and sector_use < 1.0 else sector_use,
            "indirect": aligned.indirect,
        }


def _element_bytes(operation: Operation, form: Form, tensor: Shaped | None) -> int:
    before, after = operation.types
    if form.how == "buffer" and after:
        # The first tensor may be that of the offsets; what is moved comes last.
        return parse_type(after[-1]).element_bytes
    if tensor is not None:
        return tensor.element_bytes
    return parse_type(before[0]).element_bytes if before else 0


def _block(operation: Operation) -> Shaped | None:
    """What a descriptor moves: the largest of the types, the others being barriers and indices."""
    before, after = operation.types
    shaped = [parse_type(written) for written in (*after, *before)]
    return max((each for each in shaped if each.shape), key=lambda each: int(np.prod(each.shape)), default=None)


def _run(addresses: np.ndarray, element_bytes: int) -> int:
    """How many of a lane's first registers lie side by side in memory; a power of two."""
    steps: np.ndarray = np.arange(addresses.shape[1]) * element_bytes
    together = (addresses == addresses[:, :1] + steps).all(axis=0)
    count = int(np.argmin(together)) if not together.all() else len(together)
    return 1 << (count.bit_length() - 1)


def _stride(addresses: np.ndarray) -> int:
    """The distance between neighbouring lanes that occurs most."""
    values, counts = np.unique(np.abs(np.diff(addresses[:, 0])), return_counts=True)
    return int(values[np.argmax(counts)]) if len(values) else 0


def _sector_use(addresses: np.ndarray, element_bytes: int) -> float:
    """Sectors that the bytes would fill over sectors that they lie in. Bytes that lanes share count once."""
    starts = np.unique(addresses)
    sectors = np.unique(np.concatenate([starts // _SECTOR_BYTES, (starts + element_bytes - 1) // _SECTOR_BYTES]))
    return float(-(-len(starts) * element_bytes // _SECTOR_BYTES) / len(sectors))
