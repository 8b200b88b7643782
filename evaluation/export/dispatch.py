"""Run calls: decide once for each form of call, count what was done, never fall back unseen. This text becomes part of
exported modules."""

from __future__ import annotations

import inspect
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from kernelevolve.evaluation.export.conditions import (
    device_name,
    is_default,
    modes,
    refuse_modes,
    refuse_state,
    state_of,
)
from kernelevolve.evaluation.export.guard import Decision, NotCheckedError, choose, flatten
from kernelevolve.evaluation.export.kernels import Twins, native_function, python_module

_REMEMBERED = 1024


class FallbackError(RuntimeError):
    """A call lies outside what was checked, and `configure(on_fallback="raise")` says not to run the reference."""


class FallbackWarning(UserWarning):
    """A call ran the PyTorch reference instead of a kernel; said once for each kind of reason."""


class Dispatcher:
    """Chooses between the kernels of a plan and the reference, for every call.

    Args:
        plan: what was checked and measured.
        sources: the kernels' sources, in the plan's order.
        reference: calls the reference: `(args, kwargs, module)`; None where the export carries none.
        signature: of the reference; None where it has none.
    """

    def __init__(
        self,
        plan: dict[str, Any],
        sources: list[str],
        reference: Callable[..., Any] | None,
        signature: inspect.Signature | None,
    ) -> None:
        self.plan = plan
        self.sources = sources
        self.reference = reference
        self.signature = signature
        self.on_fallback = "warn"
        self.use_kernels = True
        self.any_device = False
        self.any_shape = False
        self.built: Callable[[], tuple[inspect.Signature, tuple[Any, ...]]] = tuple  # type: ignore[assignment]
        """For modules: the constructor's signature, and the arguments that were checked."""
        self.pretend: str | None = None
        """Platform that tensors are taken to be on, whatever they say: for checks where the device is missing."""
        self._known: dict[Any, tuple[Decision, Callable[..., Any] | None]] = {}
        self._loaded: dict[int, Any] = {}
        self._twins = Twins()
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._warned: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self._kernel_calls: Counter[int] = Counter()
        self._planned = 0
        self._fallbacks: Counter[str] = Counter()
        self._last: dict[str, str] = {}

    def settings_changed(self) -> None:
        """Decide every form of call anew."""
        self._known.clear()

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None = None) -> Any:
        """Run one call."""
        key = _key(args, kwargs, module)
        known = None if key is None else self._known.get(key)
        if known is None:
            decision, form = self._decide(args, kwargs, module)
            run = None if decision.kernel is None else self._prepare(decision.kernel, form, args, kwargs, module)
            known = (decision, run)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            if key is not None:
                self._known[key] = known
        decision, run = known
        if run is not None:
            with self._lock:
                self._kernel_calls[decision.kernel] += 1  # type: ignore[index]
            return run(args, kwargs, module)
        self._note(decision)
        if self.reference is None:
            raise FallbackError(f"{decision.text}, and this export carries no reference to fall back to.")
        return self.reference(args, kwargs, module)

    def explain(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None = None
    ) -> dict[str, Any]:
        """What a call would do, without doing it."""
        decision = self._decide(args, kwargs, module)[0]
        node = None if decision.kernel is None else self.plan["kernels"][decision.kernel]["node"]
        return {"kernel": node, "kind": decision.kind, "case": decision.case, "why": decision.text}

    def report(self) -> dict[str, Any]:
        """What the calls so far did."""
        with self._lock:
            names = [f"{kernel['node']} ({kernel['language']})" for kernel in self.plan["kernels"]]
            return {
                "kernels": {name: self._kernel_calls[index] for index, name in enumerate(names)},
                "reference_faster": self._planned,
                "fallbacks": {
                    kind: {"calls": count, "last": self._last[kind]} for kind, count in self._fallbacks.items()
                },
                "measured_on": {name: entry["device"] for name, entry in self.plan["platforms"].items()},
            }

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _decide(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None
    ) -> tuple[Decision, Any]:
        """What to do with a call, and the form of its outputs."""
        try:
            if not self.use_kernels:
                raise NotCheckedError("switched off", "configure(use_kernels=False) is in force")
            given = self._as_checked(args, kwargs)
            leaves: list[Any] = []
            structure = flatten(given, leaves)
            if module is not None:
                refuse_state(module, *self.built())
                state = [*module.parameters(), *module.buffers()]
                structure += "+" + flatten(state, leaves) if state else ""
            tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
            refuse_modes(tensors)
            platform = self._platform(tensors)
            decision = choose(self.plan, structure, leaves, platform, self.any_shape)
            if decision.kernel is not None:
                self._refuse_interpreter(decision.kernel, tensors)
                native = self.plan["kernels"][decision.kernel]["build"] is not None
                return decision, self._form(*given, module, needed=native)
            return decision, None
        except NotCheckedError as error:
            return Decision(None, error.kind, str(error)), None

    def _platform(self, tensors: list[torch.Tensor]) -> str:
        """The plan's platform that the tensors are on."""
        if self.pretend is not None:
            return self.pretend
        devices = {tensor.device for tensor in tensors}
        if len(devices) != 1:
            raise NotCheckedError("device", f"tensors are on {len(devices)} devices")
        device = devices.pop()
        kind, here = device_name(device)
        known = self.plan["platforms"]
        if kind not in known:
            raise NotCheckedError("device", f"tensors are on {here} ({kind}); checked was {', '.join(known)}")
        measured = known[kind]["device"]
        if measured is not None and measured != here and not self.any_device:
            raise NotCheckedError(
                "device",
                f"this is {here}; measured was {measured}. configure(any_device=True) uses the kernels here too",
            )
        return kind

    def _as_checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call with its arguments given as in the cases: by position or by name, defaults left out."""
        if self.signature is None:
            return args, kwargs
        forms = self.plan["forms"]
        if [len(args), list(kwargs)] in forms:
            return args, kwargs
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        kinds = [parameter.kind for parameter in self.signature.parameters.values()]
        if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds:
            raise NotCheckedError("arguments", "arguments are given in a way that was not checked")
        for count, names in forms:
            given = {*list(bound.arguments)[:count], *names}
            rest = {name: value for name, value in bound.arguments.items() if name not in given}
            if all(is_default(self.signature.parameters[name], value) for name, value in rest.items()):
                positional = tuple(list(bound.arguments.values())[:count])
                return positional, {name: bound.arguments[name] for name in names}
        raise NotCheckedError("arguments", "an argument is given that was left at its default in every case")

    def _refuse_interpreter(self, index: int, tensors: list[torch.Tensor]) -> None:
        on_processor = any(tensor.device.type == "cpu" for tensor in tensors) and self.pretend is None
        if self.plan["kernels"][index]["language"] != "triton" or not on_processor:
            return
        if os.environ.get("TRITON_INTERPRET") != "1":
            raise NotCheckedError(
                "interpreter", "Triton takes tensors on the CPU only in its interpreter: TRITON_INTERPRET=1"
            )

    # -- running ------------------------------------------------------------------------------------------------------

    def _prepare(
        self, index: int, form: Any, args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None
    ) -> Callable[..., Any]:
        """What runs a kernel for all calls of this form."""
        kernel = self.plan["kernels"][index]
        as_given = [len(args), list(kwargs)] in self.plan["forms"]
        inner = (self._native if kernel["build"] is not None else self._python)(index, form, args, kwargs, module)
        run = inner
        if not as_given and self.signature is not None:
            run = lambda args, kwargs, module: inner(*self._as_checked(args, kwargs), module)  # noqa: E731
        return _on_device(run, _device_of(args, kwargs, module))

    def _native(
        self, index: int, form: Any, args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None
    ) -> Callable[..., Any]:
        """C++ and CUDA: inputs, then a module's parameters and buffers, then outputs in memory of our own."""
        function = self._entry(index)
        nested, like = form
        leaves: list[Any] = []
        flatten((args, kwargs), leaves)
        device = _device_of(args, kwargs, module)
        shapes = [(tensor.shape, tensor.dtype) for tensor in like]
        is_one = isinstance(nested, torch.Tensor)
        is_flat = not kwargs and len(leaves) == len(args) and all(leaf is not None for leaf in leaves)
        is_dense = all(leaf.is_contiguous() for leaf in leaves if isinstance(leaf, torch.Tensor))

        def run(args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None) -> Any:
            values: Any = args
            if not is_flat:
                values = []
                flatten((args, kwargs), values)
                values = [value for value in values if value is not None]
            if not is_dense:
                values = [value.contiguous() if isinstance(value, torch.Tensor) else value for value in values]
            outputs = [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in shapes]
            extra = () if module is None else [value.detach() for value in (*module.parameters(), *module.buffers())]
            function(*values, *extra, *outputs)
            return outputs[0] if is_one else _refill(nested, iter(outputs))

        return run

    def _python(
        self, index: int, form: Any, args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None
    ) -> Callable[..., Any]:
        """Triton: a function, or a module of the candidate's own that gets the weights of the user's."""
        entry = self._entry(index)
        is_class = self.plan["kernels"][index]["entry"] == "ModelNew"

        def run(args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None) -> Any:
            with torch.no_grad():
                if is_class:
                    assert module is not None
                    result = self._twins.of(module, index, entry, module.export_init)(*args, **kwargs)
                else:
                    state = () if module is None else (*module.parameters(), *module.buffers())
                    result = entry(*args, *(value.detach() for value in state), **kwargs)
            if form is None or (type(result) is torch.Tensor and isinstance(form[0], torch.Tensor)):
                return result
            found: list[Any] = []
            flatten(result, found)
            return _refill(form[0], iter(found)) if len(found) == len(form[1]) else result

        return run

    def _entry(self, index: int) -> Any:
        """A kernel, loaded at its first call."""
        with self._loading:
            if index not in self._loaded:
                kernel, source = self.plan["kernels"][index], self.sources[index]
                if kernel["build"] is not None:
                    self._loaded[index] = native_function(source, kernel["build"])
                else:
                    self._loaded[index] = getattr(python_module(source, f"kernel_{index}"), kernel["entry"])
            return self._loaded[index]

    def _form(self, args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None, needed: bool) -> Any:
        """How the reference nests its outputs, and their shapes and dtypes: found on torch's meta device, where nothing
        is computed."""
        try:
            if self.reference is None:
                raise TypeError("this export carries no reference")
            with torch.no_grad(), torch.device("meta"):
                nested = self.reference(_to_meta(args), _to_meta(kwargs), module, meta=True)
            found: list[Any] = []
            flatten(nested, found)
            if not all(isinstance(leaf, torch.Tensor) for leaf in found):
                raise TypeError("the reference returns something that is no tensor")
        except Exception as error:
            if needed:
                raise NotCheckedError(
                    "outputs",
                    "the shapes of the outputs can't be found, since the reference does not run on torch's meta device "
                    f"({type(error).__name__}: {error})",
                ) from error
            return None
        return nested, found

    def _note(self, decision: Decision) -> None:
        """Count a call of the reference, and say so, unless it was measured to be the faster one."""
        with self._lock:
            if decision.kind == "planned":
                self._planned += 1
                return
            self._fallbacks[decision.kind] += 1
            self._last[decision.kind] = decision.text
            say = self.on_fallback == "warn" and decision.kind not in self._warned
            self._warned.add(decision.kind)
        if self.on_fallback == "raise":
            raise FallbackError(f"No kernel was checked for this call: {decision.text}.")
        if say:
            warnings.warn(
                f"{self.plan['task']}: the PyTorch reference runs instead of a kernel: {decision.text}. Said once for "
                "each kind of reason; dispatch_report() counts them.",
                FallbackWarning,
                stacklevel=5,
            )


