"""Shared memory between judge and candidate: one block that both sides map, on the CPU or on a GPU.

On a GPU every arena is an allocation of its own, made through the driver and not through torch's allocator. A driver
handle opens a whole allocation; were the block part of torch's pool, the candidate could reach whatever else the judge
keeps there, the expected output for one.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Any

import torch

_OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY and hipErrorOutOfMemory."""
_ALIGNMENT = 512
"""Bytes; what torch's own allocators guarantee on CUDA."""


def aligned(nbytes: int) -> int:
    """Round a size up to the arena's alignment."""
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a contiguous tensor of this shape."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


class _Handle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_char * 64)]


class _Driver:
    """The five driver calls an arena needs, under CUDA's names or HIP's."""

    def __init__(self) -> None:
        hip = torch.version.hip is not None
        library = ctypes.CDLL("libamdhip64.so" if hip else "libcuda.so.1")
        names = (
            ("hipMalloc", "hipFree", "hipIpcGetMemHandle", "hipIpcOpenMemHandle", "hipIpcCloseMemHandle")
            if hip
            else ("cuMemAlloc_v2", "cuMemFree_v2", "cuIpcGetMemHandle", "cuIpcOpenMemHandle_v2", "cuIpcCloseMemHandle")
        )
        self.allocate, self.free, self.get_handle, self.open_handle, self.close_handle = (
            getattr(library, name) for name in names
        )
        self.open_handle.argtypes = [ctypes.POINTER(ctypes.c_uint64), _Handle, ctypes.c_uint]
        self.allocate.argtypes = [ctypes.POINTER(ctypes.c_uint64), ctypes.c_size_t]
        self.get_handle.argtypes = [ctypes.POINTER(_Handle), ctypes.c_uint64]
        self.free.argtypes = [ctypes.c_uint64]
        self.close_handle.argtypes = [ctypes.c_uint64]


def _check(code: int, doing: str) -> None:
    if code == _OUT_OF_MEMORY:
        raise torch.OutOfMemoryError(f"no device memory left while {doing}")
    if code != 0:
        raise RuntimeError(f"the driver answered {code} while {doing}")


class _RawMemory:
    """A device pointer as torch accepts it, through the CUDA array interface."""

    def __init__(self, pointer: int, nbytes: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (pointer, False),
            "version": 3,
        }


class Arena:
    """A block of shared memory. Make one with `create` in the judge, and with `attach` in the worker."""

    def __init__(self, nbytes: int, device: str, block: torch.Tensor, handle: dict[str, Any], owned: Any) -> None:
        self.nbytes = nbytes
        self.device = device
        self._block: torch.Tensor | None = block
        self._handle = handle
        self._owned = owned

    @classmethod
    def create(cls, nbytes: int, device: str) -> Arena:
        """Allocate a block.

        Args:
            nbytes: size in bytes, at least 1.
            device: `cpu` or `cuda:N`.

        Raises:
            torch.OutOfMemoryError: there is not that much memory.
        """
        nbytes = aligned(max(nbytes, 1))
        if device == "cpu":
            descriptor = os.memfd_create("kernelevolve-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, nbytes)
            # A candidate that cut it short would have the judge killed by SIGBUS at its next access.
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return cls(nbytes, device, _map(descriptor, nbytes), {"nbytes": nbytes, "device": device}, descriptor)
        driver = _Driver()
        torch.cuda.set_device(device)
        torch.cuda.current_stream().synchronize()
        pointer = ctypes.c_uint64()
        code = driver.allocate(ctypes.byref(pointer), nbytes)
        if code == _OUT_OF_MEMORY:
            # torch gives back what it keeps for later only when its own allocations fail.
            torch.cuda.empty_cache()
            code = driver.allocate(ctypes.byref(pointer), nbytes)
        _check(code, f"allocating {nbytes} bytes")
        handle = _Handle()
        _check(driver.get_handle(ctypes.byref(handle), pointer), "exporting memory")
        description = {"nbytes": nbytes, "device": device, "handle": bytes(handle).hex()}
        block = torch.as_tensor(_RawMemory(pointer.value, nbytes), device=device)
        return cls(nbytes, device, block, description, (driver, pointer.value, True))

    @classmethod
    def attach(cls, description: dict[str, Any], descriptors: Sequence[int]) -> Arena:
        """Map a block that the judge created; the counterpart of `description`."""
        nbytes, device = int(description["nbytes"]), str(description["device"])
        if device == "cpu":
            return cls(nbytes, device, _map(descriptors[0], nbytes), description, descriptors[0])
        driver = _Driver()
        torch.cuda.set_device(device)
        torch.cuda.current_stream().synchronize()
        handle = _Handle.from_buffer_copy(bytes.fromhex(description["handle"]))
        pointer = ctypes.c_uint64()
        _check(driver.open_handle(ctypes.byref(pointer), handle, 1), "opening shared memory")
        block = torch.as_tensor(_RawMemory(pointer.value, nbytes), device=device)
        return cls(nbytes, device, block, description, (driver, pointer.value, False))

    def description(self) -> tuple[dict[str, Any], list[int]]:
        """What a worker needs to attach: a JSON object and descriptors to send with it."""
        return self._handle, [self._owned] if self.device == "cpu" else []

    def block(self) -> torch.Tensor:
        """The whole block as bytes: uint8 of shape (nbytes,)."""
        if self._block is None:
            raise RuntimeError("the arena is closed")
        return self._block

    def tensor(self, offset: int, shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A view into the block.

        Args:
            offset: bytes from the start; a multiple of the item size.
            shape: sizes.
            stride: strides in elements.
            dtype: element type.

        Raises:
            RuntimeError: the view would leave the block.
        """
        items = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if all(shape) else 0
        piece = self.block()[offset : offset + items * dtype.itemsize]
        if piece.numel() != items * dtype.itemsize:
            raise RuntimeError("a tensor does not fit into its arena")
        # `view(dtype)` wants the offset aligned to the item size, which holds for every offset the judge hands out.
        return piece.view(dtype).as_strided(tuple(shape), tuple(stride))

    def close(self) -> None:
        """Unmap, and free what this side owns. Tensors made from the block must not be used any more."""
        self._block = None
        if self._owned is None:
            return
        if self.device == "cpu":
            os.close(self._owned)
        else:
            driver, pointer, created = self._owned
            torch.cuda.synchronize()
            (driver.free if created else driver.close_handle)(pointer)
        self._owned = None


def _map(descriptor: int, nbytes: int) -> torch.Tensor:
    return torch.frombuffer(mmap.mmap(descriptor, nbytes), dtype=torch.uint8)
