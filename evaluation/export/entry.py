"""What an exported module offers: settings, counts, the reference. This text becomes part of exported modules."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch

from kernelevolve.evaluation.export.dispatch import Dispatcher
from kernelevolve.evaluation.export.kernels import python_module

PLAN: dict[str, Any] = {}
SOURCES: list[str] = []
REFERENCE: str | None = None


def _load_reference() -> Any:
    return None if REFERENCE is None else python_module(REFERENCE, "reference")


def _call_function(args: tuple[Any, ...], kwargs: dict[str, Any], module: Any, meta: bool = False) -> Any:
    return _reference.reference(*args, **kwargs)


def _call_module(args: tuple[Any, ...], kwargs: dict[str, Any], module: Any, meta: bool = False) -> Any:
    forward = _reference.Model.forward
    if not meta:
        return forward(module, *args, **kwargs)
    # The weights' shapes are enough; the module itself must not change.
    state = {name: value.to("meta") for name, value in (*module.named_parameters(), *module.named_buffers())}
    names = {name for part in module.modules() for name, value in vars(part).items() if isinstance(value, torch.Tensor)}
    if names:
        raise TypeError(f"the reference keeps a plain tensor ({sorted(names)[0]})")

    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = module

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return forward(self.held, *args, **kwargs)

    named = {f"held.{name}": value for name, value in state.items()}
    return torch.func.functional_call(Bare(), named, args, kwargs)


def _signature(function: Any, skip: int) -> inspect.Signature | None:
    """The reference's signature; None for built-in functions that have none."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    return signature.replace(parameters=list(signature.parameters.values())[skip:])


_reference = _load_reference()


def _init_inputs() -> Any:
    return getattr(_reference, "get_init_inputs", list)()


def _dispatcher() -> Dispatcher:
    if _reference is None:
        return Dispatcher(PLAN, SOURCES, None, None)
    if PLAN["form"] == "kernelbench":
        return Dispatcher(PLAN, SOURCES, _call_module, _signature(_reference.Model.forward, 1))
    return Dispatcher(PLAN, SOURCES, _call_function, _signature(_reference.reference, 0))


@functools.cache
def _built() -> tuple[inspect.Signature, tuple[Any, ...]]:
    signature = inspect.signature(_reference.Model.__init__)
    return signature.replace(parameters=list(signature.parameters.values())[1:]), tuple(_init_inputs())


_dispatch = _dispatcher()
_dispatch.built = _built


def configure(
    on_fallback: str | None = None,
    any_device: bool | None = None,
    any_shape: bool | None = None,
    use_kernels: bool | None = None,
) -> None:
    """Settings of this module; what is None stays as it is.

    Args:
        on_fallback: `warn` (once for each kind of reason), `raise`, or `ignore`; calls are counted in any case.
        any_device: use the kernels on devices of the same kind and architecture that are not the one measured.
        any_shape: use the kernels for sizes outside the range that was checked.
        use_kernels: False runs the reference always.
    """
    if on_fallback not in (None, "warn", "raise", "ignore"):
        raise ValueError(f"on_fallback is {on_fallback!r}; it must be 'warn', 'raise' or 'ignore'")
    _dispatch.on_fallback = _dispatch.on_fallback if on_fallback is None else on_fallback
    _dispatch.any_device = _dispatch.any_device if any_device is None else any_device
    _dispatch.any_shape = _dispatch.any_shape if any_shape is None else any_shape
    _dispatch.use_kernels = _dispatch.use_kernels if use_kernels is None else use_kernels
    _dispatch.settings_changed()


def dispatch_report(reset: bool = False) -> dict[str, Any]:
    """Calls so far: by kernel, of the reference where it was measured to be faster, and fallbacks with reasons."""
    report = _dispatch.report()
    if reset:
        _dispatch.forget()
    return report
