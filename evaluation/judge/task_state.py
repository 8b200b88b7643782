"""What the judge keeps of a task between candidates: references, expected outputs, baselines."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.judge.data import plant_special_values
from kernelevolve.evaluation.judge.oracle import Expected, expect
from kernelevolve.evaluation.task import Case, Task, Tolerance
from kernelevolve.evaluation.tasks.program import Inputs, TaskProgram, raise_precision

if TYPE_CHECKING:
    from kernelevolve.evaluation.judge.self_test import TaskCheck


_GENERATORS = threading.RLock()


class TaskState:
    """One task on one device.

    Args:
        program: the loaded task.
        device: `cpu` or `cuda:N`.
        secret: 32 random bytes; every seed is derived from it, so no candidate can know one.
        cache_bytes: bound on the inputs and expected outputs that are kept.
    """

    def __init__(self, program: TaskProgram, device: str, secret: bytes, cache_bytes: int) -> None:
        self.program = program
        self.device = device
        self._secret = secret
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[tuple[Any, ...], tuple[Inputs, Expected]] = OrderedDict()
        self._references: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {}
        self._compiled: dict[str, Callable[..., Any]] = {}
        self._tolerances: dict[str, Tolerance] | None = None
        self.self_test: TaskCheck | None = None
        self._elements: dict[str, int] = {}
        self._oracle_notes: dict[tuple[str, str], str] = {}
        self.shapes: dict[str, Any] | None = None
        self.baseline_ms: dict[tuple[str, str, str], float] = {}
        """Time of one call of each baseline by (case, dtype, baseline), from its last measurement: plans the next."""
        self.reference_kernels: dict[tuple[str, str], list[str]] = {}
        """What one call of the reference runs on the device, by (case, dtype)."""

    @property
    def task(self) -> Task:
        """The task's description, with the tolerances that are in force."""
        if self._tolerances is None:
            return self.program.task
        return self.program.task.model_copy(update={"tolerances": self._tolerances})

    def tighten(self, tolerances: dict[str, Tolerance]) -> None:
        """Replace the task's tolerances by narrower ones."""
        self._tolerances = tolerances

    def seed(self, *parts: object) -> int:
        """A seed nobody outside can know, below 2^63; the same parts give the same seed."""
        text = "/".join(str(part) for part in (self.program.task.task_hash, *parts))
        return int.from_bytes(hmac.new(self._secret, text.encode(), hashlib.sha256).digest()[:8]) >> 1

    @property
    def weight_seed(self) -> int:
        """Seed with which the reference's module, and a candidate's, are built."""
        return self.seed("weights")

    def reference(self, dtype: str) -> Callable[..., Any]:
        """The reference in a dtype, built once."""
        return self._pair(dtype)[0]

    def oracle(self, dtype: str) -> Callable[..., Any]:
        """The reference with its parameters raised to float64."""
        return self._pair(dtype)[1]

    def _pair(self, dtype: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
        with _GENERATORS:
            if dtype not in self._references:
                reference = self.program.build_reference(dtype, self.device, self.weight_seed)
                # The oracle is copied before the reference has run: a module that keeps state would pass it on.
                self._references[dtype] = (reference, raise_precision(reference))
            return self._references[dtype]

    def extra(self, dtype: str) -> list[torch.Tensor]:
        """Parameters and buffers of a module-form reference, in order."""
        return [tensor.detach() for _name, tensor in self.program.state(self.reference(dtype))]

    def make_inputs(self, case: Case, dtype: str, device: str, seed: int, limit_numel: int | None = None) -> Inputs:
        """`TaskProgram.make_inputs`, one thread at a time: it seeds generators that the whole process shares."""
        with _GENERATORS:
            return self.program.make_inputs(case, dtype, device, seed, limit_numel)

    def compiled(self, dtype: str) -> Callable[..., Any]:
        """The reference under `torch.compile`, specialised for each shape it meets."""
        if dtype not in self._compiled:
            # One entry a case; the default of 8 would silently fall back to eager.
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 4 * len(self.task.cases))
            self._compiled[dtype] = torch.compile(self.reference(dtype), dynamic=False)
        return self._compiled[dtype]

    def oracle_notes(self, case: Case, dtype: str) -> list[str]:
        """Where the oracle is weaker than float64 for a case, why; for the verdict."""
        note = self._oracle_notes.get((case.name, dtype))
        return [f"{case.name if not case.hidden else 'a hidden case'}, {dtype}: {note}"] if note else []

    def case_elements(self, case: Case) -> int:
        """Elements of all inputs of a case; found on the meta device, or 0 where the factory can't run there."""
        if case.name not in self._elements:
            try:
                inputs = self.make_inputs(case, self.task.dtypes[0], "meta", 0)
                self._elements[case.name] = sum(tensor.numel() for tensor in inputs.tensors())
            except TaskError:
                self._elements[case.name] = 0
        return self._elements[case.name]

    def inputs_and_expected(
        self, case: Case, dtype: str, trial: object, special: bool = False, limit_numel: int | None = None
    ) -> tuple[Inputs, Expected]:
        """Inputs of a trial, and what is expected for them; kept for the next candidate if there is room.

        Args:
            case: which case.
            dtype: dtype of floating-point inputs.
            trial: decides the seed.
            special: plant special values.
            limit_numel: see `TaskProgram.make_inputs`.
        """
        key = (case.name, dtype, trial, special, limit_numel)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        seed = self.seed(case.name, dtype, trial, special)
        inputs = self.make_inputs(case, dtype, self.device, seed, limit_numel)
        if special:
            inputs = plant_special_values(inputs, self.task.special_values, seed)
        expected = expect(self.reference(dtype), self.oracle(dtype), inputs)
        if expected.note:
            self._oracle_notes[case.name, dtype] = expected.note
        self._keep(key, inputs, expected)
        return inputs, expected

    def _keep(self, key: tuple[Any, ...], inputs: Inputs, expected: Expected) -> None:
        def size(entry: tuple[Inputs, Expected]) -> int:
            return entry[1].nbytes() + sum(tensor.numel() * tensor.element_size() for tensor in entry[0].tensors())

        fresh = size((inputs, expected))
        if fresh > self._cache_bytes / 4:
            return
        self._kept[key] = (inputs, expected)
        total = sum(size(entry) for entry in self._kept.values())
        while total > self._cache_bytes:
            _key, dropped = self._kept.popitem(last=False)
            total -= size(dropped)
