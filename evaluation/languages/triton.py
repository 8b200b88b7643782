"""Triton: a Python module with `kernel(...)` or `ModelNew`, compiled by Triton at the first call."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.language import Artifact, EntryPoint, Language
from kernelevolve.evaluation.platform import Platform

_MODULE = "kernelevolve_candidate"
_NATIVE_PART = "triton._C"


class TritonLanguage(Language):
    """A Triton module."""

    name = "triton"

    def read(self, candidate: Candidate) -> EntryPoint:
        """Parse the module; `ModelNew` is preferred when both entry points are there. See `Language.read`."""
        try:
            tree = ast.parse(candidate.source, filename=candidate.name)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            where = f", line {line}" if line else ""
            raise CandidateError(
                Finding.SYNTAX_ERROR,
                f"{candidate.name}{where}: {getattr(error, 'msg', error)}.",
                "Mend the syntax.",
                str(getattr(error, "text", "") or ""),
            ) from error
        names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        for entry in EntryPoint:
            if entry.value in names:
                return entry
        raise CandidateError(
            Finding.MISSING_ENTRY_POINT,
            f"{candidate.name} defines neither `ModelNew` nor `kernel`.",
            "Define def kernel(...) with the reference's arguments, which returns the result, or, for a task with a "
            "class Model, class ModelNew(torch.nn.Module).",
        )

    def supports(self, platform: Platform) -> bool:
        """Triton candidates are for GPUs; on the CPU they are interpreted."""
        return platform.family in ("cuda", "hip", "cpu")

    def build(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> Artifact:
        """Nothing to build: Triton compiles in the worker. See `Language.build`."""
        return Artifact(language=self.name, entry=self.read(candidate), writes_outputs=False, source=candidate.source)

    def load(self, artifact: Artifact, interpret: bool) -> Callable[..., Any]:
        """Execute the module from a file in the current folder (Triton reads sources); see `Language.load`."""
        _import_triton(interpret)
        path = Path.cwd() / f"{_MODULE}.py"
        path.write_text(artifact.source, encoding="utf-8")
        specification = importlib.util.spec_from_file_location(_MODULE, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[_MODULE] = module
        try:
            specification.loader.exec_module(module)
        except Exception as error:
            raise CandidateError(
                Finding.IMPORT_ERROR,
                f"The candidate cannot be imported: {type(error).__name__}: {error}",
                "The module must run from top to bottom on a machine without the device.",
                "".join(traceback.format_exception(error, limit=-5))[-3000:],
            ) from error
        entry: Callable[..., Any] = getattr(module, artifact.entry.value)
        return entry


def _import_triton(interpret: bool) -> ModuleType:
    """Import Triton in the mode that is wanted.

    Whether kernels are interpreted is decided while Triton's own modules are imported. This process is a fork of one
    that has imported it natively, so for the interpreter the Python part is imported again; the extension module must
    stay, since pybind11 types can be registered only once.
    """
    os.environ["TRITON_INTERPRET"] = "1" if interpret else "0"
    loaded = sys.modules.get("triton")
    if loaded is not None and interpret:
        for name in [name for name in sys.modules if name == "triton" or name.startswith("triton.")]:
            if not name.startswith(_NATIVE_PART):
                del sys.modules[name]
    import triton

    if interpret:
        _autotune_without_measuring()
    return triton


def _autotune_without_measuring() -> None:
    """In the interpreter every configuration is as good as another: take the first that survives pruning."""
    from triton.runtime.autotuner import Autotuner

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        config = self.prune_configs(kwargs)[0] if len(self.configs) > 1 else self.configs[0]
        self.best_config = config
        if config.pre_hook is not None:
            config.pre_hook({**self.nargs, **kwargs, **config.all_kwargs()})
        result = self.fn.run(*args, **{**kwargs, **config.all_kwargs()})
        self.nargs = None
        return result

    Autotuner.run = run
