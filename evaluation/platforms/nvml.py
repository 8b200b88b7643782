"""NVIDIA's management library through ctypes: devices, driver and clocks, without initialising CUDA."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding

# nvml.h: NVML_DEVICE_NAME_V2_BUFFER_SIZE and NVML_DEVICE_UUID_V2_BUFFER_SIZE.
_TEXT_BYTES = 96
# nvml.h: nvmlClockType_t.
_CLOCKS = {"graphics": 0, "sm": 1, "memory": 2}
_NOT_SUPPORTED = 3


@dataclass(frozen=True)
class NvmlDevice:
    """One NVIDIA GPU as the driver lists it."""

    index: int
    """Position in NVML's list (PCI bus order)."""
    name: str
    uuid: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    driver: str


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def _call(library: Any, function: str, *arguments: Any) -> None:
    code = getattr(library, function)(*arguments)
    if code:
        library.nvmlErrorString.restype = ctypes.c_char_p
        raise PlatformError(
            Finding.DEVICE_MISSING, f"NVML's {function} failed: {library.nvmlErrorString(code).decode()}."
        )


@contextmanager
def _open_nvml() -> Iterator[Any]:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        raise PlatformError(
            Finding.DEVICE_MISSING, "There is no NVIDIA driver here (libnvidia-ml.so.1 is not found)."
        ) from error
    _call(library, "nvmlInit_v2")
    try:
        yield library
    finally:
        library.nvmlShutdown()


def _handle(library: Any, index: int) -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    _call(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
    return handle


def _text(library: Any, function: str, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(_TEXT_BYTES)
    _call(library, function, *arguments, buffer, ctypes.c_uint(_TEXT_BYTES))
    return buffer.value.decode()


def nvml_devices() -> list[NvmlDevice]:
    """All NVIDIA GPUs of this machine.

    Raises:
        PlatformError: there is no driver, or it does not answer.
    """
    with _open_nvml() as library:
        count = ctypes.c_uint()
        _call(library, "nvmlDeviceGetCount_v2", ctypes.byref(count))
        driver = _text(library, "nvmlSystemGetDriverVersion")
        devices = []
        for index in range(count.value):
            handle = _handle(library, index)
            major, minor, memory = ctypes.c_int(), ctypes.c_int(), _Memory()
            _call(library, "nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor))
            _call(library, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
            devices.append(
                NvmlDevice(
                    index=index,
                    name=_text(library, "nvmlDeviceGetName", handle),
                    uuid=_text(library, "nvmlDeviceGetUUID", handle),
                    compute_capability=(major.value, minor.value),
                    memory_bytes=memory.total,
                    driver=driver,
                )
            )
        return devices


def nvml_clocks(index: int) -> dict[str, int]:
    """Clocks of one GPU, MHz: `graphics`, `sm` and `memory` as they are now, and `max_…` of each.

    A clock that the board does not report is left out.

    Raises:
        PlatformError: there is no driver, or no such device.
    """
    found = {}
    with _open_nvml() as library:
        handle = _handle(library, index)
        for prefix, function in (("", "nvmlDeviceGetClockInfo"), ("max_", "nvmlDeviceGetMaxClockInfo")):
            for name, kind in _CLOCKS.items():
                clock = ctypes.c_uint()
                code = getattr(library, function)(handle, ctypes.c_uint(kind), ctypes.byref(clock))
                if code == 0:
                    found[prefix + name] = clock.value
                elif code != _NOT_SUPPORTED:
                    _call(library, function, handle, ctypes.c_uint(kind), ctypes.byref(clock))
    return found
