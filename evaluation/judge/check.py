"""Correctness: run a candidate on one set of inputs and compare what comes back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.arena import Arena, aligned, dense_strides
from kernelevolve.evaluation.judge.data import Placed, arena_bytes, place
from kernelevolve.evaluation.judge.handle import WorkerHandle
from kernelevolve.evaluation.judge.operators import Operators
from kernelevolve.evaluation.judge.oracle import Expected, compare
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.task import Case, Layout
from kernelevolve.evaluation.tasks.program import Inputs
from kernelevolve.evaluation.verdict import Diagnosis


@dataclass(frozen=True)
class Check:
    """One trial."""

    case: Case
    dtype: str
    trial: object
    layout: Layout = Layout.CONTIGUOUS
    special: bool = False
    limit_numel: int | None = None

    def where(self) -> dict[str, Any]:
        """Words for a diagnosis. A hidden case keeps its parameters to itself."""
        words: dict[str, Any] = {"case": self.case.name if not self.case.hidden else "hidden", "dtype": self.dtype}
        if self.layout is not Layout.CONTIGUOUS:
            words["layout"] = self.layout.value
        if self.special:
            words["inputs"] = "with special values"
        return words


class Desk:
    """The two arenas between the judge and its workers on one device; they grow and are used again."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._arenas: dict[str, Arena] = {}
        self._attached: dict[str, WorkerHandle] = {}

    def arena(self, name: str, nbytes: int, worker: WorkerHandle, limit_s: float) -> Arena:
        """An arena of at least that size which the worker has mapped."""
        held = self._arenas.get(name)
        if held is None or held.nbytes < nbytes:
            if held is not None:
                held.close()
            self._arenas.pop(name, None)
            self._attached.pop(name, None)
            self._arenas[name] = Arena.create(nbytes, self._device)
        if self._attached.get(name) is not worker:
            description, descriptors = self._arenas[name].description()
            worker.ask("attach", limit_s, descriptors, name=name, arena=description)
            self._attached[name] = worker
        return self._arenas[name]

    def close(self) -> None:
        """Free the arenas."""
        for arena in self._arenas.values():
            arena.close()
        self._arenas, self._attached = {}, {}


def output_form(expected: Expected) -> list[dict[str, Any]]:
    """Shape and dtype of the outputs, for candidates that write into given memory, which is contiguous."""
    return [
        {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
        }
        for tensor in expected.outputs
    ]


def lay_out(
    state: TaskState, desk: Desk, worker: WorkerHandle, inputs: Inputs, dtype: str, layout: Layout, limit_s: float
) -> Placed:
    """Put inputs (and a module's parameters, for function candidates) where the worker sees them."""
    extra = state.extra(dtype)
    room = arena_bytes(inputs, layout) + sum(aligned(tensor.numel() * tensor.element_size()) for tensor in extra) + 512
    return place(inputs, extra, desk.arena("inputs", room, worker, limit_s), layout)


def outputs_arena(desk: Desk, worker: WorkerHandle, expected: Expected, limit_s: float) -> Arena:
    """The arena for outputs, poisoned. Twice the expected size, so that a wrong dtype still fits and can be named."""
    room = sum(aligned(tensor.numel() * max(tensor.element_size(), 4)) for tensor in expected.outputs) + 4096
    arena = desk.arena("outputs", room, worker, limit_s)
    arena.block()[:room].fill_(0xFF)
    return arena


def check(state: TaskState, desk: Desk, worker: WorkerHandle, what: Check, limit_s: float) -> Diagnosis | None:
    """Run one trial.

    Returns:
        None when the candidate is right, else what is wrong.

    Raises:
        CandidateError: it failed to run.
    """
    inputs, expected = state.inputs_and_expected(what.case, what.dtype, what.trial, what.special, what.limit_numel)
    return check_on(state, desk, worker, what, inputs, expected, limit_s)


def check_on(
    state: TaskState,
    desk: Desk,
    worker: WorkerHandle,
    what: Check,
    inputs: Inputs,
    expected: Expected,
    limit_s: float,
    mute: bool = False,
) -> Diagnosis | None:
    """`check` on given inputs; with `mute` the candidate's Triton kernels do not run."""
    placed = lay_out(state, desk, worker, inputs, what.dtype, what.layout, limit_s)
    arena = outputs_arena(desk, worker, expected, limit_s)
    if state.device != "cpu":
        torch.cuda.synchronize()
    try:
        reply = worker.ask("run", limit_s, inputs=placed.description, outputs=output_form(expected), mute=mute)
    except CandidateError as error:
        if what.case.hidden:
            raise _withheld(error.finding) from error
        where = ", ".join(f"{key} {value}" for key, value in what.where().items())
        raise CandidateError(error.finding, f"{error.summary} At: {where}.", error.advice, error.log) from error
    worker.operators = read_operators(reply.get("operators"))
    got = read_outputs(reply.get("outputs"), expected, arena, state.device, what.where())
    if isinstance(got, Diagnosis):
        return got
    diagnosis = compare(expected, got, state.task.tolerances, what.where())
    if diagnosis is not None:
        return _refine(diagnosis, what, got)
    for index, (before, after) in enumerate(zip(inputs.tensors(), placed.tensors, strict=False)):
        if not _same_bits(before, after):
            return Diagnosis(
                finding=Finding.INPUT_MODIFIED,
                summary=f"Input {index} was changed by the candidate.",
                advice="Leave the inputs alone; write into memory of your own.",
                where=what.where(),
            )
    return None


