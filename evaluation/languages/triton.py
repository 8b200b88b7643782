"""Triton candidates: a Python module with `@triton.jit` kernels and an entry point that launches them."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.language import Artifact, EntryPoint, Language
from kernelevolve.evaluation.platform import Platform

# What a candidate is told where there is no GPU to ask; it only matters to host code that looks.
_STAND_IN = "sm_90"
_LOG_FRAMES = 4


class TritonLanguage(Language):
    """Python modules for Triton 3.6 and later."""

    name = "triton"

    def read(self, candidate: Candidate) -> EntryPoint:
        """Parse the module and find `ModelNew` or `kernel`."""
        try:
            tree = ast.parse(candidate.source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            # ValueError: the text has null bytes. The last two: it is nested deeper than the parser goes.
            line = getattr(error, "lineno", None)
            text = (getattr(error, "text", None) or "").rstrip()
            raise CandidateError(
                Finding.SYNTAX_ERROR,
                f"Line {line}: {getattr(error, 'msg', error)}." if line else f"{str(error) or 'nested too deeply'}.",
                "Hand in one Python module.",
                log=text,
            ) from error
        names = {name: node for node in tree.body for name in _defined(node)}
        if EntryPoint.MODULE in names:
            return EntryPoint.MODULE
        node = names.get(EntryPoint.FUNCTION)
        if node is None:
            raise CandidateError(
                Finding.MISSING_ENTRY_POINT,
                "The module defines neither `class ModelNew` nor `def kernel`.",
                "Define `class ModelNew(torch.nn.Module)` for a KernelBench task, or a function `kernel(...)` with the "
                "reference's arguments that launches your @triton.jit kernels and returns the result.",
            )
        if isinstance(node, ast.FunctionDef) and any(map(_names_jit, node.decorator_list)):
            raise CandidateError(
                Finding.MISSING_ENTRY_POINT,
                "`kernel` is a @triton.jit function; the entry point is the Python function that launches it.",
                "Rename the @triton.jit function, and define `kernel(...)` with the reference's arguments.",
            )
        return EntryPoint.FUNCTION

    def supports(self, platform: Platform) -> bool:
        """GPUs, the CPU by interpretation, and whatever a plug-in platform lists Triton for."""
        return platform.family in ("cpu", "cuda", "hip") or self.name in platform.availability().levels

    @property
    def is_interpreted(self) -> bool:
        """Triton has an interpreter."""
        return True

    def build(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> Artifact:
        """Nothing to compile yet: Triton does that at the first launch, for the shapes it sees."""
        return Artifact(
            language=self.name,
            entry=self.read(candidate),
            writes_outputs=False,
            source=candidate.source,
            options={"triton": version("triton")},
        )

    def load(self, artifact: Artifact, interpret: bool) -> Callable[..., Any]:
        """Run the source as a module from a file in the working directory and return its entry point.

        Without a device, and when interpreting, the module, its constructor and (when interpreting) its calls see a
        stand-in GPU, so that `x.is_cuda` and `device="cuda"` mean what their author expects. When interpreting, an
        autotuned kernel runs its first configuration.

        Raises:
            CandidateError: importing the module raised, or its entry point is not what the source promised.
        """
        select_interpreter(interpret)
        absent = interpret or not _has_active_driver()
        if absent:
            _install_stand_in_driver("cpu" if interpret else "cuda")
        with stand_in() if absent else nullcontext():
            module = import_source(artifact.source)
        entry = getattr(module, artifact.entry.value, None)
        if not callable(entry) or isinstance(entry, type) != (artifact.entry is EntryPoint.MODULE):
            raise CandidateError(
                Finding.MISSING_ENTRY_POINT,
                f"After import, `{artifact.entry}` is {type(entry).__name__}.",
                "Define it at the top level of the module.",
            )
        if isinstance(entry, type):
            return _standing_in_class(entry, calls=interpret) if absent else entry
        return standing_in(entry) if interpret else entry


def select_interpreter(interpret: bool) -> None:
    """Make Triton's decorators give interpreted functions, or compiled ones, from here on in this process.

    The choice is made where `triton.language` is imported, so a Triton that was imported the other way is forgotten and
    imported again (about 0.1 s). The compiled extension modules stay: they cannot be loaded twice.
    """
    if interpret:
        os.environ["TRITON_INTERPRET"] = "1"
    else:
        os.environ.pop("TRITON_INTERPRET", None)
    loaded = sys.modules.get("triton.language.standard")
    if loaded is not None and (type(loaded.sum).__name__ == "InterpretedFunction") != interpret:
        for name in list(sys.modules):
            if name == "triton" or (name.startswith("triton.") and not name.startswith("triton._C")):
                del sys.modules[name]
    importlib.import_module("triton.language")
    if interpret:
        from kernelevolve.evaluation.languages.interpreter_gaps import mend_interpreter

        mend_interpreter()
        _tune_without_benchmarks()


def _tune_without_benchmarks() -> None:
    from triton.runtime.autotuner import Autotuner

    from kernelevolve.evaluation.languages.triton_launches import run_first_config

    def run(autotuner: Any, *arguments: Any, **keywords: Any) -> Any:
        return run_first_config(autotuner, arguments, keywords)

    Autotuner.run = run


def _has_active_driver() -> bool:
    from triton.backends import backends

    return any(backend.driver.is_active() for backend in backends.values())


def _install_stand_in_driver(device_kind: str) -> None:
    import torch
    from triton.runtime import driver

    from kernelevolve.evaluation.languages.stand_in_device import StandInDriver

    driver.set_active(StandInDriver(_STAND_IN, torch.device(device_kind)))


def stand_in() -> AbstractContextManager[None]:
    """Let host code believe that a GPU is here whose tensors lie on the processor."""
    from kernelevolve.evaluation.languages.stand_in_device import stand_in_device

    return stand_in_device(_STAND_IN, "cpu")


def standing_in(entry: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, called under `stand_in`."""

    @functools.wraps(entry)
    def call(*args: Any, **kwargs: Any) -> Any:
        with stand_in():
            try:
                return entry(*args, **kwargs)
            except Exception as error:
                # The interpreter wraps what a kernel raises; what it cannot run is no fault of the candidate.
                if isinstance(error.__cause__, CandidateError):
                    raise error.__cause__ from None
                raise

    return call


