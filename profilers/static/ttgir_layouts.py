"""Triton's layouts: which element of a tensor each register of each lane of a warp holds.

Every layout is linear over bits (Zhou et al., "Linear Layouts", arXiv 2505.23819; Triton's
`LinearLayoutConversions.cpp`):
the coordinates are the exclusive or of one basis vector for each bit of the register, lane and warp number that is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from kernelevolve.profilers.static.ttgir_attributes import Encoding
from kernelevolve.profilers.static.ttgir_parser import Module

Basis = tuple[int, ...]


@dataclass(frozen=True)
class LinearLayout:
    """Basis vectors, each a coordinate for every dimension of the tensor; the lowest bit comes first."""

    register: tuple[Basis, ...]
    lane: tuple[Basis, ...]
    warp: tuple[Basis, ...] | None
    """None where the order of warps is not known."""

    def coordinates(self, registers: int) -> tuple[np.ndarray, ...]:
        """Where the first registers of all lanes of warp 0 lie.

        Returns:
            For each dimension an int64 array of shape (lanes, registers).
        """
        dimensions = len(self.lane[0])
        return tuple(
            _combine([basis[axis] for basis in self.lane], 1 << len(self.lane))[:, None]
            ^ _combine([basis[axis] for basis in self.register], registers)[None, :]
            for axis in range(dimensions)
        )


def linear_layout(module: Module, written: object, shape: tuple[int, ...]) -> LinearLayout | None:
    """The layout of a tensor.

    Args:
        module: where aliases are looked up.
        written: the layout as it stands in the tensor's type.
        shape: the tensor's shape.

    Returns:
        None for a layout that is not known here, e.g. of dot operands.
    """
    encoding = module.encoding(written)
    if encoding is None:
        return None
    build = _LAYOUTS.get(encoding.name)
    layout = build(module, encoding, shape) if build is not None else None
    if layout is None or not layout.lane:
        return None

    # Where the layout is larger than the tensor, lanes and warps hold copies; registers are not doubled.
    def wrap(bases: tuple[Basis, ...]) -> tuple[Basis, ...]:
        return tuple(tuple(at if at < size else 0 for at, size in zip(basis, shape, strict=True)) for basis in bases)

    register = tuple(basis for basis in wrap(layout.register) if any(basis))
    return LinearLayout(register, wrap(layout.lane), None if layout.warp is None else wrap(layout.warp))


def needs_shared_memory(module: Module, shape: tuple[int, ...], before: str, after: str) -> bool:
    """Whether a tensor must go through shared memory to get from one layout to another.

    Registers of a lane are renamed and lanes of a warp shuffle; only what changes warps needs shared memory. Where a
    layout is not known, it does, unless it is the first operand of a product in the layout of a product's result.

    Args:
        module: where aliases are looked up.
        shape: the tensor's shape.
        before: the layout that it has, as written.
        after: the layout that it gets.
    """
    first, second = (linear_layout(module, written, shape) for written in (before, after))
    if first is not None and second is not None and first.warp is not None and second.warp is not None:
        return first.warp != second.warp
    target = module.encoding(after)
    if target is not None and target.name == "dot_op" and target.fields.get("opIdx") == 0:
        return module.encoding(target.fields.get("parent")) != module.encoding(before)
    return module.encoding(before) != target


def _combine(bases: list[int], count: int) -> np.ndarray:
    numbers: np.ndarray = np.arange(count, dtype=np.int64)
    result: np.ndarray = np.zeros(count, dtype=np.int64)
    for bit, basis in enumerate(bases):
        result ^= np.where((numbers >> bit) & 1, basis, 0)
    return result


class _Tile:
    """A tile that grows: each step lays copies of what is there side by side along a dimension."""

    def __init__(self, dimensions: int) -> None:
        self.size = [1] * dimensions

    def grow(self, axis: int, copies: int) -> tuple[Basis, ...]:
        """The basis vectors of `copies` (a power of two) along an axis."""
        bases = []
        for _ in range(copies.bit_length() - 1):
            bases.append(tuple(self.size[axis] if at == axis else 0 for at in range(len(self.size))))
            self.size[axis] *= 2
        return tuple(bases)

    def grow_all(self, copies: list[int], order: list[int]) -> tuple[Basis, ...]:
        """The basis vectors of copies along every axis, the fastest axis first."""
        return tuple(basis for axis in order for basis in self.grow(axis, copies[axis]))


def _blocked(module: Module, encoding: Encoding, shape: tuple[int, ...]) -> LinearLayout | None:
    per_thread, per_warp, per_block, order = (
        _integers(encoding, name) for name in ("sizePerThread", "threadsPerWarp", "warpsPerCTA", "order")
    )
    if not len(per_thread) == len(per_warp) == len(per_block) == len(order) == len(shape):
        return None
    tile = _Tile(len(shape))
    register, lane, warp = (tile.grow_all(sizes, order) for sizes in (per_thread, per_warp, per_block))
    return LinearLayout(register, lane, warp)


def _linear(module: Module, encoding: Encoding, shape: tuple[int, ...]) -> LinearLayout | None:
    def bases(name: str) -> tuple[Basis, ...]:
        return tuple(tuple(basis) for basis in cast("list[list[int]]", encoding.fields.get(name, [])))

    layout = LinearLayout(bases("register"), bases("lane"), bases("warp"))
    return layout if all(len(basis) == len(shape) for basis in layout.lane) else None


def _slice(module: Module, encoding: Encoding, shape: tuple[int, ...]) -> LinearLayout | None:
    axis = encoding.fields.get("dim")
    if not isinstance(axis, int):
        return None
    parent = linear_layout(module, encoding.fields.get("parent"), (*shape[:axis], 1, *shape[axis:]))
    if parent is None:
        return None

    def drop(bases: tuple[Basis, ...]) -> tuple[Basis, ...]:
        return tuple((*basis[:axis], *basis[axis + 1 :]) for basis in bases)

    return LinearLayout(drop(parent.register), drop(parent.lane), None if parent.warp is None else drop(parent.warp))


def _nvidia_mma(module: Module, encoding: Encoding, shape: tuple[int, ...]) -> LinearLayout | None:
    """Accumulators of mma.m16n8 and wgmma (PTX ISA, "Matrix fragments for mma.m16n8k16")."""
    warps, instruction = _integers(encoding, "warpsPerCTA"), _integers(encoding, "instrShape")
    if len(shape) != 2 or len(warps) != 2 or len(instruction) < 2 or encoding.fields.get("versionMajor") not in (2, 3):
        return None
    tile = _Tile(2)
    register = tile.grow(1, 2)
    lane = tile.grow(1, 4) + tile.grow(0, 8)
    register += tile.grow(0, 2) + tile.grow(1, instruction[1] // 8)
    return LinearLayout(register, lane, tile.grow_all(warps, [1, 0]))


def _amd_mfma(module: Module, encoding: Encoding, shape: tuple[int, ...]) -> LinearLayout | None:
    """Accumulators of v_mfma (CDNA3 ISA, "Dense matrix layouts"): four rows a lane, then the next group of lanes."""
    warps, instruction = _integers(encoding, "warpsPerCTA"), _integers(encoding, "instrShape")
    if len(shape) != 2 or len(warps) != 2 or instruction[:2] not in ([32, 32], [16, 16]):
        return None
    rows, columns = (1, 0) if encoding.fields.get("isTransposed") else (0, 1)
    side = instruction[0]
    tile = _Tile(2)
    register = tile.grow(rows, 4)
    lane = tile.grow(columns, side) + tile.grow(rows, 64 // side)
    register += tile.grow(rows, side // tile.size[rows])
    return LinearLayout(register, lane, tile.grow_all(warps, [1, 0]))


def _amd_wmma(module: Module, encoding: Encoding, shape: tuple[int, ...]) -> LinearLayout | None:
    """Accumulators of v_wmma 16×16 (RDNA3 and RDNA4 ISA): rows alternate between half-waves, or come in eights."""
    if len(shape) != 2:
        return None
    rows, columns = (1, 0) if encoding.fields.get("isTranspose", encoding.fields.get("isTransposed")) else (0, 1)
    tile = _Tile(2)
    lane = tile.grow(columns, 16)
    if encoding.fields.get("version") == 1:
        lane += tile.grow(rows, 2)
        register = tile.grow(rows, 8)
    else:
        register = tile.grow(rows, 8)
        lane += tile.grow(rows, 2)
    return LinearLayout(register, lane, None)


_LAYOUTS = {
    "blocked": _blocked,
    "linear": _linear,
    "slice": _slice,
    "nvidia_mma": _nvidia_mma,
    "amd_mfma": _amd_mfma,
    "amd_wmma": _amd_wmma,
}


def _integers(encoding: Encoding, name: str) -> list[int]:
    value = encoding.fields.get(name)
    return [each for each in value if isinstance(each, int)] if isinstance(value, list) else []
