"""Tasks from torch's own operator database: `aten::softmax`, `aten::nn.functional.gelu`, `aten::add`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import Case, Task, TaskForm
from kernelevolve.evaluation.tasks.options import unreadable
from kernelevolve.evaluation.tasks.program import Inputs, TaskProgram, seeded, shorten_traceback

PREFIX = "aten::"
"""What names of operator tasks start with."""
MOST_CASES = 12
"""Samples of one operator that become cases."""
_HIDDEN_EVERY = 3
_TRIAL_SEEDS = (1, 2, 3)
_SAMPLE_DTYPES = (torch.float32, torch.int64, torch.int32, torch.bool)


@dataclass(frozen=True)
class _Sample:
    signature: str
    """For readers: with the values of numbers and strings, unless they follow the seed."""
    kind: str
    """Without them: the same for every seed."""
    elements: int
    """Of all tensors together."""


class OpInfoProgram(TaskProgram):
    """An operator of torch with the sample inputs torch tests it with."""

    # torch picks other samples on other devices; the cases are those of the CPU everywhere.
    creates_on_device = False

    def __init__(self, task: Task, operator: Any, kinds: dict[int, str]) -> None:
        super().__init__(task)
        self._operator = operator
        self._kinds = kinds

    def build_reference(self, dtype: str, device: str, seed: int) -> Callable[..., Any]:
        """The operator itself."""
        reference: Callable[..., Any] = self._operator.op
        return reference

    def reference_source(self) -> str:
        """Text that names torch's function and asks torch for its samples; empty where the function has no name."""
        operator = self._operator
        name = _importable_name(operator)
        dtype = _sample_dtype(operator)
        if name is None or dtype is None:
            return ""
        return _SOURCE.format(function=name, name=operator.name, variant=operator.variant_test_name, dtype=dtype)

    def _call_factory(self, case: Case) -> Any:
        index = case.parameters["index"]
        # Samples come from one generator, so those before it must be made too.
        inputs = next(islice(_samples(self._operator), index, None), None)
        found = "missing" if inputs is None else _signature(inputs, values=False)
        if inputs is None or found != self._kinds[index]:
            raise TaskError(
                Finding.TASK_FAILS,
                f"Task {self.task.name}: sample {index} is {found} for this seed; it was {self._kinds[index]}.",
                "Torch makes the shapes of this sample at random: write a task file for this operator.",
            )
        return inputs

    def _find_resize(self, case: Case, limit_numel: int) -> None:
        """Samples are never shrunk: the few big ones are not checkable where there is a limit."""


_SOURCE = '''"""{function}, with the inputs that torch itself tests it with."""

from itertools import islice
from types import SimpleNamespace

import torch

reference = {function}


def make_inputs(case):
    # Torch's operator database needs the package expecttest.
    from torch.testing._internal.common_methods_invocations import op_db

    operator = next(entry for entry in op_db if (entry.name, entry.variant_test_name) == ({name!r}, {variant!r}))
    samples = operator.sample_inputs("cpu", {dtype}, requires_grad=False, set_seed=False)
    sample = next(islice(samples, case["index"], None))
    return SimpleNamespace(args=(sample.input, *sample.args), kwargs=dict(sample.kwargs))
'''


def load_opinfo(reference: str) -> OpInfoProgram:
    """Make a task of an operator.

    Args:
        reference: `aten::<name>` or `aten::<name>.<variant>`; the name is OpInfo's, ATen's, or an alias.

    Raises:
        TaskError: `TASK_UNREADABLE`, no such operator or no database; `TASK_WITHOUT_INPUTS`, no sample can be used.
    """
    operator = _find_operator(reference)
    samples = _usable_samples(operator, reference)
    if not samples:
        raise TaskError(
            Finding.TASK_WITHOUT_INPUTS,
            f"{reference}: torch has no sample for it that can be judged.",
            "Samples need dense tensors whose values follow the seed; write a task file for this operator.",
        )
    chosen = _choose(samples)
    cases = tuple(
        Case(
            name=f"sample{index}",
            parameters={"index": index, "arguments": samples[index].signature},
            hidden=position % _HIDDEN_EVERY == _HIDDEN_EVERY - 1,
        )
        for position, index in enumerate(chosen)
    )
    task = Task(
        name=PREFIX + _full_name(operator),
        form=TaskForm.OPINFO,
        reference=reference,
        source="",
        cases=cases,
        special_values=(),
    )
    return OpInfoProgram(task, operator, {index: samples[index].kind for index in chosen})


@cache
def _database() -> tuple[Any, ...]:
    """Every OpInfo of this torch. Importing them takes seconds.

    Raises:
        TaskError: `expecttest` is not installed.
    """
    # The import forbids the whole process to set torch.backends.*.allow_tf32 and the like, as a test suite wants.
    backends: Any = torch.backends
    forbid = backends.disable_global_flags
    backends.disable_global_flags = lambda: None
    try:
        module = importlib.import_module("torch.testing._internal.common_methods_invocations")
    except ModuleNotFoundError as error:
        if error.name != "expecttest":
            raise
        raise unreadable(
            "aten:: tasks",
            "torch's operator database needs the package expecttest, which is not installed.",
            'Run: pip install "kernelevolve[opinfo]"',
        ) from error
    finally:
        backends.disable_global_flags = forbid
    return tuple(module.op_db)


def _full_name(operator: Any) -> str:
    variant = operator.variant_test_name
    return f"{operator.name}.{variant}" if variant else str(operator.name)


