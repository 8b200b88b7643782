"""The runnable side of a task: what makes its inputs and what computes the right answer."""

from __future__ import annotations

import abc
import contextlib
import copy
import dataclasses
import math
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import Case, Task
from kernelevolve.evaluation.tasks.shrinking import Resize, ShrunkFactories, SizeRecorder, resizes

FLOAT_DTYPES: dict[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
"""The floating-point dtypes a task can be judged in, by name."""

_FRAMES_SHOWN = 8
_OWN_FOLDER = str(Path(__file__).parent / "x").removesuffix("x")


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """The arguments of one call of the reference."""

    args: tuple[Any, ...]
    """Positional arguments."""
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Keyword arguments."""
    shrunk: bool = False
    """Whether these are smaller than the case says, so that a slow judge can cope with them."""

    def tensors(self) -> list[torch.Tensor]:
        """Every tensor among the arguments, in pytree order."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]

    def map_tensors(self, function: Callable[[torch.Tensor], Any]) -> Inputs:
        """The same arguments with each tensor replaced by `function(tensor)`."""
        args, kwargs = tree_map_only(torch.Tensor, function, (self.args, self.kwargs))
        return dataclasses.replace(self, args=args, kwargs=kwargs)


class CaseParameters(dict[str, Any]):
    """What `make_inputs(case)` gets: the case's parameters, as `case["rows"]` or `case.rows`."""

    def __getattribute__(self, name: str) -> Any:
        # Parameters come before the methods of dict: a parameter may be called `values` or `items`.
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the case has no parameter {name!r}; it has {', '.join(dict.keys(self)) or 'none'}")


class TaskProgram(abc.ABC):
    """A task that can be run. Lives only in the judge's process, out of a candidate's reach.

    Not thread-safe: seeding uses the generators that the whole process shares.
    """

    creates_on_device = True
    """Whether inputs are made on the device they are asked for; otherwise on the CPU and copied."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._resizes: dict[tuple[str, int], Resize | None] = {}

    def make_inputs(self, case: Case, dtype: str, device: str, seed: int, limit_numel: int | None = None) -> Inputs:
        """Make the inputs of a case: the same ones for the same seed and device.

        Args:
            case: one of the task's cases.
            dtype: name of the dtype that floating-point tensors get; others stay as they are, 8-bit floats too.
            device: torch device on which the tensors are made.
            seed: seeds torch, numpy and `random`, whose states are put back afterwards.
            limit_numel: most elements a tensor may have. Where the case has more, the inputs are shrunk, and say so.

        Raises:
            TaskError: `TASK_FAILS` when the task's own function raises or returns something unusable,
                `TASK_WITHOUT_INPUTS` when it returns no tensor, `NOT_CHECKABLE` when it cannot be shrunk enough.
        """
        resize = None if limit_numel is None else self._resize_for(case, limit_numel)
        mode: AbstractContextManager[Any] = nullcontext() if resize is None else ShrunkFactories(resize)
        inputs = self._create_inputs(case, device, seed, mode)
        inputs = self._place(case, inputs, dtype, device)
        if limit_numel is not None and not _fits(inputs, limit_numel):
            raise self._not_checkable(case, limit_numel)
        return dataclasses.replace(inputs, shrunk=resize is not None)

    @abc.abstractmethod
    def build_reference(self, dtype: str, device: str, seed: int) -> Callable[..., Any]:
        """Build what computes the right answer.

        Args:
            dtype: name of the dtype that floating-point parameters and buffers get, if there are any.
            device: torch device they are moved to.
            seed: decides the weights. They are made on the CPU in the module's own dtype, under `seeded(seed)` entered
                directly before the constructor, so another process that does the same gets the same weights.

        Raises:
            TaskError: `TASK_FAILS`, the task's own code raised.
        """

    def init_inputs(self) -> tuple[Any, ...]:
        """Arguments of the module's constructor; empty for tasks that have no module."""
        return ()

    def reference_source(self) -> str:
        """Python text that defines the reference and makes inputs on its own; empty where there is none."""
        return self.task.source

    def state(self, reference: Callable[..., Any]) -> list[tuple[str, torch.Tensor]]:
        """A reference's parameters and then its buffers, each in named order; empty where it has none."""
        if not isinstance(reference, torch.nn.Module):
            return []
        parameters = [(name, parameter.detach()) for name, parameter in reference.named_parameters()]
        return [*parameters, *reference.named_buffers()]

    def flops(self, case: Case) -> float | None:
        """Floating-point operations the task says a case needs; none where it says nothing."""
        return None

    def bytes(self, case: Case) -> float | None:
        """Bytes the task says a case must move; none where it says nothing."""
        return None

    @abc.abstractmethod
    def _call_factory(self, case: Case) -> Any:
        """Call the task's input factory; what it returns is turned into `Inputs`."""

    def _create_inputs(self, case: Case, device: str, seed: int, mode: AbstractContextManager[Any]) -> Inputs:
        where = torch.device(device if self.creates_on_device else "cpu")
        with seeded(seed, device), torch.no_grad():
            try:
                with where, mode:
                    value = self._call_factory(case)
            except TaskError:
                raise
            except Exception as error:
                raise self._failure(f"cannot make the inputs of case {case.name!r}", error) from error
        inputs = self._as_inputs(case, value)
        if not inputs.tensors():
            raise TaskError(
                Finding.TASK_WITHOUT_INPUTS,
                f"Task {self.task.name}: the inputs of case {case.name!r} hold no tensor.",
                "Return at least one tensor: there is nothing to compute on otherwise.",
            )
        return inputs

    def _place(self, case: Case, inputs: Inputs, dtype: str, device: str) -> Inputs:
        target = torch_dtype(dtype)

        def place(tensor: torch.Tensor) -> torch.Tensor:
            floating = tensor.dtype in FLOAT_DTYPES.values()
            return tensor.detach().to(device=device, dtype=target if floating else None)

        try:
            return inputs.map_tensors(place)
        except RuntimeError as error:
            raise self._failure(f"cannot put the inputs of case {case.name!r} on {device}", error) from error

    def _as_inputs(self, case: Case, value: Any) -> Inputs:
        if isinstance(value, Inputs):
            return value
        if isinstance(value, torch.Tensor):
            return Inputs((value,))
        if isinstance(value, list | tuple):
            return Inputs(tuple(value))
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return Inputs((), dict(value))
        raise TaskError(
            Finding.TASK_WITHOUT_INPUTS if value is None else Finding.TASK_FAILS,
            f"Task {self.task.name}: the inputs of case {case.name!r} are a {type(value).__name__}.",
            "Return a tuple or list of arguments, one tensor, or a dict of keyword arguments.",
        )

    def _resize_for(self, case: Case, limit_numel: int) -> Resize | None:
        """How to shrink a case; none where it fits as it is. Found once for each case and limit."""
        key = (case.name, limit_numel)
        if key not in self._resizes:
            self._resizes[key] = self._find_resize(case, limit_numel)
        return self._resizes[key]

    def _find_resize(self, case: Case, limit_numel: int) -> Resize | None:
        # Shapes come from the meta device, where nothing is allocated. A factory that looks at values cannot run
        # there; it is then run for real, but with its big tensors cut from the start.
        device, recorder = "meta", SizeRecorder()
        try:
            inputs = self._create_inputs(case, device, 0, recorder)
        except TaskError as error:
            if error.finding is not Finding.TASK_FAILS:
                raise
            device, recorder = "cpu", SizeRecorder(limit_numel)
            try:
                inputs = self._create_inputs(case, device, 0, recorder)
            except TaskError as error:
                if recorder.cut:
                    raise self._not_checkable(case, limit_numel) from error
                raise
        if _fits(inputs, limit_numel) and not recorder.cut:
            return None
        reference = self.build_reference("float32", "cpu", 0)
        for resize in resizes(recorder.sizes, limit_numel):
            try:
                inputs = self._create_inputs(case, device, 0, ShrunkFactories(resize))
                if not _fits(inputs, limit_numel):
                    continue
                if device == "meta":
                    inputs = self._create_inputs(case, "cpu", 0, ShrunkFactories(resize))
                inputs = self._place(case, inputs, "float32", "cpu")
                with seeded(0), torch.no_grad():
                    reference(*inputs.args, **inputs.kwargs)
            except Exception:  # noqa: BLE001 - task code may raise anything; it means: not this way, try the next
                continue
            return resize
        raise self._not_checkable(case, limit_numel)

    def _not_checkable(self, case: Case, limit_numel: int) -> TaskError:
        return TaskError(
            Finding.NOT_CHECKABLE,
            f"Task {self.task.name}: case {case.name!r} cannot be shrunk to tensors of {limit_numel} elements on which "
            "the reference still runs.",
            "Add a small case to the task, or judge it on a device.",
        )

    def _failure(self, what: str, error: Exception) -> TaskError:
        return TaskError(
            Finding.TASK_FAILS,
            f"Task {self.task.name} {what}: {type(error).__name__}: {_first_line(error)}",
            "The task must be repaired; no candidate is to blame.",
            log=shorten_traceback(error),
        )

    def _stated(self, name: str, function: Callable[[Any], Any] | None, case: Case) -> float | None:
        """Value of the task's `flops` or `bytes` for a case."""
        if function is None:
            return None
        try:
            value = function(parameters_of(case))
        except Exception as error:
            raise self._failure(f"cannot say {name} of case {case.name!r}", error) from error
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise TaskError(
                Finding.TASK_FAILS,
                f"Task {self.task.name}: {name}(case) is {value!r} for case {case.name!r}.",
                "It must be a finite number, zero or more.",
            )
        return float(value)


def parameters_of(case: Case) -> CaseParameters:
    """A case's parameters for the task's own functions: a copy, so that they cannot change the case."""
    return CaseParameters(copy.deepcopy(case.parameters))


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a floating-point dtype's name.

    Raises:
        ValueError: not a dtype tasks are judged in.
    """
    if name not in FLOAT_DTYPES:
        raise ValueError(f"{name!r} is not a floating-point dtype of tasks; known: {', '.join(FLOAT_DTYPES)}")
    return FLOAT_DTYPES[name]


@contextlib.contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed torch (CPU and `device`), numpy and `random` for a while; put their states back afterwards."""
    where = torch.device(device)
    if where.type in ("cpu", "meta"):
        fork = torch.random.fork_rng(devices=[], device_type="cuda")
    else:
        index = torch.get_device_module(where).current_device() if where.index is None else where.index
        fork = torch.random.fork_rng(devices=[index], device_type=where.type)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with fork:
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def cast_module(module: torch.nn.Module, dtype: str, device: str | None = None) -> torch.nn.Module:
    """Cast a module's floating-point state in place, and move all of it to a device if one is given.

    `Module.to(dtype)` is not used because it casts complex state too. Tensors that are plain attributes are treated
    like buffers: some KernelBench problems keep a hidden state that way.
    """
    target = torch_dtype(dtype)
    {"float64": module.double, "float32": module.float, "float16": module.half, "bfloat16": module.bfloat16}[dtype]()
    if device is not None:
        module.to(device)
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor):
                vars(part)[name] = value.to(device=device, dtype=target if value.is_floating_point() else None)
    return module


def raise_precision(reference: Callable[..., Any]) -> Callable[..., Any]:
    """The oracle of a reference: a copy in fp64 with the same weights, bit for bit, or the function itself.

    Make it before the reference is called: a module that keeps state would pass it on.
    """
    if not isinstance(reference, torch.nn.Module):
        return reference
    return cast_module(copy.deepcopy(reference), "float64")


def shorten_traceback(error: BaseException) -> str:
    """A traceback without the judge's own frames, the last few frames only."""
    report = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in report.stack if not frame.filename.startswith(_OWN_FOLDER)]
    left_out = max(0, len(frames) - _FRAMES_SHOWN)
    lines = [f"  … {left_out} frames left out\n"] if left_out else []
    lines += traceback.StackSummary.from_list(frames[left_out:]).format()
    return "".join([*lines, *report.format_exception_only()]).rstrip()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else "(no message)"


def _fits(inputs: Inputs, limit_numel: int) -> bool:
    return all(tensor.numel() <= limit_numel for tensor in inputs.tensors())
