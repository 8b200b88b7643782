"""The stopwatch: device time of single calls with a cold cache. Judge and worker each have one of their own."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import torch

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.platforms.cpu import last_level_cache_bytes

_CPU_FLUSH_LIMIT = 64 << 20
"""Bytes. Shared last-level caches of servers are larger, but writing them out would take longer than most kernels."""
_PERSISTING_L2_LIMIT = 0x06
"""CU_LIMIT_PERSISTING_L2_CACHE_SIZE of cuda.h."""
_L2_FETCH_LIMIT = 0x05
"""CU_LIMIT_MAX_L2_FETCH_GRANULARITY of cuda.h."""
_ACCESS_POLICY_WINDOW = 1
"""CU_STREAM_ATTRIBUTE_ACCESS_POLICY_WINDOW of cuda.h."""
_SET_BY_GRAPHS = 0x10
"""CU_CTX_LMEM_RESIZE_TO_MAX of cuda.h: the driver sets it when a graph is made; it only keeps a process's own scratch
memory from being given back."""
_ATTRIBUTE_BYTES = 64
"""Size of CUstreamAttrValue in cuda.h; the window's length lies 8 bytes into it."""
_CANNOT = (0, 215, 801)
"""CUDA_SUCCESS, and what a GPU without persisting L2 says: CUDA_ERROR_UNSUPPORTED_LIMIT, CUDA_ERROR_NOT_SUPPORTED."""


class Stopwatch:
    """Times calls on one device.

    The functions it measures with are bound when it is made, before any candidate code is loaded, so that replacing
    `time.perf_counter_ns` or `torch.cuda.Event.elapsed_time` afterwards changes nothing.

    Args:
        device: `cpu` or `cuda:N`.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._now = time.perf_counter_ns
        self._cuda = device != "cpu"
        if self._cuda:
            properties = torch.cuda.get_device_properties(device)
            # Twice the L2, so that whatever replacement policy it has, nothing of the inputs is left.
            size = max(64 << 20, 2 * properties.L2_cache_size)
            self._event = torch.cuda.Event
            self._elapsed = torch.cuda.Event.elapsed_time
            self._record = torch.cuda.Event.record
            self._synchronize = torch.cuda.synchronize
            self._set_stream = torch.cuda.set_stream
            # A candidate may leave another stream current: calls are measured on this one all the same.
            self._stream = torch.cuda.current_stream(device)
            self._bind_driver()
        else:
            size = min(2 * (last_level_cache_bytes() or _CPU_FLUSH_LIMIT), _CPU_FLUSH_LIMIT)
        self.flush_bytes = size
        self._flush_buffer = torch.zeros(size, dtype=torch.uint8, device=device)
        self._zero = self._flush_buffer.zero_

    def flush(self) -> None:
        """Push everything out of the cache; on CUDA also give up persisting L2 lines, which a flush leaves alone."""
        if self._cuda:
            self._set_stream(self._stream)
            if self._reset_persisting is not None:
                self._reset_persisting()
        self._zero()

    def flush_ms(self) -> float:
        """What one flush takes, milliseconds."""
        self.flush()
        self.synchronize()
        began = self._now()
        self.flush()
        self.synchronize()
        return (self._now() - began) / 1e6

    def forbid_persisting_l2(self) -> None:
        """Set the share of L2 that accesses may pin to nothing (CUDA only)."""
        if self._cuda and self._driver is not None:
            for code in (
                self._driver.cuCtxSetLimit(_PERSISTING_L2_LIMIT, ctypes.c_size_t(0)),
                self._driver.cuCtxResetPersistingL2Cache(),
            ):
                if code not in _CANNOT:
                    raise PlatformError(
                        Finding.NOT_CHECKABLE,
                        f"The driver does not let go of persisting L2 lines (CUDA error {code}).",
                        "Times would depend on what an earlier kernel pinned: look at the driver with `nvidia-smi`.",
                    )

    def device_state(self) -> dict[str, list[int]]:
        """What a candidate could set in the driver to the harm of others' times: settings, each with the driver's
        return code; empty where there is no CUDA driver."""
        if not self._cuda or self._driver is None:
            return {}
        value, window = ctypes.c_size_t(0), ctypes.create_string_buffer(_ATTRIBUTE_BYTES)
        flags = ctypes.c_uint(0)
        found = {}
        for name, limit in (("persisting L2 limit", _PERSISTING_L2_LIMIT), ("L2 fetch limit", _L2_FETCH_LIMIT)):
            code = self._get_limit(ctypes.byref(value), limit)
            found[name] = [code, value.value]
        stream = ctypes.c_void_p(self._stream.cuda_stream)
        code = self._get_attribute(stream, _ACCESS_POLICY_WINDOW, window)
        found["access policy window"] = [code, int.from_bytes(window.raw[8:16], "little")]
        code = self._get_flags(ctypes.byref(flags))
        found["context flags"] = [code, flags.value & ~_SET_BY_GRAPHS]
        return found

    def _bind_driver(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1") if torch.version.hip is None else None
        self._reset_persisting = None
        if self._driver is not None:
            self._reset_persisting = self._driver.cuCtxResetPersistingL2Cache
            self._get_limit, self._get_flags = self._driver.cuCtxGetLimit, self._driver.cuCtxGetFlags
            self._get_attribute = self._driver.cuStreamGetAttribute

    def synchronize(self) -> None:
        """Wait for the device."""
        if self._cuda:
            self._synchronize()

    def time_calls(self, call: Callable[[int], Any], count: int) -> tuple[list[float], Any]:
        """Time single calls, each with a cold cache.

        Args:
            call: gets the number of the call, so that it can take fresh buffers.
            count: how many.

        Returns:
            Milliseconds of each call (device time on a GPU, wall time on a CPU), and what the last one returned.
        """
        result = None
        if not self._cuda:
            times = []
            for index in range(count):
                self.flush()
                began = self._now()
                result = call(index)
                times.append((self._now() - began) / 1e6)
            return times, result
        # A tuple: a candidate that looks up the stack would find a list, and could put events of its own in it.
        events = tuple((self._event(enable_timing=True), self._event(enable_timing=True)) for _ in range(count))
        self._synchronize()
        for index, (before, after) in enumerate(events):
            result = None  # Frees the last output, so that its memory is there for this call.
            self.flush()
            self._record(before, self._stream)
            result = call(index)
            self._record(after, self._stream)
        self._synchronize()
        return [self._elapsed(before, after) for before, after in events], result

    def wall_ms(self, call: Callable[[int], Any], count: int) -> list[float]:
        """Wall time of single synchronised calls with a warm cache, milliseconds: launch overhead included."""
        times = []
        for index in range(count):
            self.synchronize()
            began = self._now()
            call(index)
            self.synchronize()
            times.append((self._now() - began) / 1e6)
        return times


def estimate_ms(call: Callable[[int], Any], stopwatch: Stopwatch) -> float:
    """A first idea of what a call takes, after one call to warm up: milliseconds."""
    call(0)
    stopwatch.synchronize()
    return stopwatch.wall_ms(call, 1)[0]


def copies_for_rotation(nbytes: int, free_bytes: int, flush_bytes: int) -> int:
    """How many copies of the inputs to rotate through, so that successive calls never see the same buffers.

    Args:
        nbytes: size of one set of inputs.
        free_bytes: memory that may be used.
        flush_bytes: size of the cache flush; sets much larger than that gain nothing from rotation.
    """
    if nbytes == 0:
        return 1
    wanted = 2 if nbytes > 4 * flush_bytes else 4
    return max(1, min(wanted, int(free_bytes * 0.5 // nbytes)))