def _withheld(finding: Finding) -> CandidateError:
    """A failure in a hidden case, without a word of the candidate's: it could tell the author what the case is."""
    return CandidateError(
        finding,
        "The candidate failed in a hidden case.",
        "What it said there is not told, for it knows the inputs. Try odd sizes, small ones, no multiples of a block.",
    )


def read_operators(listed: Any) -> Operators:
    """What a worker says that torch ran.

    Raises:
        CandidateError: it makes no sense.
    """
    seen: Operators = Counter()
    for entry in listed if isinstance(listed, list) else [None]:
        match entry:
            case [str(name), int(elements), int(times)]:
                seen[name, elements] += times
            case _:
                raise CandidateError(Finding.RESULT_FORGED, f"The worker answered {str(entry)[:80]} for an operator.")
    return seen


def _refine(diagnosis: Diagnosis, what: Check, got: list[torch.Tensor]) -> Diagnosis:
    """Name the finding by what was special about the trial."""
    if diagnosis.finding is not Finding.WRONG_VALUES:
        return diagnosis
    finding: Finding = diagnosis.finding
    advice = diagnosis.advice
    if what.layout is Layout.STRIDED:
        finding = Finding.WRONG_ON_STRIDED_INPUT
        advice = "The input's strides are larger than its shape says: pass strides, or call .contiguous() first."
    elif what.layout is Layout.OFFSET:
        finding = Finding.WRONG_ON_OFFSET_INPUT
        advice = "The input starts one element into its storage: don't assume 16-byte alignment."
    elif what.special:
        finding = Finding.WRONG_SPECIAL_VALUES
        advice = advice or "Zeros, subnormals, infinities and NaN must give what the reference gives."
    elif diagnosis.got is not None and diagnosis.got != diagnosis.got and any(_has_nan(tensor) for tensor in got):
        finding = Finding.OUTPUT_NOT_WRITTEN
        advice = (
            "NaN where a number belongs: memory was poisoned before the call, so this part was probably not written."
        )
    advice = advice or "Check the formula, the index arithmetic and the loop bounds at that place."
    return diagnosis.model_copy(update={"finding": finding, "advice": advice})


def _has_nan(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isnan().any())


def _same_bits(before: torch.Tensor, after: torch.Tensor) -> bool:
    if before.is_floating_point():
        kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[before.element_size()]
        # Compared as integers: NaN is not equal to itself.
        return bool(torch.equal(before.contiguous().view(kind), after.contiguous().view(kind)))
    return bool(torch.equal(before, after))


def read_outputs(
    described: Any, expected: Expected, arena: Arena, device: str, where: dict[str, Any]
) -> list[torch.Tensor] | Diagnosis:
    """Take the outputs out of the arena, checking what the worker claims about them.

    Returns:
        Tensors of the expected shapes and dtypes, or what is wrong.
    """

    def wrong(finding: Finding, summary: str, advice: str = "") -> Diagnosis:
        return Diagnosis(finding=finding, summary=summary, advice=advice, where=where)

    wanted = expected.outputs
    if not isinstance(described, list) or len(described) != len(wanted):
        count = len(described) if isinstance(described, list) else 0
        return wrong(
            Finding.WRONG_OUTPUT_COUNT,
            f"The candidate returned {count} outputs; the reference returns {len(wanted)}.",
            "Return them in the reference's order.",
        )
    got: list[torch.Tensor] = []
    offset = 0
    for index, (entry, tensor) in enumerate(zip(described, wanted, strict=True)):
        name = f"Output {index}" if len(wanted) > 1 else "The output"
        dtype = str(tensor.dtype).removeprefix("torch.")
        if not isinstance(entry, dict) or not {"type"} <= entry.keys():
            return wrong(Finding.RESULT_FORGED, f"{name} was described as {str(entry)[:80]}.")
        if entry.get("type") != "Tensor" or entry.get("stride") is None:
            return wrong(
                Finding.WRONG_TYPE,
                f"{name} is a {entry.get('type')}.",
                "Return dense torch.Tensors, alone or in plain lists, tuples or dicts; no subclasses.",
            )
        if not {"device", "dtype", "shape", "aliases"} <= entry.keys():
            return wrong(Finding.RESULT_FORGED, f"{name} was described as {str(entry)[:80]}.")
        if entry["device"] != ("cpu" if device == "cpu" else "cuda"):
            return wrong(Finding.WRONG_DEVICE, f"{name} is on {entry['device']}.", f"Return it on {device}.")
        if entry["dtype"] != dtype:
            return wrong(
                Finding.WRONG_DTYPE,
                f"{name} is {entry['dtype']}; the reference gives {dtype}.",
                "Return the reference's dtype; compute in another one inside, if need be.",
            )
        if entry["shape"] != list(tensor.shape):
            return wrong(
                Finding.WRONG_SHAPE,
                f"{name} has shape {entry['shape']}; the reference gives {list(tensor.shape)}.",
                "Return the reference's shape for every case.",
            )
        if entry["aliases"]:
            return wrong(
                Finding.OUTPUT_ALIASES_INPUT, f"{name} is an input's own memory.", "Return memory of your own."
            )
        if entry.get("offset") != offset:
            return wrong(Finding.RESULT_FORGED, f"{name} was not handed over where the judge expects it.")
        got.append(arena.tensor(offset, tuple(tensor.shape), dense_strides(tensor.shape), tensor.dtype))
        offset += aligned(tensor.numel() * tensor.element_size())
    return got
