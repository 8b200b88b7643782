"""A task: the operator to optimise, with its cases, dtypes and tolerances (the description, without the code)."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from kernelevolve.evaluation.contract import Contract


class TaskForm(StrEnum):
    """How the task was written; detected, never declared (DESIGN 4.1)."""

    KERNELBENCH = "kernelbench"
    FUNCTION = "function"
    OPINFO = "opinfo"


class Layout(StrEnum):
    """How an input lies in memory when a candidate is checked."""

    CONTIGUOUS = "contiguous"
    OFFSET = "offset"
    """Contiguous, but starting one element into its storage, so that it is not 16-byte aligned."""
    STRIDED = "strided"
    """The last dimension is padded: strides are larger than the shape says."""


class SpecialValue(StrEnum):
    """Values that are planted into floating-point inputs in one correctness trial."""

    ZERO = "zero"
    NEGATIVE_ZERO = "negative_zero"
    SUBNORMAL = "subnormal"
    INFINITY = "infinity"
    NAN = "nan"


class Case(Contract):
    """One named input shape of a task."""

    name: str
    """Name, unique in the task."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """What `make_inputs` receives, less `weight` and `hidden`."""
    weight: float = Field(default=1.0, gt=0)
    """Weight in the fitness (a weighted geometric mean of speed-ups); no unit."""
    hidden: bool = False
    """Hidden cases are judged like the others but their parameters are never shown to authors."""


class Tolerance(Contract):
    """How far from the oracle a correct output may lie, for one output dtype.

    With `eps` the dtype's machine epsilon and `R` the largest amount by which the reference's own error exceeds
    `ulps/16·eps·|oracle|` (what rounding each value explains; at least `eps/4·rms(oracle)`), an element may be off by
    `max(max_factor·R, ulps·eps·|oracle|, ulps/16·eps·rms(oracle))`, and the 2-norm of the error by
    `max(rms_factor·‖reference error‖, rms_ulps·eps/√12·‖oracle‖)` (`eps/√12` is the noise of one rounding). A task that
    gives `rtol`/`atol` widens the element bound to `atol + rtol·|oracle|`, and the norm bound to that vector's norm.
    """

    max_factor: float = Field(gt=0)
    """Factor on the reference's largest error beyond rounding; no unit."""
    rms_factor: float = Field(gt=0)
    """Factor on the norm of the reference's error; no unit."""
    ulps: float = Field(gt=0)
    """Floor of the element bound, in machine epsilons of the value."""
    rms_ulps: float = Field(gt=0)
    """Floor of the norm bound, in single roundings."""
    rtol: float = Field(default=0.0, ge=0)
    """Relative tolerance asked for by the task; 0 where the task asks for none."""
    atol: float = Field(default=0.0, ge=0)
    """Absolute tolerance asked for by the task, in the output's unit; 0 where the task asks for none."""


DEFAULT_TOLERANCES: dict[str, Tolerance] = {
    # Honest kernels were seen at up to 4.3 times the reference's own largest error (54 small operators). The floors
    # are for references that happen to be exact, and for sums in another order: adding n positive numbers one by one
    # is off by sqrt(n/3) roundings at least, so `oracle._for_length` widens these bounds for inputs longer than 16,000.
    # A result rounded to 16 bits is off by 4096 epsilons of fp32, so there is room between.
    "float64": Tolerance(max_factor=8, rms_factor=4, ulps=1024, rms_ulps=512),
    "float32": Tolerance(max_factor=8, rms_factor=4, ulps=256, rms_ulps=128),
    # bf16 has an eighth of fp16's precision: the norm bound must stay below that to notice it.
    "float16": Tolerance(max_factor=8, rms_factor=4, ulps=8, rms_ulps=4),
    "bfloat16": Tolerance(max_factor=8, rms_factor=4, ulps=8, rms_ulps=4),
}
"""Default bounds by output dtype. Integers and booleans must be equal."""


class Task(Contract):
    """The description of a task. Loading one runs no reference and makes no inputs."""

    name: str
    """Short name: the file's or folder's name, or `aten::<operator>`."""
    form: TaskForm
    """The form that was detected."""
    reference: str
    """Where the task comes from: a path, or `aten::<operator>`."""
    source: str
    """The task's source text; empty for an OpInfo task."""
    cases: tuple[Case, ...] = Field(min_length=1)
    """All cases, hidden ones too."""
    dtypes: tuple[str, ...] = ("float32",)
    """Dtypes that floating-point inputs are cast to, the first being the one that is timed."""
    tolerances: dict[str, Tolerance] = Field(default_factory=lambda: dict(DEFAULT_TOLERANCES))
    """Bounds by output dtype."""
    layouts: tuple[Layout, ...] = (Layout.CONTIGUOUS,)
    """Input layouts a candidate must cope with."""
    special_values: tuple[SpecialValue, ...] = tuple(SpecialValue)
    """Special values planted in one trial; empty to plant none."""
    backward: bool = False
    """Whether the task asks for gradients too. The judge does not check them yet, and its verdicts say so."""
    starting_points: tuple[Path, ...] = ()
    """Candidate files that are known to be correct, simplest first."""
    allow_tf32: bool = False
    """Whether fp32 products may be made in TF32: the task's tolerances are then not tightened because they accept an
    output of lower precision."""
    has_flops: bool = False
    """Whether the task states `flops(case)`."""
    has_bytes: bool = False
    """Whether the task states `bytes(case)`."""

    @property
    def task_hash(self) -> str:
        """SHA-256 over everything that decides a verdict, in hexadecimal."""
        # A field that came later counts where it is used, so that other tasks keep their hash.
        later = set() if self.allow_tf32 else {"allow_tf32"}
        content = self.model_dump(mode="json", exclude={"reference", "starting_points", *later})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def timed_cases(self) -> tuple[Case, ...]:
        """The cases that count for speed: all of them."""
        return self.cases