def _find_operator(reference: str) -> Any:
    name = reference.removeprefix(PREFIX)
    operators = _database()
    # Without a variant the plain one is meant; an operator that has only variants stands for its first.
    for names in (
        lambda operator: [_full_name(operator)],
        lambda operator: [operator.name],
        lambda operator: [operator.aten_name],
        lambda operator: [alias.name for alias in operator.aliases],
    ):
        found = [operator for operator in operators if name in names(operator)]
        if found:
            return min(found, key=lambda operator: operator.variant_test_name != "")
    close = ", ".join(PREFIX + other for other in _closest(name, operators))
    raise unreadable(reference, "torch's database has no such operator.", f"The closest names: {close}.")


def _closest(name: str, operators: tuple[Any, ...]) -> list[str]:
    """The three names most like a name, whether or not their prefix (`nn.functional.`, `linalg.`) is given."""

    def likeness(other: str) -> float:
        forms = {other, other.removeprefix("nn.functional."), other.rpartition(".")[2]}
        return max(difflib.SequenceMatcher(None, name, form).ratio() for form in forms)

    names = {_full_name(operator) for operator in operators}
    return sorted(names, key=lambda other: (-likeness(other), len(other), other))[:3]


def _importable_name(operator: Any) -> str | None:
    """Where an operator's function is found by name; None where it is a helper of torch's tests."""
    found: Any = torch
    for part in operator.name.split("."):
        found = getattr(found, part, None)
    return f"torch.{operator.name}" if found is operator.op else None


def _sample_dtype(operator: Any) -> Any:
    """Dtype of an operator's samples; None where it takes none that is wanted."""
    supported = operator.supported_dtypes("cpu")
    return next((dtype for dtype in _SAMPLE_DTYPES if dtype in supported), None)


def _samples(operator: Any) -> Any:
    """Torch's samples as inputs, one after another; random values come from the shared generators."""
    dtype = _sample_dtype(operator)
    if dtype is None:
        return
    # set_seed=False: torch would otherwise use one seed of its own for all samples, so that they never change.
    for sample in operator.sample_inputs("cpu", dtype, requires_grad=False, set_seed=False):
        arguments = ((sample.input, *sample.args), dict(sample.kwargs))
        args, kwargs = tree_map_only(torch.Size, tuple, arguments)
        yield Inputs(args, kwargs)


def _usable_samples(operator: Any, reference: str) -> dict[int, _Sample]:
    """Index → sample, for those with dense, filled tensors whose values follow the seed."""
    try:
        runs = [_all_samples(operator, seed) for seed in _TRIAL_SEEDS]
    except Exception as error:
        raise TaskError(
            Finding.TASK_WITHOUT_INPUTS,
            f"{reference}: torch cannot make its samples: {type(error).__name__}: {error}",
            "Write a task file for this operator.",
            log=shorten_traceback(error),
        ) from error
    usable = {}
    for index, trials in enumerate(zip(*runs, strict=False)):
        kinds = {_signature(trial, values=False) for trial in trials}
        signatures = {_signature(trial) for trial in trials}
        first, second = trials[:2]
        if _is_usable(first) and len(kinds) == 1 and _differ(first, second):
            kind = kinds.pop()
            signature = signatures.pop() if len(signatures) == 1 else kind
            usable[index] = _Sample(signature, kind, sum(tensor.numel() for tensor in first.tensors()))
    return usable


def _all_samples(operator: Any, seed: int) -> list[Inputs]:
    with torch.no_grad(), seeded(seed):
        return list(_samples(operator))


def _is_usable(sample: Inputs) -> bool:
    """Whether a sample can be sent to a candidate: dense tensors and plain values."""
    leaves = tree_leaves((sample.args, sample.kwargs))
    plain = (bool, int, float, str, torch.dtype, torch.Tensor, type(None))
    dense = all(tensor.layout is torch.strided for tensor in sample.tensors())
    return dense and all(isinstance(leaf, plain) for leaf in leaves)


def _differ(sample: Inputs, other: Inputs) -> bool:
    """Whether any tensor differs: where none does (empty ones never do), the answers could be known beforehand."""
    return any(not torch.equal(mine, theirs) for mine, theirs in zip(sample.tensors(), other.tensors(), strict=True))


def _choose(samples: dict[int, _Sample]) -> list[int]:
    """At most `MOST_CASES` indices, spread evenly, the largest sample among them."""
    indices = sorted(samples)
    if len(indices) <= MOST_CASES:
        return indices
    chosen = [indices[place * len(indices) // MOST_CASES] for place in range(MOST_CASES)]
    largest = max(indices, key=lambda index: samples[index].elements)
    if largest not in chosen:
        chosen[min(range(MOST_CASES), key=lambda place: abs(chosen[place] - largest))] = largest
    return sorted(chosen)


def _signature(sample: Inputs, values: bool = True) -> str:
    """A sample in short: `float32[5, 10], 1, dtype=float64`.

    Args:
        sample: what to describe.
        values: whether numbers and strings show their values; some of torch's samples draw them at random.
    """
    named = [f"{name}={_describe(value, values)}" for name, value in sample.kwargs.items()]
    return ", ".join([*(_describe(value, values) for value in sample.args), *named])


def _describe(value: Any, values: bool) -> str:
    if isinstance(value, torch.Tensor):
        return f"{_dtype_name(value.dtype)}{list(value.shape)}"
    if isinstance(value, torch.dtype):
        return _dtype_name(value)
    if isinstance(value, list | tuple):
        opening, closing = "[]" if isinstance(value, list) else "()"
        return opening + ", ".join(_describe(item, values) for item in value) + closing
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_describe(item, values)}" for name, item in value.items()) + "}"
    return repr(value) if values or value is None else type(value).__name__


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
