"""What decides besides shapes: gradients, autocast, modes of modules, the device. This text becomes part of exported
modules."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from kernelevolve.evaluation.export.guard import NotCheckedError
from kernelevolve.evaluation.export.kernels import processor


def modes() -> Any:
    """What in torch's state decides about a call."""
    return (
        torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"),
        torch.autograd.forward_ad._current_level,
    )  # fmt: skip


def refuse_modes(tensors: list[torch.Tensor]) -> None:
    """Calls in which torch expects more of an operator than values: kernels only compute forward."""
    odd = next((tensor for tensor in tensors if type(tensor) not in (torch.Tensor, torch.nn.Parameter)), None)
    if odd is not None:
        raise NotCheckedError("tensor", f"a tensor is a {type(odd).__name__}")
    if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
        raise NotCheckedError(
            "gradients", "a functional transform (vmap, grad, jvp) is active; kernels only compute forward"
        )
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise NotCheckedError(
            "gradients", "gradients are wanted and kernels only compute forward; torch.no_grad() lets them run"
        )
    for kind in {tensor.device.type for tensor in tensors} & {"cpu", "cuda"}:
        if torch.is_autocast_enabled(kind):
            raise NotCheckedError("autocast", f"autocast is on for {kind}; it would change the reference's dtypes")


def state_of(module: torch.nn.Module) -> tuple[Any, ...]:
    """What a module and its parts are besides weights: types, hooks, numbers and texts they hold (`eps`, say)."""
    return tuple(
        (
            type(part), len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks),
            *(
                (name, type(value), value if type(value) is not tuple else repr(value))
                for name, value in vars(part).items()
                if type(value) in _PLAIN and name != "training" and not name.startswith("export_")
            ),
        )
        for part in module.modules()
    )  # fmt: skip


_PLAIN = (int, float, str, bool, tuple, type(None))


def refuse_state(module: torch.nn.Module, constructor: inspect.Signature, checked: tuple[Any, ...]) -> None:
    """Modules that are not the one that was checked, whose call changes their own state, or whose mode was not checked.

    Args:
        module: an instance of the exported class.
        constructor: signature of the reference's `__init__`, without `self`.
        checked: arguments with which the reference was built when kernels were checked.
    """
    args, kwargs = module.export_init
    if not _equal(constructor.bind(*args, **kwargs), constructor.bind(*checked)):
        raise NotCheckedError("constructor", f"the module was built with other arguments than {_short(checked)}")
    now, then = state_of(module), module.export_state
    # The module's own hooks are called around `forward`, whatever runs inside.
    if now[1:] != then[1:] or now[0][4:] != then[0][4:]:
        raise NotCheckedError("state", "the module's parts, their hooks or settings were changed after it was built")
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._NormBase) and part.track_running_stats and part.training:
            raise NotCheckedError("state", f"{type(part).__name__} updates its running statistics in training mode")
    if not module.training:
        moody = (torch.nn.modules.batchnorm._NormBase, torch.nn.modules.dropout._DropoutNd)
        part_ = next((part for part in module.modules() if isinstance(part, moody)), None)
        if part_ is not None:
            raise NotCheckedError("state", f"{type(part_).__name__} was checked in training mode alone")


def _equal(mine: inspect.BoundArguments, theirs: inspect.BoundArguments) -> bool:
    mine.apply_defaults()
    theirs.apply_defaults()
    return _same(dict(mine.arguments), dict(theirs.arguments))


def _same(mine: Any, theirs: Any) -> bool:
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, torch.Tensor):
        return mine.shape == theirs.shape and mine.dtype == theirs.dtype and torch.equal(mine.cpu(), theirs.cpu())
    if isinstance(mine, list | tuple):
        return len(mine) == len(theirs) and all(map(_same, mine, theirs))
    if isinstance(mine, dict):
        return list(mine) == list(theirs) and all(_same(mine[name], theirs[name]) for name in mine)
    return bool(mine == theirs)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def device_name(device: torch.device) -> tuple[str, str]:
    """A device's platform and its name."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        if torch.version.hip:
            return f"hip:{properties.gcnArchName.split(':')[0]}", properties.name
        return f"cuda:sm_{properties.major}{properties.minor}", properties.name
    return (device.type, processor()) if device.type == "cpu" else (device.type, device.type)


def is_default(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether a value is what a parameter is by default."""
    default = parameter.default
    return default is value or (
        type(default) is type(value) and not isinstance(value, torch.Tensor) and default == value
    )
