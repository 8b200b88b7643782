"""`python MODULE.py --check`: compare every kernel with the reference on the task's cases. This text becomes part of
exported modules."""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from kernelevolve.evaluation.export.dispatch import Dispatcher

_TIMED_CALLS = 20


class Parameters(dict[str, Any]):
    """A case's parameters, as `case["rows"]` or `case.rows`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def main(dispatcher: Dispatcher, make: Callable[[Any], Any], build: Callable[[], Any] | None) -> int:
    """Check and print a table.

    Args:
        dispatcher: of this module.
        make: the inputs of a case.
        build: makes the module, for tasks in module form.

    Returns:
        0 when every case ran a kernel (or the reference, where that is the plan) and was right, else 1.
    """
    parser = argparse.ArgumentParser(description="Compare the kernels of this module with the PyTorch reference.")
    parser.add_argument("--check", action="store_true", required=True)
    parser.add_argument("--device", default=None, help="default: the first platform's, where it is here")
    parser.add_argument("--any-device", action="store_true", help="also where the device is another than was measured")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if dispatcher.reference is None:
        parser.exit(2, "This export carries no reference to compare with.\n")
    dispatcher.any_device = options.any_device
    device = torch.device(options.device or _device(dispatcher.plan))
    rows = [("case", "dtype", "ran", "max error", "of bound", "kernel", "reference", "")]
    for name, parameters in dispatcher.plan["cases"].items():
        for dtype in dispatcher.plan["dtypes"]:
            torch.manual_seed(options.seed)
            module = None if build is None else _cast(build(), dtype).to(device)
            with torch.device(device):
                given = make(Parameters(copy.deepcopy(parameters)))
            args, kwargs = _placed(_arguments(given), device, getattr(torch, dtype))
            rows.append((name, dtype, *_check_case(dispatcher, args, kwargs, module)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    wrong = sum(row[-1] != "right" for row in rows[1:])
    print(f"{len(rows) - 1 - wrong} of {len(rows) - 1} right on {dispatcher.plan['task']}, {device}")
    return 1 if wrong else 0


def _check_case(
    dispatcher: Dispatcher, args: tuple[Any, ...], kwargs: dict[str, Any], module: Any
) -> tuple[str, str, str, str, str, str]:
    reference = dispatcher.reference
    assert reference is not None
    with torch.no_grad():
        found = dispatcher.explain(args, kwargs, module)
        if found["kind"] not in ("kernel", "planned"):
            return (f"nothing: {found['why']}", "", "", "", "", "not checked")
        before = copy.deepcopy((args, kwargs))
        right = _leaves(reference(args, kwargs, module))
        got = _leaves(dispatcher(args, kwargs, module))
        oracle = _oracle(dispatcher, before, module) or right
        kernel_ms = _time(lambda: dispatcher(args, kwargs, module))
        reference_ms = _time(lambda: reference(args, kwargs, module))
    error, share = 0.0, 0.0
    fits = len(got) == len(right)
    for mine, theirs, exact in zip(got, right, oracle, strict=False):
        fits = fits and mine.shape == theirs.shape and mine.dtype == theirs.dtype
        if fits:
            worst, part = _compare(dispatcher.plan, mine, theirs, exact)
            error, share = max(error, worst), max(share, part)
    verdict = "right" if fits and share <= 1 else "WRONG"
    return (
        found["kernel"] or "reference", f"{error:.3g}", f"{share:.2f}", f"{kernel_ms:.4g} ms", f"{reference_ms:.4g} ms",
        verdict,
    )  # fmt: skip


def _compare(plan: dict[str, Any], got: Any, right: Any, exact: Any) -> tuple[float, float]:
    """Largest error, and the largest share of what the task tolerates that an element takes."""
    if not right.is_floating_point():
        return (0.0, 0.0) if torch.equal(got, right) else (float("inf"), float("inf"))
    tolerance = plan["tolerances"].get(str(right.dtype).removeprefix("torch."), plan["tolerances"]["float32"])
    epsilon = torch.finfo(right.dtype).eps
    exact, got, right = exact.double(), got.double(), right.double()
    if not exact.numel():
        return 0.0, 0.0
    finite = exact.isfinite() & right.isfinite()
    if not torch.equal(got[~finite].nan_to_num(), right[~finite].nan_to_num()) or not got[finite].isfinite().all():
        return float("inf"), float("inf")
    exact, got, right = exact[finite], got[finite], right[finite]
    if not exact.numel():
        return 0.0, 0.0
    rms = exact.square().mean().sqrt()
    own = ((right - exact).abs() - tolerance["ulps"] / 16 * epsilon * exact.abs()).max()
    own = torch.maximum(own, epsilon / 4 * rms)
    bound = torch.maximum(tolerance["ulps"] * epsilon * exact.abs(), tolerance["ulps"] / 16 * epsilon * rms)
    bound = torch.maximum(bound, tolerance["max_factor"] * own)
    bound = torch.maximum(bound, tolerance["atol"] + tolerance["rtol"] * exact.abs())
    error = (got - exact).abs()
    return float(error.max()), float((error / bound.clamp(min=1e-300)).max())


def _oracle(dispatcher: Dispatcher, given: Any, module: Any) -> list[Any] | None:
    """The reference in float64; None where it does not run in it."""
    args, kwargs = _wide(given)
    try:
        assert dispatcher.reference is not None
        return _leaves(dispatcher.reference(args, kwargs, None if module is None else copy.deepcopy(module).double()))
    except RuntimeError:
        return None


def _wide(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(_wide(item) for item in value)
    return {key: _wide(item) for key, item in value.items()} if isinstance(value, dict) else value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value] if isinstance(value, torch.Tensor) else []


def _placed(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor):
        floating = value.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        return value.to(device=device, dtype=dtype if floating else None)
    if isinstance(value, list | tuple):
        return type(value)(_placed(item, device, dtype) for item in value)
    return {key: _placed(item, device, dtype) for key, item in value.items()} if isinstance(value, dict) else value


def _arguments(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(value, dict):
        return (), value
    if hasattr(value, "args") and hasattr(value, "kwargs"):
        return tuple(value.args), dict(value.kwargs)
    return (tuple(value), {}) if isinstance(value, list | tuple) else ((value,), {})


def _cast(module: Any, dtype: str) -> Any:
    return module.to(getattr(torch, dtype))


def _device(plan: dict[str, Any]) -> str:
    kinds = ["cuda" if name.split(":")[0] in ("cuda", "hip") else name.split(":")[0] for name in plan["platforms"]]
    return next((kind for kind in kinds if kind == "cuda" and torch.cuda.is_available()), kinds[-1])


def _time(call: Callable[[], Any]) -> float:
    """Median time of a call, milliseconds."""
    times = []
    for _ in range(_TIMED_CALLS):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append((time.perf_counter() - began) * 1e3)
        if sum(times) > 2000:
            break
    return statistics.median(times)
