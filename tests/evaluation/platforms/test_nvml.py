"""NVML is called through a stand-in library with the same functions, since most machines have no driver."""

from __future__ import annotations

import ctypes

import pytest

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.platforms import nvml
from kernelevolve.evaluation.platforms.nvml import nvml_clocks, nvml_devices

CLOCKS = {0: 1980, 1: 1980, 2: 3201}


class _Function:
    """A library function that writes through pointers, as ctypes' do."""

    restype = None

    def __init__(self, function) -> None:
        self._function = function

    def __call__(self, *arguments) -> object:
        return self._function(*(getattr(value, "_obj", value) for value in arguments)) or 0


class _Library:
    """One H200."""

    def __init__(self) -> None:
        self.open = 0
        self.failing: dict[str, int] = {}

    def __getattr__(self, name: str) -> _Function:
        if name in self.failing:
            return _Function(lambda *arguments: self.failing[name])
        return _Function(getattr(self, f"_{name}"))

    def _nvmlInit_v2(self) -> None:
        self.open += 1

    def _nvmlShutdown(self) -> None:
        self.open -= 1

    def _nvmlErrorString(self, code: int) -> bytes:
        return f"error {code}".encode()

    def _nvmlDeviceGetCount_v2(self, count) -> None:
        count.value = 1

    def _nvmlDeviceGetHandleByIndex_v2(self, index, handle) -> None:
        handle.value = 100 + index.value

    def _nvmlSystemGetDriverVersion(self, buffer, size) -> None:
        buffer.value = b"580.159.04"

    def _nvmlDeviceGetName(self, handle, buffer, size) -> None:
        buffer.value = b"NVIDIA H200"

    def _nvmlDeviceGetUUID(self, handle, buffer, size) -> None:
        buffer.value = b"GPU-1234"

    def _nvmlDeviceGetCudaComputeCapability(self, handle, major, minor) -> None:
        major.value, minor.value = 9, 0

    def _nvmlDeviceGetMemoryInfo(self, handle, memory) -> None:
        memory.total = 150_000_000_000

    def _nvmlDeviceGetClockInfo(self, handle, kind, clock) -> None:
        clock.value = CLOCKS[kind.value]

    def _nvmlDeviceGetMaxClockInfo(self, handle, kind, clock) -> int:
        clock.value = CLOCKS[kind.value]
        return 3 if kind.value == 2 else 0


@pytest.fixture
def library(monkeypatch) -> _Library:
    library = _Library()
    monkeypatch.setattr(nvml.ctypes, "CDLL", lambda name: library)
    return library


def test_devices(library):
    [device] = nvml_devices()

    assert (device.name, device.uuid, device.driver) == ("NVIDIA H200", "GPU-1234", "580.159.04")
    assert (device.compute_capability, device.memory_bytes) == ((9, 0), 150_000_000_000)
    assert library.open == 0


def test_clocks_that_the_board_does_not_report_are_left_out(library):
    assert nvml_clocks(0) == {
        "graphics": 1980, "sm": 1980, "memory": 3201, "max_graphics": 1980, "max_sm": 1980,
    }  # fmt: skip


def test_a_driver_that_does_not_answer_is_an_error(library):
    library.failing["nvmlDeviceGetName"] = 15

    with pytest.raises(PlatformError, match="nvmlDeviceGetName failed: error 15"):
        nvml_devices()
    assert library.open == 0


def test_no_driver(monkeypatch):
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(nvml.ctypes, "CDLL", missing)

    with pytest.raises(PlatformError, match="no NVIDIA driver"):
        nvml_devices()
