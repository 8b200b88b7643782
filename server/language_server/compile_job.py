"""Compile the kernels of one file for several targets: what a forked child of the compile worker does.

Imports torch and Triton, so it is never imported by the server itself.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError
from kernelevolve.evaluation.languages.forked import Failure, in_children
from kernelevolve.server.language_server.costs import Argument, Cost, Origin, Refusal
from kernelevolve.server.language_server.signatures import (
    AnnotationError,
    KernelParameter,
    Typed,
    arguments_of,
    launch_options,
)

Emit = Callable[[Cost], None]
_PLACE = re.compile(r"^line (?P<line>\d+) of (?P<file>\S+):", re.MULTILINE)
_NATIVE_PLACE = re.compile(r"^kernel\.\w+[:(](?P<line>\d+)(?:[:,](?P<column>\d+))?.*?(?:error|fatal)", re.MULTILINE)
_NATIVE_LIMIT_S = 120.0
_ELEMENTS = 1 << 20
"""Elements of a stand-in for a guessed tensor: large enough for every bound, below what changes the code."""
_MATRIX = {
    "cuda": (("tcgen05.mma", r"\btcgen05\.mma\b"), ("wgmma", r"\bwgmma\.mma_async\b"), ("mma", r"\bmma\.sync\b")),
    "hip": (("mfma", r"\bv_s?mfmac?_"), ("wmma", r"\bv_wmma_")),
}


def compile_file(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Compile everything in a file.

    Args:
        request: see `compilation._request`.
        emit: told of each result as it comes.

    Returns:
        All results as JSON values, why the file as a whole failed, the files it rests on, and whether to keep it.
    """
    if request["language"] != "triton":
        costs, refusal = _compile_native(request, emit)
        return _answer(costs, refusal, ())
    return _compile_triton(request, emit)


def _answer(costs: Sequence[Cost], refusal: Refusal | None, files: Sequence[Path]) -> dict[str, Any]:
    return {
        "costs": [asdict(cost) for cost in costs],
        "refusal": asdict(refusal) if refusal is not None else None,
        "rests_on": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()},
        # What failed at import may work after an installation that the key knows nothing of.
        "keep": refusal is None,
    }


# -- Triton ------------------------------------------------------------------------------------------------------------


