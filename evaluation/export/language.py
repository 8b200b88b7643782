"""Exported modules as candidates: loaded in the worker as a user's program would, and watched for what they choose."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.language import Artifact, EntryPoint, Language, get_language
from kernelevolve.evaluation.languages.triton import TritonLanguage, import_source, select_interpreter, stand_in
from kernelevolve.evaluation.platform import Level, Platform


class ExportLanguage(Language):
    """Modules that `kernelevolve export` writes. Their kernels are compiled in the worker, at the first call."""

    name = "export"

    def read(self, candidate: Candidate) -> EntryPoint:
        """Parse the module; its plan must be there."""
        entry = TritonLanguage().read(candidate)
        plan_of(candidate.source)
        return entry

    def supports(self, platform: Platform) -> bool:
        """Every platform: what counts is what the kernels inside are written in."""
        return True

    def levels(self, candidate: Candidate, platform: Platform) -> tuple[Level, ...]:
        """The best level that all kernels for the platform reach; without any, that of plain torch code."""
        plan = plan_of(candidate.source)
        names = {kernel["language"] for kernel in plan["kernels"] if kernel["platform"] == platform.name}
        known = platform.availability().levels
        reached = [known.get(name, ()) for name in names]
        return tuple(level for level in Level if reached and all(level in levels for levels in reached))

    @property
    def is_authored(self) -> bool:
        """Exports are made of what a search found, and hold the reference, so none starts from one."""
        return False

    @property
    def is_interpreted(self) -> bool:
        """Where every kernel is Triton's, see `levels`."""
        return True

    def build(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> Artifact:
        """Nothing is built ahead where the module will run; where no device is, its native kernels are compiled."""
        plan = plan_of(candidate.source)
        if self.levels(candidate, platform) == (Level.COMPILED,):
            for number, (kernel, source) in enumerate(zip(plan["kernels"], sources_of(candidate.source), strict=True)):
                if kernel["platform"] == platform.name:
                    folder = scratch / f"kernel{number}"
                    folder.mkdir()
                    inside = Candidate(language=kernel["language"], source=source, name=kernel["node"])
                    get_language(inside.language).build(inside, platform, folder, limit_s)
        return Artifact(
            language=self.name,
            entry=self.read(candidate),
            writes_outputs=False,
            source=candidate.source,
            options={"platform": platform.name},
        )

    def load(self, artifact: Artifact, interpret: bool) -> Callable[..., Any]:
        """Import the module, ask its dispatcher about every measured case, and watch what it chooses from then on.

        Raises:
            CandidateError: it cannot be imported, or its dispatcher does not choose what its plan says.
        """
        platform = artifact.options["platform"]
        plan = plan_of(artifact.source)
        if any(kernel["language"] == "triton" for kernel in plan["kernels"]):
            select_interpreter(interpret)
        on_gpu = interpret and platform != "cpu"
        with stand_in() if on_gpu else nullcontext():
            module = import_source(artifact.source)
        watch = _Watch(module, plan, platform)
        module.configure(on_fallback="ignore")
        if interpret:
            # Inputs are shrunk, and lie on the processor.
            module.configure(any_shape=True)
            module._dispatch.pretend = platform
        watch.ask_about_cases()
        entry = getattr(module, artifact.entry.value)
        if artifact.entry is EntryPoint.MODULE:
            return watch.watched_class(entry, on_gpu)
        return watch.watched_function(entry, on_gpu)


def plan_of(source: str) -> dict[str, Any]:
    """The plan in a module's text; the module is not run.

    Raises:
        CandidateError: there is none.
    """
    plan = _literal(source, "PLAN")
    kernels = plan.get("kernels") if isinstance(plan, dict) else None
    wanted = {"node", "language", "platform", "entry", "build"}
    if not isinstance(kernels, list) or not all(
        isinstance(kernel, dict) and wanted <= set(kernel) for kernel in kernels
    ):
        raise _no_export("PLAN is not what an export holds.")
    return dict(plan)


def sources_of(source: str) -> list[str]:
    """The kernels' sources in a module's text."""
    return list(_literal(source, "SOURCES"))


@functools.lru_cache(maxsize=8)
def _literal(source: str, name: str) -> Any:
    for node in ast.parse(source).body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == name and isinstance(node, ast.AnnAssign) and node.value:
            try:
                return ast.literal_eval(node.value)
            except ValueError as error:
                raise _no_export(f"{name} is no literal.") from error
    raise _no_export(f"The module has no {name}.")


def _no_export(why: str) -> CandidateError:
    return CandidateError(Finding.MISSING_ENTRY_POINT, why, "Hand in a module that `kernelevolve export` wrote.")


class _Watch:
    """Compares what a module's dispatcher chooses with the plan in its text."""

    def __init__(self, module: Any, plan: dict[str, Any], platform: str) -> None:
        self._module = module
        self._plan = plan
        self._platform = platform

    def ask_about_cases(self) -> None:
        """Every measured case in its true size, without its data."""
        import torch

        for entry in self._plan["entries"]:
            leaves = []
            for leaf in entry["leaves"]:
                if "shape" in leaf:
                    dtype = getattr(torch, leaf["dtype"])
                    leaves.append(torch.empty_strided(leaf["shape"], leaf["stride"], dtype=dtype, device="meta"))
                elif "name" in leaf:
                    leaves.append(getattr(torch, leaf["name"]))
                elif "float" in leaf:
                    leaves.append(float.fromhex(leaf["float"]))
                else:
                    leaves.append(leaf["value"] if "value" in leaf else _SAMPLES[leaf["any"]])
            try:
                found = self._module.choose(self._plan, entry["structure"], leaves, self._platform, False)
            except self._module.NotCheckedError as error:
                raise _astray(entry["case"], str(error)) from error
            if found.kernel != entry["choice"].get(self._platform):
                raise _astray(entry["case"], f"it chose {found}")

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any], module: Any = None) -> None:
        """A call in the shape of a measured case must get what the plan says."""
        import torch

        leaves: list[Any] = []
        structure = self._module.flatten((args, kwargs), leaves)
        if module is not None:
            structure += "+" + self._module.flatten([*module.parameters(), *module.buffers()], leaves)
        planned = {
            entry["choice"].get(self._platform)
            for entry in self._plan["entries"]
            if entry["structure"] == structure
            and all(
                list(leaf.shape) == spec["shape"] and str(leaf.dtype) == f"torch.{spec['dtype']}"
                for spec, leaf in zip(entry["leaves"], leaves, strict=True)
                if isinstance(leaf, torch.Tensor)
            )
        }
        if not planned:
            return
        found = self._module._dispatch.explain(args, kwargs, module)
        names = {None if index is None else self._plan["kernels"][index]["node"] for index in planned}
        if found["kernel"] not in names or found["kind"] not in ("kernel", "planned"):
            raise _astray(found["case"] or "with these shapes", f"{found['kind']}: {found['why']}")

    def watched_function(self, entry: Callable[..., Any], on_gpu: bool) -> Callable[..., Any]:
        """The module's function, each call checked."""

        @functools.wraps(entry)
        def call(*args: Any, **kwargs: Any) -> Any:
            with stand_in() if on_gpu else nullcontext():
                self.check(args, kwargs)
                return entry(*args, **kwargs)

        return call

    def watched_class(self, entry: type[Any], on_gpu: bool) -> type[Any]:
        """The module's class, each call checked."""
        watch = self

        class Watched(entry):
            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                with stand_in() if on_gpu else nullcontext():
                    watch.check(args, kwargs, self)
                    return super().__call__(*args, **kwargs)

        return Watched


_SAMPLES = {"int": 1, "float": 1.0, "bool": True, "str": "", "NoneType": None}


def _astray(case: str, why: str) -> CandidateError:
    return CandidateError(
        Finding.EXCEPTION,
        f"The dispatcher does not choose what was planned for case {case}: {why}.",
        "Export other nodes: this combination can't be dispatched.",
    )
