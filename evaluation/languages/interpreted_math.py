"""libdevice's mathematics for Triton's interpreter, where its functions are stubs that return None."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NoReturn

from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding

_SAME_NAME = (
    "abs floor ceil trunc exp2 exp expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh "
    "asinh acosh atanh erf erfc erfinv lgamma fmod atan2 hypot copysign nextafter pow signbit isnan isinf ldexp"
).split()
_OTHER_NAME = {
    "div_rn": "true_divide", "fast_dividef": "true_divide", "rint": "round", "nearbyint": "round",
    "rsqrt_rn": "rsqrt", "sqrt_rn": "sqrt", "finitef": "isfinite", "isfinited": "isfinite", "fast_sinf": "sin",
    "fast_cosf": "cos", "fast_tanf": "tan", "fast_logf": "log", "fast_log2f": "log2", "fast_log10f": "log10",
    "fast_expf": "exp", "fast_tanhf": "tanh", "fast_powf": "pow", "normcdf": "special.ndtr",
    "normcdfinv": "special.ndtri", "cyl_bessel_i0": "special.i0", "cyl_bessel_i1": "special.i1",
    "j0": "special.bessel_j0", "j1": "special.bessel_j1", "y0": "special.bessel_y0", "y1": "special.bessel_y1",
    "erfcx": "special.erfcx", "add_rn": "add", "mul_rn": "mul", "sub_rn": "sub", "rcp_rn": "reciprocal",
}  # fmt: skip
"""libdevice's name → torch's."""
_MODULES = ("triton.language.extra.libdevice", "triton.language.extra.cuda.libdevice")


def complete_libdevice() -> None:
    """Give the functions of libdevice a meaning, in the Triton that is imported now. Doing it twice is harmless."""
    for name in _MODULES:
        if importlib.util.find_spec(name) is not None:
            _complete(importlib.import_module(name))


def _complete(libdevice: Any) -> None:
    import torch

    for name in [name for name, value in vars(libdevice).items() if callable(value) and not name.startswith("_")]:
        if getattr(libdevice, name).__module__ != libdevice.__name__:
            continue
        function: Any = torch
        for part in _torch_name(name):
            function = getattr(function, part)
        setattr(libdevice, name, _elementwise(function) if function is not torch else _absent(name))


def _torch_name(name: str) -> list[str]:
    if name in _SAME_NAME:
        return [name]
    return _OTHER_NAME[name].split(".") if name in _OTHER_NAME else []


def _elementwise(function: Any) -> Callable[..., Any]:
    """A torch function over the interpreter's tensors: computed in fp64, rounded to the arguments' dtype."""

    def call(*arguments: Any, **_ignored: Any) -> Any:
        import numpy as np
        import torch
        import triton.language as tl
        from triton.runtime.interpreter import TensorHandle

        model = next(argument for argument in arguments if isinstance(argument, tl.core.tensor))
        values = [
            argument.handle.data if isinstance(argument, tl.core.tensor) else np.asarray(_plain(argument))
            for argument in arguments
        ]
        wide = [torch.from_numpy(np.array(value, dtype=np.float64)) for value in values]
        with np.errstate(all="ignore"):
            result = function(*wide).numpy()
        scalar = tl.int1 if result.dtype == np.bool_ else model.dtype.scalar
        kept = result if result.dtype == np.bool_ else result.astype(model.handle.data.dtype)
        shape = [int(size) for size in result.shape]
        kind = tl.block_type(scalar, shape) if model.type.is_block() else scalar
        return tl.core.tensor(TensorHandle(kept, scalar), kind)

    return call


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def _absent(name: str) -> Callable[..., NoReturn]:
    def call(*_arguments: Any, **_keywords: Any) -> NoReturn:
        raise CandidateError(
            Finding.NOT_CHECKABLE,
            f"The kernel calls libdevice.{name}, which Triton's interpreter does not have.",
            "Judge it where its GPU is, or write that function with tl's own.",
        )

    return call