def _standing_in_class(entry: type[Any], calls: bool) -> type[Any]:
    """The module class, with its constructor (and its calls) wrapped."""
    wrapped = {"__init__": standing_in(entry.__init__)}
    if calls:
        wrapped["__call__"] = standing_in(entry.__call__)
    return type(entry.__name__, (entry,), {"__module__": entry.__module__, **wrapped})


def _names_jit(decorator: ast.expr) -> bool:
    # Not `ast.unparse`, which follows the nesting in Python's own stack.
    words = [getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(decorator)]
    return any("jit" in word for word in words)


def _defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.ImportFrom(names=names):
            return [alias.asname or alias.name for alias in names]
    return []


def import_source(source: str) -> ModuleType:
    """Import a source text from a real file in the working directory, which Triton needs to read its kernels' text.

    Raises:
        CandidateError: importing it raised.
    """
    name = f"candidate_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    path = Path.cwd() / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # Our own frame and the import machinery's, which have no file, say nothing to an author.
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).exists()]
        frames = [frame for frame in frames if frame.filename != __file__]
        text = [*traceback.format_list(frames[-_LOG_FRAMES:]), *traceback.format_exception_only(error)]
        raise CandidateError(
            Finding.IMPORT_ERROR,
            f"Importing the module raised {type(error).__name__}: {error}",
            "Only the libraries of the judge's environment can be imported.",
            log="".join(text),
        ) from error
    return module
