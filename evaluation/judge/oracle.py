"""The oracle: what a correct output is, and how far from it a candidate may be."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import conditioning
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES, Tolerance
from kernelevolve.evaluation.tasks.program import Inputs
from kernelevolve.evaluation.verdict import Diagnosis

_CHUNK = 1 << 26
"""Elements compared at a time: bounds the memory of the comparison to a few fp64 copies of a chunk."""


_EIGHT_BITS = Tolerance(max_factor=2, rms_factor=2, ulps=1.01, rms_ulps=1)
"""For float8: eight epsilons, as for 16 bits, would be the whole value."""


@dataclass(frozen=True)
class Expected:
    """What the reference and the oracle say for one set of inputs."""

    outputs: tuple[torch.Tensor, ...]
    """The reference's outputs in the judged dtype."""
    oracle: tuple[torch.Tensor, ...]
    """The same in higher precision; for integers and booleans, the outputs themselves."""
    scales: tuple[Scale, ...]
    """The reference's own error and the output's size, one for each output."""
    note: str = ""
    """Said in the verdict when the oracle is weaker than fp64."""

    def nbytes(self) -> int:
        """Bytes held by the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.outputs, *self.oracle))


@dataclass(frozen=True)
class Scale:
    """Size of an output and of the reference's error, over the elements that are finite everywhere."""

    largest_error: float
    excess: float
    """Largest error beyond what rounding the values themselves explains (`_rounding`): one outlier's rounding says
    nothing about how far small values may be off."""
    error_norm: float
    norm: float
    count: int
    length: int = 1
    """Longest dimension of the inputs: so many numbers may be added up one by one."""

    @property
    def rms(self) -> float:
        """Root mean square of the oracle."""
        return self.norm / math.sqrt(self.count) if self.count else 0.0


def output_tensors(value: Any) -> list[Any]:
    """Flatten what an entry point returned; Python numbers count as outputs, None does not."""
    return [leaf for leaf in tree_leaves(value) if leaf is not None]


def _as_tensors(value: Any, what: str) -> tuple[torch.Tensor, ...]:
    tensors = []
    for leaf in output_tensors(value):
        if isinstance(leaf, torch.Tensor):
            tensors.append(leaf.detach())
        elif isinstance(leaf, bool | int | float):
            tensors.append(torch.tensor(leaf))
        else:
            raise TaskError(
                Finding.TASK_FAILS, f"The {what} returned a {type(leaf).__name__}.", "Return tensors or numbers."
            )
    if not tensors:
        raise TaskError(Finding.TASK_FAILS, f"The {what} returned no tensor.", "Return the result.")
    return tuple(tensors)


def expect(reference: Callable[..., Any], high: Callable[..., Any] | None, inputs: Inputs) -> Expected:
    """Run reference and oracle on one set of inputs.

    Args:
        reference: the task's reference in the judged dtype.
        high: the same with parameters in float64, or None to go without an oracle.
        inputs: what both get; neither may change it, since they get copies.

    Raises:
        TaskError: the reference fails on its own inputs.
    """
    with torch.no_grad():
        try:
            copy = inputs.map_tensors(torch.clone)
            outputs = _as_tensors(reference(*copy.args, **copy.kwargs), "reference")
        except TaskError:
            raise
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise TaskError(
                Finding.TASK_FAILS,
                f"The reference fails on its own inputs: {type(error).__name__}: {_first_line(error)}",
                "Mend the task.",
            ) from error
        oracle, note = _oracle(high, inputs, outputs)
    length = max((size for tensor in inputs.tensors() for size in tensor.shape), default=1)
    scales = tuple(_scale(output, truth, length) for output, truth in zip(outputs, oracle, strict=True))
    with torch.no_grad():
        return Expected(outputs, oracle, _conditioned(scales, high, inputs, outputs, oracle), note)


