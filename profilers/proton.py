"""Triton's own profiler, Proton: device time of each kernel, and cycles of stretches inside Triton kernels.

The stretches come from a second run of an instrumented copy of the source. Inserted scopes forbid the compiler some of
its reordering, so the copy is never timed, and its cycles say where time goes, not how much there is.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.platform import Platform
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import KernelMeasurement, Metric, PartState, Scope
from kernelevolve.profilers.subject import Subject
from kernelevolve.profilers.timeline import failure

_MOST_SCOPES = 24
_INTERESTING = re.compile(
    r"\b(load|store|dot|dot_scaled|atomic_\w+|sum|max|min|reduce|argmax|argmin|associative_scan|cumsum|sort|gather|trans)\("
)
_SCOPE = re.compile(r"(line|loop) \d+")
_HEADER = "import triton.profiler.language as _scopes\n_scopes.enable_semantic('triton')\n"


class ProtonProfiler(Profiler):
    """`triton.profiler`."""

    name = "proton"
    families = ("cuda", "hip")

    def missing(self, platform: Platform) -> str:
        """It needs the device and Triton."""
        if platform.device_kind == "cpu":
            return "Proton measures GPUs."
        if platform.availability().device is None:
            return f"There is no {platform.name} device here. {' '.join(platform.availability().missing)}"
        if find_spec("triton.profiler") is None:
            return "Triton is not installed, or was built without its profiler."
        return ""

    def observe(self, subject: Subject) -> Observation:
        """Kernel times by CUPTI or roctracer; scopes inside kernels where the candidate is in Triton."""
        backend = "cupti" if subject.platform.family == "cuda" else "roctracer"
        ended = subject.run("proton", backend=backend, output="kernels")
        if why := failure(ended):
            return Observation(state=PartState.FAILED, why=why)
        try:
            kernels = _kernels(_tree(ended.folder / "kernels.hatchet"), int(ended.result["runs"]))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            why = f"Proton's file can't be read ({type(error).__name__}: {error})."
            return Observation(state=PartState.FAILED, why=why)
        if not kernels:
            return Observation(state=PartState.PARTIAL, why="The candidate launched no kernel.")
        if subject.candidate.language != "triton":
            why = f"Only Triton kernels can be instrumented, so {subject.candidate.language} ones have no scopes."
            return Observation(state=PartState.PARTIAL, why=why, kernels=tuple(kernels))
        scopes, why = self._scopes(subject)
        kernels = [
            kernel.model_copy(update={"scopes": scopes[kernel.kernel]}) if kernel.kernel in scopes else kernel
            for kernel in kernels
        ]
        return Observation(state=PartState.PARTIAL if why else PartState.DONE, why=why, kernels=tuple(kernels))

    @staticmethod
    def _scopes(subject: Subject) -> tuple[dict[str, tuple[Scope, ...]], str]:
        """Kernel → scopes, and why there are none."""
        source = subject.candidate.source
        instrumented, count = with_scopes(source)
        if not count:
            return {}, "Nothing in the kernels is worth a scope of its own."
        ended = subject.run("proton", source=instrumented, backend="instrumentation", output="scopes", scoped=True)
        if why := failure(ended):
            return {}, f"The instrumented copy did not run, so there are no scopes. {why}"
        try:
            found = _scopes_of(_tree(ended.folder / "scopes.hatchet"))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            return {}, f"Proton's scopes can't be read ({type(error).__name__}: {error})."
        return found, "" if found else "Proton recorded no scope."


def with_scopes(source: str) -> tuple[str, int]:
    """Put scopes around what takes time in every `@triton.jit` function of a module.

    Loops get a scope, and so does each statement, at the top of a function or of a loop, that loads, stores, multiplies
    matrices or reduces. Scopes are named `line N` or `loop N` by the lines of the source.

    Returns:
        The instrumented source and the number of scopes.
    """
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _is_kernel(node)]
    names: list[str] = []

    def instrument(body: list[ast.stmt]) -> list[ast.stmt]:
        changed: list[ast.stmt] = []
        for statement in body:
            name = ""
            if isinstance(statement, ast.For | ast.While):
                name = f"loop {statement.lineno}"
                statement.body = instrument(statement.body)
            elif isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr) and _INTERESTING.search(
                ast.unparse(statement)
            ):
                name = f"line {statement.lineno}"
            if name and len(names) < _MOST_SCOPES:
                names.append(name)
                changed += [_mark("enter_scope", name), statement, _mark("exit_scope", name)]
            else:
                changed.append(statement)
        return changed

    for function in functions:
        function.body = instrument(function.body)
    text = ast.unparse(ast.fix_missing_locations(tree))
    # A docstring and imports from __future__ must stay first.
    position = 0
    for node in ast.parse(text).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not is_docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        position = node.end_lineno or 0
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:position], "\n" if position else "", _HEADER, *lines[position:]]), len(names)


def _mark(call: str, name: str) -> ast.stmt:
    return ast.parse(f"_scopes.{call}({name!r})").body[0]


def _is_kernel(function: ast.FunctionDef) -> bool:
    """Whether it is launched: a called function's scopes would be entered from several places."""
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(re.match(r"(triton\.)?jit\b", decorator) for decorator in decorators)


def _tree(path: Path) -> list[dict[str, Any]]:
    """The roots of a hatchet file."""
    with path.open(encoding="utf-8") as file:
        roots = json.load(file)
    return [root for root in roots if isinstance(root, dict) and "children" in root]


def _walk(nodes: list[dict[str, Any]], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for node in nodes:
        here = (*path, str(node["frame"]["name"]))
        yield here, node["metrics"]
        yield from _walk(node["children"], here)


def _kernels(roots: list[dict[str, Any]], runs: int) -> list[KernelMeasurement]:
    found = []
    for path, metrics in _walk(roots):
        if "time (ns)" in metrics and metrics.get("count"):
            seconds = metrics["time (ns)"] / metrics["count"] * 1e-9
            found.append(
                KernelMeasurement(
                    kernel=path[-1],
                    calls=max(1, round(metrics["count"] / runs)),
                    time_s=Metric(value=seconds, unit="s", source="proton"),
                )
            )
    return sorted(found, key=lambda kernel: -(kernel.time_s.value if kernel.time_s else 0.0) * kernel.calls)


def _scopes_of(roots: list[dict[str, Any]]) -> dict[str, tuple[Scope, ...]]:
    """Scopes by kernel. A scope's node hangs below its kernel's."""
    found: dict[str, list[tuple[str, float]]] = {}
    for path, metrics in _walk(roots):
        if "normalized_cycles" not in metrics or not _SCOPE.fullmatch(path[-1]):
            continue
        kernel = next((name for name in reversed(path) if not _SCOPE.fullmatch(name)), "")
        found.setdefault(kernel, []).append((path[-1], float(metrics["normalized_cycles"])))
    scopes = {}
    for kernel, entries in found.items():
        most = max(cycles for _name, cycles in entries)
        ranked = sorted(entries, key=lambda entry: -entry[1])
        scopes[kernel] = tuple(Scope(name=name, cycles=cycles, share=cycles / most) for name, cycles in ranked)
    return scopes
