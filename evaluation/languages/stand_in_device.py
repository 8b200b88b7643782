"""Let host code believe that a GPU is there, so that its kernel launches can be watched without one.

Torch's own fake tensors cannot claim to be on `cuda` where torch was built without CUDA (indexing one raises). So
tensors live on the `meta` device (shapes only) or the CPU (values too), and a torch function mode answers questions
about their device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, Literal
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from kernelevolve.evaluation.platforms.occupancy import cuda_limits, hip_limits
from kernelevolve.evaluation.platforms.spec_sheets import spec_sheet_for

Backing = Literal["meta", "cpu"]

_MEMORY_BYTES = 80 * 1024**3
_VALUES_LIMIT = 1 << 28
"""Largest storage that values are made up for on the CPU, bytes."""


class StandInTensors(TorchFunctionMode):
    """While active, tensors say that they are on a device and are kept elsewhere.

    Args:
        device: the device that tensors claim.
        backing: where they really are; `meta` tensors have shapes, dtypes and strides but no values.
    """

    def __init__(self, device: torch.device, backing: Backing) -> None:
        super().__init__()
        self._device = device
        self._backing = torch.device(backing)
        self._answers: dict[Any, Callable[..., Any]] = {
            _getter("device"): lambda tensor: device,
            _getter("is_cuda"): lambda tensor: device.type == "cuda",
            _getter("is_cpu"): lambda tensor: device.type == "cpu",
            _getter("is_meta"): lambda tensor: False,
            torch.Tensor.get_device: lambda tensor: device.index or 0,
        }
        if backing == "meta":
            self._answers[torch.Tensor.data_ptr] = _address

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._answers:
            return self._answers[func](*args)
        if func is torch.Tensor.cuda:
            return self._moved(args[0])
        args, kwargs = tree_map(self._moved, (args, kwargs))
        return func(*args, **kwargs)

    def _moved(self, value: Any) -> Any:
        """A device that stands for the claimed one becomes the backing one, and a tensor moves there."""
        if isinstance(value, torch.device):
            return self._backing if value.type == self._device.type else value
        if isinstance(value, str) and value.split(":")[0] == self._device.type:
            return self._backing
        return _moved_tensor(value, self._backing) if isinstance(value, torch.Tensor) else value


def _getter(attribute: str) -> Any:
    return getattr(torch.Tensor, attribute).__get__


def _address(tensor: torch.Tensor) -> int:
    """An address whose alignment is what a real one would have: CUDA aligns allocations to 512 bytes."""
    return tensor.storage_offset() * tensor.element_size()


def _moved_tensor(tensor: torch.Tensor, backing: torch.device) -> torch.Tensor:
    """The tensor on the backing device, with its shape, strides, offset and dtype, in a storage of the same size."""
    if tensor.device.type == backing.type or tensor.layout is not torch.strided:
        return tensor.to(backing)
    storage_bytes = tensor.untyped_storage().nbytes()
    if backing.type == "cpu" and storage_bytes > _VALUES_LIMIT:
        raise ValueError(f"a tensor of {storage_bytes} bytes is too large to make up values for")
    make = torch.empty if backing.type == "meta" else torch.ones
    storage = make(storage_bytes // tensor.element_size(), dtype=tensor.dtype, device=backing)
    view = storage.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
    if backing.type == "cpu" and tensor.device.type != "meta":
        view.copy_(tensor)
    return view.requires_grad_(tensor.requires_grad)


def stand_in(values: Any, backing: Backing) -> Any:
    """The same nest of values with every tensor on the backing device; made-up values are ones.

    Raises:
        ValueError: a tensor is larger than what values are made up for.
    """
    device = torch.device(backing)
    return tree_map(lambda value: _moved_tensor(value, device) if isinstance(value, torch.Tensor) else value, values)


@contextmanager
def stand_in_device(architecture: str, backing: Backing) -> Iterator[None]:
    """Tensors, `torch.cuda` and Triton's driver all speak of one GPU of an architecture.

    It changes the process as a whole while it lasts: one at a time, in a worker.

    Args:
        architecture: e.g. `sm_90` or `gfx942`; decides what questions about the device are answered.
        backing: see `StandInTensors`.
    """
    properties = _device_properties(architecture)
    device = torch.device("cuda", 0)
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: properties.name,
        "get_device_capability": lambda device=None: (properties.major, properties.minor),
        "get_device_properties": lambda device=None: properties,
        "current_stream": lambda device=None: SimpleNamespace(cuda_stream=0, synchronize=lambda: None),
        "set_device": lambda device: None,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "device": lambda device=None: nullcontext(),
        "device_of": lambda tensor=None: nullcontext(),
    }
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(stand_in_driver(architecture, device))
        stack.enter_context(StandInTensors(device, backing))
        yield


@contextmanager
def stand_in_driver(architecture: str, device: torch.device) -> Iterator[None]:
    """Triton's active driver is one that knows an architecture and can launch nothing.

    Args:
        architecture: e.g. `sm_90`.
        device: what the driver calls the active torch device.
    """
    from triton.runtime import driver

    before = driver._active
    driver.set_active(StandInDriver(architecture, device))
    try:
        yield
    finally:
        driver._active = before


class StandInDriver:
    """What candidates ask Triton's driver about: target, device and its properties."""

    def __init__(self, architecture: str, device: torch.device) -> None:
        self._architecture = architecture
        self._device = device
        properties = _device_properties(architecture)
        self.utils = SimpleNamespace(
            get_device_properties=lambda index: {
                "max_shared_mem": properties.shared_memory_per_block_optin,
                "max_num_regs": properties.regs_per_multiprocessor,
                "multiprocessor_count": properties.multi_processor_count,
                "warpSize": properties.warp_size,
            }
        )

    def get_current_target(self) -> Any:
        """The architecture as Triton's `GPUTarget`."""
        from triton.backends.compiler import GPUTarget

        if self._architecture.startswith("sm_"):
            return GPUTarget("cuda", int(self._architecture.removeprefix("sm_")), 32)
        return GPUTarget("hip", self._architecture, 64)

    def get_active_torch_device(self) -> torch.device:
        """The device that candidates should allocate on."""
        return self._device

    def get_device_interface(self) -> Any:
        """`torch.cuda`, as the real drivers answer."""
        return torch.cuda

    def get_current_device(self) -> int:
        """The first device."""
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        """The default stream."""
        return 0


def _device_properties(architecture: str) -> SimpleNamespace:
    nvidia = architecture.startswith("sm_")
    shared = cuda_limits()[architecture].shared_bytes if nvidia else hip_limits()[architecture].lds_bytes
    number = int(architecture.removeprefix("sm_")) if nvidia else 94
    # Of the architecture's usual chip, for grids that are sized by it.
    multiprocessors = int(spec_sheet_for(architecture).facts["sm_count" if nvidia else "compute_units"].value)
    return SimpleNamespace(
        name=f"stand-in for {architecture}",
        major=number // 10,
        minor=number % 10,
        multi_processor_count=multiprocessors,
        total_memory=_MEMORY_BYTES,
        warp_size=32 if nvidia else 64,
        regs_per_multiprocessor=65_536 if nvidia else 131_072,
        max_threads_per_multi_processor=cuda_limits()[architecture].warps * 32 if nvidia else 2048,
        shared_memory_per_multiprocessor=shared,
        shared_memory_per_block=48 * 1024 if nvidia else shared,
        shared_memory_per_block_optin=shared - 1024 if nvidia else shared,
        gcnArchName="" if nvidia else architecture,
    )