def _conditioned(
    scales: tuple[Scale, ...],
    high: Callable[..., Any] | None,
    inputs: Inputs,
    outputs: tuple[torch.Tensor, ...],
    oracle: tuple[torch.Tensor, ...],
) -> tuple[Scale, ...]:
    """The scales, where an output is small, with at least the error that rounding the inputs makes."""
    small = [
        truth is not output and conditioning.wanted_for(output) for output, truth in zip(outputs, oracle, strict=True)
    ]
    if high is None or not any(small):
        return scales
    eps = max(torch.finfo(output.dtype).eps for output, chosen in zip(outputs, small, strict=True) if chosen)
    effects = conditioning.rounding_effects(high, inputs.map_tensors(_raised), oracle, eps)
    return tuple(
        dataclasses.replace(scale, excess=max(scale.excess, largest), error_norm=max(scale.error_norm, norm))
        if chosen
        else scale
        for scale, (largest, norm), chosen in zip(scales, effects, small, strict=True)
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def _oracle(
    high: Callable[..., Any] | None, inputs: Inputs, outputs: tuple[torch.Tensor, ...]
) -> tuple[tuple[torch.Tensor, ...], str]:
    """The reference in float64; where the operator has no float64 form, its own outputs, and a note that says so."""
    if high is None or not any(_is_inexact(output) for output in outputs):
        return outputs, ""
    try:
        raised = inputs.map_tensors(_raised)
        truth = _as_tensors(high(*raised.args, **raised.kwargs), "reference in float64")
    except torch.OutOfMemoryError:
        return outputs, "no oracle: not enough memory for the reference in float64"
    except Exception as error:  # noqa: BLE001 - task code may raise anything; the verdict says that there is no oracle
        return outputs, f"no oracle: the reference does not run in float64 ({_first_line(error)[:120]})"
    if [tensor.shape for tensor in truth] != [tensor.shape for tensor in outputs]:
        return outputs, "no oracle: the reference gives other shapes in float64"
    kept, note = [], ""
    for output, exact in zip(outputs, truth, strict=True):
        if _is_inexact(output) and exact.dtype == (torch.complex128 if output.is_complex() else torch.float64):
            kept.append(exact)
        else:
            kept.append(output)
            if _is_inexact(output):
                note = "no oracle: the reference returns a lower precision than float64 when given float64"
    return tuple(kept), note


def _is_inexact(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _raised(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor.clone()


def _parts(tensor: torch.Tensor) -> torch.Tensor:
    """A complex tensor as real ones: a last dimension of real and imaginary part."""
    return torch.view_as_real(tensor.resolve_conj().resolve_neg()) if tensor.is_complex() else tensor


def _rounding(dtype: torch.dtype) -> float:
    """Relative error that a value of the reference may have without its telling about the others.

    A sixteenth of the element bound's relative part: half an epsilon for 16 bits. An element is then still allowed at
    least 5 times the reference's own error there, wherever that error comes from.
    """
    return tolerance_for(dtype, {}).ulps / 16 * torch.finfo(dtype).eps


def _smallest(info: torch.finfo, ulps: float) -> float:
    """Absolute error that is always allowed: hardware may flush subnormal numbers to zero.

    Not those of fp16 and fp8, which every device keeps: 6e-5 is a usual value there, not a negligible one.
    """
    return float(info.tiny if info.tiny < 1e-30 else ulps * info.eps * info.tiny)


def _chunks(*tensors: torch.Tensor) -> Iterator[tuple[int, tuple[torch.Tensor, ...]]]:
    """Flat pieces of equally shaped tensors, each with its start."""
    flat = [tensor.reshape(-1) for tensor in tensors]
    for start in range(0, max(flat[0].numel(), 1), _CHUNK):
        yield start, tuple(tensor[start : start + _CHUNK] for tensor in flat)


def _scale(output: torch.Tensor, truth: torch.Tensor, length: int = 1) -> Scale:
    measured = truth is not output
    if not _is_inexact(output):
        return Scale(0.0, 0.0, 0.0, 0.0, 0)
    output, truth = _parts(output), _parts(truth)
    rounding = _rounding(output.dtype)
    if _fused(output):
        from kernelevolve.evaluation.judge.gpu_compare import scale_sums

        sums = scale_sums(output.contiguous(), truth.contiguous(), rounding)
    else:
        sums = _scale_with_torch(output, truth, rounding)
    largest, excess, error_square, square, count = sums
    scale = Scale(largest, excess, math.sqrt(error_square), math.sqrt(square), count, length)
    if measured or output.element_size() < 4:
        return scale
    # Without an oracle the reference's error is unknown. Adding up `length` numbers makes about this one.
    guess = torch.finfo(output.dtype).eps / 4 * math.sqrt(length) * scale.rms
    return dataclasses.replace(scale, excess=max(excess, guess))


def _fused(tensor: torch.Tensor) -> bool:
    """Whether the fused comparison is worth it: on a GPU, for outputs that take torch more than a few launches."""
    return tensor.is_cuda and tensor.numel() > 1 << 20 and importlib.util.find_spec("triton") is not None


def _scale_with_torch(
    output: torch.Tensor, truth: torch.Tensor, rounding: float
) -> tuple[float, float, float, float, int]:
    sums = torch.zeros(5, dtype=torch.float64, device=output.device)
    for _start, (low, high) in _chunks(output, truth):
        exact = high.double()
        error = (low.double() - exact).abs()
        usable = torch.isfinite(error)
        error = torch.where(usable, error, 0.0)
        exact = torch.where(usable, exact, 0.0)
        if not error.numel():
            continue
        sums[0] = torch.maximum(sums[0], error.max())
        sums[1] = torch.maximum(sums[1], (error - rounding * exact.abs()).max())
        sums[2] += error.square().sum()
        sums[3] += exact.square().sum()
        sums[4] += usable.sum()
    largest, excess, error_square, square, count = sums.tolist()
    return largest, excess, error_square, square, int(count)


def tolerance_for(dtype: torch.dtype, tolerances: dict[str, Tolerance]) -> Tolerance:
    """The bound for an output dtype. 8-bit floats, of which no task states a bound, may be one step off."""
    name = str(dtype).removeprefix("torch.")
    return tolerances.get(name) or DEFAULT_TOLERANCES.get(name) or _EIGHT_BITS


def compare(
    expected: Expected, got: list[torch.Tensor], tolerances: dict[str, Tolerance], where: dict[str, Any]
) -> Diagnosis | None:
    """Compare outputs of the right shapes and dtypes with the oracle.

    Args:
        expected: what `expect` found.
        got: the candidate's outputs; same count, shapes and dtypes as `expected.outputs`.
        tolerances: bounds by output dtype.
        where: case, dtype, trial … for the diagnosis.

    Returns:
        None when every output is within its bound, else what is wrong with the first that is not.
    """
    for index, output in enumerate(got):
        there = {**where, "output": index} if len(got) > 1 else where
        wanted, truth, scale = expected.outputs[index], expected.oracle[index], expected.scales[index]
        if not _is_inexact(wanted):
            diagnosis = _compare_exactly(wanted, output, there)
        else:
            wanted, truth, output = _parts(wanted), _parts(truth), _parts(output)
            diagnosis = _compare_closely(wanted, truth, scale, output, tolerance_for(wanted.dtype, tolerances), there)
        if diagnosis is not None:
            return diagnosis
    return None


def _index_of(flat: int, shape: torch.Size) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        index.append(flat % size)
        flat //= size
    return tuple(reversed(index))


def _compare_exactly(wanted: torch.Tensor, got: torch.Tensor, where: dict[str, Any]) -> Diagnosis | None:
    differs = (wanted != got).reshape(-1)
    count = int(differs.sum())
    if not count:
        return None
    first = int(differs.to(torch.uint8).argmax())
    here, there = wanted.reshape(-1)[first].item(), got.reshape(-1)[first].item()
    return Diagnosis(
        finding=Finding.WRONG_VALUES,
        summary=f"{count} of {wanted.numel()} values differ; the first at {list(_index_of(first, wanted.shape))}: "
        f"expected {here}, got {there}.",
        advice="Integers and booleans must be equal.",
        where=where,
        first_index=_index_of(first, wanted.shape),
        expected=here,
        got=there,
        mismatched=count,
        elements=wanted.numel(),
    )


@dataclass
class _Tally:
    bad: int = 0
    first: int = -1
    worst: float = -1.0
    worst_at: int = -1
    error_square: float = 0.0
    bound_square: float = 0.0
    special: bool = False


def _for_length(tolerance: Tolerance, length: int) -> Tolerance:
    """The bounds for results that may be sums of `length` numbers, added one by one in a plain loop.

    The worst element of such a sum of positive numbers was seen off by up to 1.2·sqrt(length) epsilons. Once the sum is
    so large that each number is rounded to a coarse grid, all sums are off in the same direction, so the norm of the
    error grows faster: 1600 roundings at 393,216 (softmax of uniform numbers). At the caps, a result rounded to fp16 is
    still off by three times what is allowed.
    """
    steps = math.sqrt(length)
    return tolerance.model_copy(
        update={
            "ulps": max(tolerance.ulps, min(1.2 * steps, 1024)),
            "rms_ulps": max(tolerance.rms_ulps, min(max(steps, length / 192), 2048)),
        }
    )


def _compare_closely(
    wanted: torch.Tensor,
    truth: torch.Tensor,
    scale: Scale,
    got: torch.Tensor,
    tolerance: Tolerance,
    where: dict[str, Any],
) -> Diagnosis | None:
    info = torch.finfo(wanted.dtype)
    usual = tolerance.ulps >= tolerance_for(wanted.dtype, {}).ulps
    if usual and wanted.element_size() >= 4:
        tolerance = _for_length(tolerance, scale.length)
    smallest = _smallest(info, tolerance.ulps)
    # A typical rounding error of a typical value, in case the reference rounds only once, and the candidate, as a
    # matrix unit makes it, what goes in too.
    # `Scale.excess` counts on the usual relative part of the bound; a task that narrows that gets the whole error.
    excess = max(scale.excess if usual else scale.largest_error, info.eps / 4 * scale.rms)
    floor = max(tolerance.max_factor * excess, tolerance.ulps / 16 * info.eps * scale.rms, smallest)
    if _fused(wanted):
        tally = _tally_fused(wanted, truth, got, tolerance, floor, info.eps)
    else:
        tally = _tally_with_torch(wanted, truth, got, tolerance, floor, info.eps)
    error_norm = math.sqrt(tally.error_square)
    norm_bound = max(
        tolerance.rms_factor * scale.error_norm,
        tolerance.rms_ulps * info.eps / math.sqrt(12) * scale.norm,
        math.sqrt(tally.bound_square),
        smallest * math.sqrt(max(scale.count, 1)),
    )
    if not tally.bad and error_norm <= norm_bound:
        return None
    at = tally.first if tally.bad else tally.worst_at
    exact, mine_value = float(truth.reshape(-1)[at]), float(got.reshape(-1)[at])
    index = _index_of(at, wanted.shape)
    ratio = tally.worst / scale.largest_error if scale.largest_error > 0 and tally.worst >= 0 else None
    if tally.bad:
        summary = (
            f"{tally.bad} of {wanted.numel()} values are out of bounds; the first at {list(index)}: "
            f"expected {exact:.9g}, got {mine_value:.9g}."
        )
        advice = ""
        if tally.special:
            advice = (
                "NaN and infinities must come out as in the reference: propagate NaN "
                "(in Triton tl.maximum(..., propagate_nan=tl.PropagateNan.ALL), or tl.where with x != x)."
            )
    else:
        summary = (
            f"Every value is close, but together they are off by {error_norm / max(scale.norm, info.tiny):.3g} of the "
            f"output's norm, {error_norm / norm_bound:.3g} times what is allowed."
        )
        advice = "Compute and accumulate in the stated precision: this looks like a lower one."
    ulp = info.eps * 2.0 ** math.floor(math.log2(abs(exact))) if math.isfinite(exact) and exact != 0 else None
    return Diagnosis(
        finding=Finding.WRONG_VALUES,
        summary=summary,
        advice=advice,
        where=where,
        first_index=index,
        expected=exact,
        got=mine_value,
        mismatched=tally.bad or None,
        elements=wanted.numel(),
        max_error=tally.worst if tally.worst >= 0 else None,
        max_error_ulps=abs(mine_value - exact) / ulp if ulp and math.isfinite(mine_value) else None,
        error_ratio=ratio,
    )


def _tally_fused(
    wanted: torch.Tensor, truth: torch.Tensor, got: torch.Tensor, tolerance: Tolerance, floor: float, eps: float
) -> _Tally:
    from kernelevolve.evaluation.judge.gpu_compare import tally

    low, high, mine = wanted.contiguous(), truth.contiguous(), got.contiguous()
    totals = tally(low, high, mine, floor, tolerance.ulps * eps, tolerance.rtol, tolerance.atol)
    special = False
    if totals.bad:
        there = [float(tensor.reshape(-1)[totals.first]) for tensor in (low, high, mine)]
        special = not all(math.isfinite(value) for value in there)
    return _Tally(
        totals.bad,
        totals.first,
        totals.worst,
        totals.worst_at,
        totals.error_square,
        totals.asked_square,
        special,
    )


def _tally_with_torch(
    wanted: torch.Tensor, truth: torch.Tensor, got: torch.Tensor, tolerance: Tolerance, floor: float, eps: float
) -> _Tally:
    tally = _Tally()
    for start, (low, high, mine) in _chunks(wanted, truth, got):
        _tally_chunk(tally, start, low, high, mine, tolerance, floor, eps)
    return tally


def _tally_chunk(
    tally: _Tally,
    start: int,
    low: torch.Tensor,
    high: torch.Tensor,
    mine: torch.Tensor,
    tolerance: Tolerance,
    floor: float,
    eps: float,
) -> None:
    if not mine.numel():
        return
    exact, value = high.double(), mine.double()
    error = (value - exact).abs()
    bound = (exact.abs() * (tolerance.ulps * eps)).clamp_min_(floor)
    if tolerance.rtol or tolerance.atol:
        asked = exact.abs() * tolerance.rtol + tolerance.atol
        bound = torch.maximum(bound, asked)
        tally.bound_square += float(torch.where(torch.isfinite(asked), asked, 0.0).square().sum())
    # Where the oracle is infinite, so are error and bound, and any number would be "within".
    within = (error <= bound) & torch.isfinite(exact)
    # NaN or infinity somewhere: right is what the reference gives in its own dtype, or what the oracle gives; torch's
    # own vectorised paths differ from its scalar ones there (gelu(+inf) is NaN in one and inf in the other).
    # In fp64 throughout: 8-bit floats have neither comparisons nor `isfinite`.
    reference, rounded = low.double(), high.to(low.dtype).double()
    odd = ~(torch.isfinite(exact) & torch.isfinite(reference) & torch.isfinite(value))
    agrees = (value == reference) | (value == rounded) | (value.isnan() & (reference.isnan() | rounded.isnan()))
    good = torch.where(odd, agrees | within, within)
    bad = int((~good).sum())
    # The norms are those of `_scale`: without elements that the reference itself got infinite.
    usable = torch.where(torch.isfinite(error) & torch.isfinite(reference), error, 0.0)
    worst, at = usable.max(dim=0)
    if float(worst) > tally.worst:
        tally.worst, tally.worst_at = float(worst), start + int(at)
    tally.error_square += float(usable.square().sum())
    if bad:
        first = int((~good).to(torch.uint8).argmax())
        if not tally.bad:
            tally.first = start + first
            tally.special = bool(odd[first])
        tally.bad += bad