def _compile_triton(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    from kernelevolve.evaluation.languages.stand_in_device import stand_in_device
    from kernelevolve.server.language_server.module_text import LoadError, load_text, rests_on

    path, targets = Path(request["path"]), list(request["targets"])
    before = set(sys.modules)
    try:
        with stand_in_device(_architecture(targets), "cpu"):
            module = load_text(path, request["text"])
    except LoadError as error:
        return _answer((), error.refusal, ())
    files = rests_on(path, before)
    notes: tuple[str, ...] = ()
    launches: dict[str, Any] = {}
    if request["task"] is not None:
        files.append(Path(request["task"]))
        try:
            launches = _launches_of_task(module, request["task"], targets[0])
        except KernelEvolveError as error:
            notes = (f"The task's inputs could not be used ({error.summary}), so types are guessed.",)
    costs: list[Cost] = []
    for kernel in request["kernels"]:
        for cost in _compile_kernel(module, kernel, launches.get(kernel["name"]), targets):
            noted = replace(cost, notes=(*cost.notes, *notes)) if cost.origin is not Origin.TASK else cost
            emit(noted)
            costs.append(noted)
    return _answer(costs, None, files)


def _architecture(targets: Sequence[str]) -> str:
    from kernelevolve.evaluation.errors import PlatformError
    from kernelevolve.evaluation.platform import get_platform

    for name in targets:
        try:
            platform = get_platform(name)
        except PlatformError:
            continue  # It is answered for by name below.
        if hasattr(platform, "triton_target"):
            return platform.architecture
    return "sm_90"


def _launches_of_task(module: Any, task: str, target: str) -> dict[str, Any]:
    """Kernel name → its launch for the visible case that counts most, as the entry point makes it; no kernel runs."""
    import torch

    from kernelevolve.evaluation.judge.without_device import heaviest_case
    from kernelevolve.evaluation.languages.stand_in_device import stand_in_device
    from kernelevolve.evaluation.languages.triton_launches import record_launches
    from kernelevolve.evaluation.platform import get_platform
    from kernelevolve.evaluation.tasks.loading import load_task

    program = load_task(task)
    shown = tuple(case for case in program.task.cases if not case.hidden) or program.task.cases
    case, dtype = heaviest_case(shown), program.task.dtypes[0]
    try:
        inputs = program.make_inputs(case, dtype, "meta", 0)
    except KernelEvolveError:
        inputs = program.make_inputs(case, dtype, "cpu", 0, 1 << 15)
    arguments = list(inputs.args)
    made = getattr(module, "ModelNew", None)
    if made is not None:
        with stand_in_device(get_platform(target).architecture, "cpu"):
            entry = made(*program.init_inputs())
    else:
        entry = module.kernel
        reference = program.build_reference(dtype, "cpu", 0)
        arguments += [tensor.detach() for _name, tensor in program.state(reference)]
    with torch.no_grad():
        launches = record_launches(entry, tuple(arguments), dict(inputs.kwargs), target)
    found: dict[str, Any] = {}
    for launch in launches:
        note = f"case {case.name}" if not case.hidden else "a hidden case"
        others = sum(other.kernel == launch.kernel for other in launches) - 1
        more = (note, f"the first of {others + 1} different launches") if others else (note,)
        found.setdefault(launch.kernel, replace(launch, notes=(*more, *launch.notes)))
    return found


def _compile_kernel(module: Any, kernel: Mapping[str, Any], launch: Any, targets: list[str]) -> list[Cost]:
    base = Cost(kernel["name"], "", kernel["hash"], Origin.TASK)
    if launch is not None:
        arguments = _arguments_of_launch(launch)
        return _compile_launch(launch, targets, replace(base, arguments=arguments, launch=_options(launch)))
    function, configuration, heuristics, options = _unwrapped(_find(module, kernel["name"]))
    if function is None:
        message = f"{kernel['name']} is not there after the import: it is defined under a condition or renamed."
        return [replace(base, target=target, origin=Origin.GUESS, refusal=Refusal(message)) for target in targets]
    attempts: list[list[Cost]] = []
    for wide in (False, True):
        try:
            typed = _typed(function, kernel["types"], configuration, heuristics, wide)
        except AnnotationError as error:
            refusal = Refusal(str(error), line=kernel["line"])
            return [replace(base, target=target, origin=Origin.ANNOTATION, refusal=refusal) for target in targets]
        guessed = any(entry.guessed for entry in typed)
        said = replace(
            base,
            origin=Origin.GUESS if guessed else Origin.ANNOTATION,
            arguments=tuple(_shown(entry) for entry in typed),
        )
        options = {**options, **launch_options(kernel["types"])}
        launch = _made_up_launch(function, typed, options)
        costs = _compile_launch(launch, targets, replace(said, launch=options))
        attempts.append(costs)
        if not guessed or all(cost.refusal is None for cost in costs):
            return costs
    # The attempt that went furthest; the first of equals, whose types are the likelier ones.
    return max(attempts, key=lambda costs: sum(cost.refusal is None for cost in costs))


def _find(module: Any, name: str) -> Any:
    found = getattr(module, name, None)
    if found is not None:
        return found
    for value in vars(module).values():  # A kernel in a class.
        if isinstance(value, type) and (inner := vars(value).get(name)) is not None:
            return getattr(inner, "__func__", inner)
    return None


def _unwrapped(found: Any) -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The JIT function under its decorators, with the first autotuning configuration and the heuristics on the way."""
    configuration: dict[str, Any] = {}
    heuristics: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for _ in range(16):
        if found is None or (hasattr(found, "params") and hasattr(found, "raw_src")):
            break
        configs = getattr(found, "configs", None)
        if configs and not configuration:
            first = configs[0]
            configuration = dict(first.kwargs)
            options = {"num_warps": first.num_warps, "num_stages": first.num_stages}
        values = getattr(found, "values", None)
        if isinstance(values, dict) and values and all(callable(value) for value in values.values()):
            heuristics |= values
        found = getattr(found, "fn", None)
    return found, configuration, heuristics, options


def _typed(
    function: Any, said: Mapping[str, str], configuration: Mapping[str, Any], heuristics: Mapping[str, Any], wide: bool
) -> list[Typed]:
    import inspect

    tree = ast.parse(textwrap.dedent(function.src)).body[0]
    assert isinstance(tree, ast.FunctionDef)
    parameters = [
        KernelParameter(
            parameter.name,
            parameter.is_constexpr,
            None if parameter.default is inspect.Parameter.empty else parameter.default,
            parameter.default is not inspect.Parameter.empty,
        )
        for parameter in function.params
    ]
    typed = arguments_of(tree, parameters, said, configuration, wide)
    if not heuristics:
        return typed
    values = {entry.name: _value(entry) for entry in typed}
    for name, rule in heuristics.items():
        try:
            values[name] = rule(dict(values))
        except Exception:  # noqa: BLE001 - a rule over made-up values may fail in any way; the guess stays
            continue
        typed = [replace(entry, value=values[name]) if entry.name == name else entry for entry in typed]
    return typed


def _shown(entry: Typed) -> Argument:
    return Argument(entry.name, _plain_text(entry.value) if entry.type == "constant" else entry.type, entry.guessed)


def _plain_text(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _value(entry: Typed) -> Any:
    """What stands for an argument at a launch."""
    import torch
    import triton.language as tl

    from kernelevolve.evaluation.languages.triton_launches import TensorArgument

    if entry.type == "constant":
        named = isinstance(entry.value, str) and re.fullmatch(r"(tl\.)?(fp|bf|float|bfloat)\d+\w*", entry.value)
        return getattr(tl, _TL_NAMES.get(entry.value, str(entry.value).removeprefix("tl."))) if named else entry.value
    if entry.type.startswith("*"):
        dtype = getattr(torch, _TORCH_NAMES[entry.type[1:]])
        return TensorArgument(torch.empty(_ELEMENTS, dtype=dtype, device="meta"))
    return entry.value


_TL_NAMES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64"}
_TORCH_NAMES = {
    "fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64", "fp8e4nv": "float8_e4m3fn",
    "fp8e5": "float8_e5m2", "fp8e4b8": "float8_e4m3fnuz", "fp8e5b16": "float8_e5m2fnuz", "i1": "bool", "i8": "int8",
    "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip


def _made_up_launch(function: Any, typed: Sequence[Typed], options: Mapping[str, Any]) -> Any:
    from kernelevolve.evaluation.languages.triton_launches import Launch

    values = {entry.name: _value(entry) for entry in typed}
    return Launch(
        kernel=function.fn.__name__,
        function=function,
        arguments=(),
        keywords={**values, **options},
        grid=(1,),
        num_warps=options.get("num_warps"),
        num_stages=options.get("num_stages"),
        constexprs={entry.name: values[entry.name] for entry in typed if entry.type == "constant"},
    )


def _arguments_of_launch(launch: Any) -> tuple[Argument, ...]:
    """The arguments of a recorded launch, typed as Triton types them for the reference platform."""
    bound = launch.bind("cuda:sm_90")
    return tuple(
        Argument(name, _plain_text(launch.constexprs[name]) if name in launch.constexprs else str(kind), False)
        for name, kind in bound.signature.items()
    )


def _options(launch: Any) -> dict[str, Any]:
    found = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    return {name: value for name, value in found.items() if value is not None}


def _compile_launch(launch: Any, targets: list[str], base: Cost) -> list[Cost]:
    """Compile a launch for every target at once, each in a child of its own: a compiler may end its process."""
    outcomes = in_children([partial(_compile_one, launch, target, base) for target in targets])
    costs = []
    for target, outcome in zip(targets, outcomes, strict=True):
        if not isinstance(outcome, Failure):
            costs.append(outcome)
            continue
        line = None
        if (place := _PLACE.search(outcome.log)) is not None and _is_file_of(launch, place["file"]):
            line = int(place["line"]) - 1
        advice = f" {outcome.advice}" if outcome.advice and not outcome.log else ""
        # The same for every target, so that it is said once.
        summary = outcome.summary.replace(f" for {target}.", ".")
        costs.append(replace(base, target=target, refusal=Refusal(f"{summary}{advice}", outcome.log, line)))
    return costs


def _is_file_of(launch: Any, name: str) -> bool:
    return Path(launch.function.fn.__code__.co_filename).name == name


def _compile_one(launch: Any, target: str, base: Cost) -> Cost:
    from kernelevolve.evaluation.languages.triton_launches import compile_launch
    from kernelevolve.evaluation.platforms.artifacts import read_resources

    compiled = compile_launch(launch, target)
    resources = read_resources(compiled)
    chip, limit = _chip(target)
    family = target.partition(":")[0]
    text = compiled.asm.get("ptx", "") or compiled.asm.get("amdgcn", "")
    matrix = " ".join(name for name, pattern in _MATRIX.get(family, ()) if re.search(pattern, text))
    return replace(
        base,
        target=target,
        chip=chip,
        registers=resources.registers,
        spills=resources.spills,
        shared_bytes=resources.shared_bytes,
        shared_limit=limit,
        code_bytes=resources.code_bytes,
        threads=resources.threads_per_block,
        occupancy=resources.occupancy,
        limiter=resources.occupancy_limiter,
        matrix=matrix,
        launch={name: resources.launch[name] for name in ("num_warps", "num_stages") if name in resources.launch},
        notes=(*base.notes, *launch.notes),
    )


def _chip(target: str) -> tuple[str, int | None]:
    """Short name of an architecture's usual chip, and the shared memory that a block may have, bytes."""
    from kernelevolve.evaluation.platforms.occupancy import RESERVED_SHARED_BYTES, cuda_limits, hip_limits
    from kernelevolve.evaluation.platforms.spec_sheets import spec_sheet_for

    architecture = target.partition(":")[2]
    sheet = spec_sheet_for(architecture)
    name = sheet.aliases[0] if sheet.usual and sheet.aliases else ""
    if architecture in cuda_limits():
        return name, cuda_limits()[architecture].shared_bytes - RESERVED_SHARED_BYTES
    return name, hip_limits()[architecture].lds_bytes if architecture in hip_limits() else None


# -- C++, CUDA, HIP ----------------------------------------------------------------------------------------------------


def _compile_native(request: Mapping[str, Any], emit: Emit) -> tuple[list[Cost], Refusal | None]:
    """Build as the judge does, so that what compiles here compiles there."""
    from kernelevolve.evaluation.candidate import Candidate
    from kernelevolve.evaluation.language import get_language
    from kernelevolve.evaluation.platform import get_platform

    name = request["language"]
    language = get_language(name)
    candidate = Candidate(language=name, source=request["text"])
    platforms = ["cpu"] if name == "cpp" else [t for t in request["targets"] if t.partition(":")[0] == name]
    hashes = {kernel["name"]: kernel["hash"] for kernel in request["kernels"]}
    costs: list[Cost] = []
    for target in platforms:
        with tempfile.TemporaryDirectory(prefix="kernelevolve-lsp-") as scratch:
            try:
                artifact = language.build(candidate, get_platform(target), Path(scratch), _NATIVE_LIMIT_S)
            except CandidateError as error:
                return costs, _native_refusal(error)
            except KernelEvolveError as error:
                return costs, Refusal(str(error))
        for resources in artifact.resources:
            if resources.kernel not in hashes:
                continue
            chip, limit = _chip(target)
            cost = Cost(
                resources.kernel, target, hashes[resources.kernel], Origin.SOURCE, chip, resources.registers,
                resources.spills, resources.shared_bytes, limit, resources.code_bytes, resources.threads_per_block,
                resources.occupancy, resources.occupancy_limiter,
            )  # fmt: skip
            emit(cost)
            costs.append(cost)
    return costs, None


def _native_refusal(error: CandidateError) -> Refusal:
    place = _NATIVE_PLACE.search(error.log)
    if place is None:
        return Refusal(str(error), error.log)
    column = int(place["column"]) - 1 if place["column"] else None
    return Refusal(error.summary, error.log, int(place["line"]) - 1, column)
