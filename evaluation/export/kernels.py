"""Load the kernels of an export: C++ and CUDA are compiled at first use, Python sources run as modules of their own.
This text becomes part of exported modules."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

CACHE_VARIABLE = "KERNELEVOLVE_EXPORT_CACHE"
_BUILD_LIMIT_S = 600
_BUILDING = threading.Lock()


class KernelBuildError(RuntimeError):
    """A kernel of this export can't be built here; the text says what is missing or what the compiler said."""


def python_module(source: str, what: str) -> ModuleType:
    """Run a Python source as a module of its own. Its text stays readable for `inspect`, which Triton needs."""
    name = f"_kernelevolve_{what}_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = f"<{name}>"
    linecache.cache[module.__file__] = (len(source), None, source.splitlines(keepends=True), module.__file__)
    sys.modules[name] = module
    try:
        exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def cache_folder() -> Path:
    """Where built libraries lie: what `KERNELEVOLVE_EXPORT_CACHE` names, else a folder in the user's cache."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kernelevolve-exports"


def processor() -> str:
    """The processor's name, e.g. `AMD EPYC 9B14`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def native_function(source: str, build: dict[str, Any]) -> Callable[..., None]:
    """Compile a C++ or CUDA source, or take the library that was built from it before, and load it.

    Raises:
        KernelBuildError: the compiler or apache-tvm-ffi is missing, or the compiler refused the source.
    """
    if importlib.util.find_spec("tvm_ffi") is None:
        raise KernelBuildError("apache-tvm-ffi is not installed: pip install 'apache-tvm-ffi>=0.1.10,<0.2'")
    import tvm_ffi

    compiler = shutil.which(build["compiler"])
    if compiler is None:
        raise KernelBuildError(
            f"{build['compiler']} is not on PATH. {build['install']} configure(use_kernels=False) runs the reference."
        )
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    native = any("native" in word for command in build["commands"] for word in command)
    parts = [source, repr(build), compiler, version, str(tvm_ffi.__version__), processor() if native else ""]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    library = cache_folder() / f"{key}.so"
    with _BUILDING:
        if not library.exists():
            _compile(source, build, compiler, Path(tvm_ffi.__file__).parent, library)
    return tvm_ffi.load_module(str(library)).kernel


def _compile(source: str, build: dict[str, Any], compiler: str, package: Path, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=library.parent) as name:
        folder = Path(name)
        for file, text in {**build["files"], build["source_file"]: source}.items():
            (folder / file).write_text(text, encoding="utf-8")
        for command in build["commands"]:
            words = [word.replace("{tvm_ffi}", str(package)) for word in command]
            done = subprocess.run(
                [compiler, *words], cwd=folder, capture_output=True, text=True, timeout=_BUILD_LIMIT_S, check=False,
                env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
            if done.returncode:
                raise KernelBuildError(f"{compiler} refused a kernel of this export:\n{done.stderr[-3000:]}")
        # One step, so that another process sees the whole library or none.
        (folder / build["library"]).replace(library)


class Twins:
    """Modules that candidates define, each bound to the weights of the user's module."""

    def __init__(self) -> None:
        self._made: weakref.WeakKeyDictionary[torch.nn.Module, dict[int, Any]] = weakref.WeakKeyDictionary()

    def of(self, outer: torch.nn.Module, index: int, made: type[Any], init: tuple[Any, Any]) -> Any:
        """The candidate's module for the user's, with the user's weights as they are now.

        Raises:
            RuntimeError: the candidate's module keeps weights that the reference does not have.
        """
        known = self._made.setdefault(outer, {})
        if index not in known:
            with torch.random.fork_rng(devices=[]):
                inner = made(*init[0], **init[1])
            known[index] = (inner, _ties(inner, outer) if isinstance(inner, torch.nn.Module) else [])
        inner, ties = known[index]
        for mine, theirs, name in ties:
            # Each time: `to` and `load_state_dict(assign=True)` put new tensors in place of the old.
            mine[name] = theirs[name]
        if ties and inner.training != outer.training:
            inner.train(outer.training)
        return inner


def _ties(inner: torch.nn.Module, outer: torch.nn.Module) -> list[tuple[dict[str, Any], dict[str, Any], str]]:
    ties = []
    others = dict(outer.named_modules(remove_duplicate=False))
    for path, part in inner.named_modules(remove_duplicate=False):
        loose = [name for name, value in vars(part).items() if isinstance(value, torch.Tensor)]
        if loose:
            raise RuntimeError(
                f"the kernel's module keeps a tensor of its own ({loose[0]}), not the reference's weights"
            )
        for kind in ("_parameters", "_buffers"):
            for name, value in getattr(part, kind).items():
                if value is None:
                    continue
                theirs = getattr(others.get(path), kind, {})
                if theirs.get(name) is None or theirs[name].shape != value.shape:
                    where = f"{path}.{name}".lstrip(".")
                    raise RuntimeError(
                        f"the kernel's module keeps {where}, which the reference has not, so it can't have your weights"
                    )
                ties.append((getattr(part, kind), theirs, name))
    return ties