def _device_of(args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None) -> torch.device:
    leaves: list[Any] = []
    flatten((args, kwargs), leaves)
    state = () if module is None else (*module.parameters(), *module.buffers())
    return next(leaf.device for leaf in (*leaves, *state) if isinstance(leaf, torch.Tensor))


def _on_device(run: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """The same with the tensors' GPU as the current one, on which kernels are launched."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return run

    def there(args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None) -> Any:
        with torch.cuda.device(device):
            return run(args, kwargs, module)

    return there


def _key(args: tuple[Any, ...], kwargs: dict[str, Any], module: torch.nn.Module | None) -> Any:
    """All that decides about a call, as something that can be looked up; None inside a functional transform, whose
    tensors have no memory to look at."""
    if torch._C._are_functorch_transforms_active():
        return None
    given = [_look(value) for value in args]
    if kwargs:
        given += [(name, _look(value)) for name, value in kwargs.items()]
    if module is not None:
        given += [_look(value) for value in (*module.parameters(), *module.buffers())]
        given += [module.training, state_of(module)]
    return (*given, *modes())


def _look(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        kind = type(leaf)
        if leaf.layout is not torch.strided or kind not in (torch.Tensor, torch.nn.Parameter):
            return (kind, leaf.layout)
        return (
            kind, leaf.dtype, leaf.shape, leaf.stride(), leaf.device, leaf.requires_grad, leaf.data_ptr() % 16,
            leaf.is_conj(), leaf.is_neg(),
        )  # fmt: skip
    if isinstance(leaf, list | tuple):
        return (type(leaf), *(_look(item) for item in leaf))
    if isinstance(leaf, dict):
        return (dict, *((name, _look(item)) for name, item in leaf.items()))
    return (type(leaf), leaf if isinstance(leaf, int | str | torch.dtype) else repr(leaf))


def _to_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, list | tuple):
        return type(value)(_to_meta(item) for item in value)
    return {key: _to_meta(item) for key, item in value.items()} if isinstance(value, dict) else value


def _refill(nested: Any, leaves: Any) -> Any:
    """The reference's nesting around other leaves."""
    if isinstance(nested, list | tuple):
        items = [_refill(item, leaves) for item in nested]
        return type(nested)(*items) if hasattr(nested, "_fields") else type(nested)(items)
    if isinstance(nested, dict):
        return {key: _refill(item, leaves) for key, item in nested.items()}
    return next(leaves)
