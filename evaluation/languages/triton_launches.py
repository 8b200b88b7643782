"""Find the kernels that a Triton candidate launches, and compile them for any target, without a GPU.

The entry point runs once with stand-in tensors while `JITFunction.run` is replaced by a recorder, so no kernel runs.
The recorded arguments go through Triton's own binder with a back end for each target, so specialisation is Triton's,
not a copy of it. Works on the internals of Triton 3.6 to 3.9, which agree on everything used here.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import re
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError, PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.languages.forked import Failure, in_children
from kernelevolve.evaluation.platform import get_platform, known_platforms

# Triton 3.9 warns once a process that its default for fusing multiply-add will change. Saying the present default
# keeps results as they are and the warning out of logs that a model reads.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

_REFERENCE_PLATFORM = "cuda:sm_90"
_LOG_CHARACTERS = 2_000
# Recording patches Triton's classes, so only one entry point can be watched at a time.
_LOCK = threading.RLock()


class TensorArgument:
    """A tensor argument as Triton's binder sees it: dtype, alignment and size, no values."""

    def __init__(self, tensor: Any) -> None:
        self.dtype = tensor.dtype
        self.shape = tuple(tensor.shape)
        self._strides = tuple(tensor.stride())
        base = getattr(tensor, "base", tensor)  # triton.reinterpret wraps a tensor and gives it another dtype
        self._address = base.storage_offset() * base.element_size()
        self._storage_bytes = base.untyped_storage().nbytes()

    def data_ptr(self) -> int:
        """Byte offset into the storage: whether it divides by 16 is all that Triton asks."""
        return self._address

    def ptr_range(self) -> int:
        """Size of the storage; the AMD back end uses buffer instructions below 2 GiB."""
        return self._storage_bytes

    def stride(self, dimension: int | None = None) -> Any:
        """Strides in elements."""
        return self._strides if dimension is None else self._strides[dimension]


@dataclass(frozen=True)
class BoundLaunch:
    """A launch's arguments as one target's back end types and specialises them."""

    signature: dict[str, Any]
    """Parameter → type, e.g. `*fp32`, `i32`, `constexpr`."""
    constants: dict[Any, Any]
    """Argument path → constant value: `constexpr` parameters and integers that are 1."""
    attributes: dict[Any, Any]
    """Argument path → attributes, e.g. divisibility by 16."""
    options: dict[str, Any]
    """Compiler options, `num_warps` and the rest, defaults filled in."""


@dataclass(frozen=True, eq=False)
class Launch:
    """One distinct kernel launch that an entry point makes."""

    kernel: str
    """Kernel name."""
    function: Any
    """The `JITFunction`."""
    arguments: tuple[Any, ...]
    """Positional arguments; tensors are `TensorArgument`."""
    keywords: dict[str, Any]
    """Keyword arguments and launch options."""
    grid: tuple[int, ...]
    """Blocks in each dimension, at the first of the calls."""
    num_warps: int | None
    """As asked for; None leaves it to the target's default."""
    num_stages: int | None
    """As asked for; None leaves it to the target's default."""
    constexprs: dict[str, Any]
    """Values of the `constexpr` parameters."""
    calls: int = 1
    """How often the entry point makes this launch in one run."""
    notes: tuple[str, ...] = ()
    """What a reader should know, e.g. that an autotuner's first configuration was taken."""

    def bind(self, platform_name: str) -> BoundLaunch:
        """Type and specialise the arguments for a platform, with Triton's own binder.

        Raises:
            CandidateError: an argument or option is not one that this target knows.
        """
        function, keywords = self.function, dict(self.keywords)
        backend = _backend(platform_name)
        if function.debug is not None:
            keywords.setdefault("debug", function.debug)
        try:
            bound, specialization, rest = _binder(function, backend)(*self.arguments, **keywords)
            options, signature, constants, attributes = function._pack_args(
                backend, keywords, bound, specialization, rest
            )
        except Exception as error:
            raise CandidateError(
                Finding.COMPILER_ERROR,
                f"Triton cannot bind the launch of {self.kernel} for {platform_name}.",
                "Check the arguments and the launch options; some exist for one vendor only.",
                log=f"{type(error).__name__}: {error}",
            ) from error
        return BoundLaunch(signature, constants, attributes, dict(vars(options)))


@dataclass(frozen=True, eq=False)
class CompiledKernel:
    """Machine code of one launch for one target, with everything that Triton says about it."""

    kernel: str
    """Kernel name, as it is called in the artifact."""
    target: str
    """Platform name, e.g. `cuda:sm_90`."""
    artifact: bytes = field(repr=False)
    """The cubin or hsaco."""
    asm: dict[str, str] = field(repr=False)
    """Stage → text: `ttir`, `ttgir`, `llir`, and `ptx` or `amdgcn`."""
    shared_bytes: int
    """Shared memory (LDS) per block, bytes, static and dynamic together."""
    metadata: dict[str, Any] = field(repr=False)
    """Triton's metadata."""
    compile_ms: float
    """Wall time of the compilation, milliseconds; small when Triton's cache folder had it."""
    launch: Launch = field(repr=False)
    """What was compiled."""


def _backend(platform_name: str) -> Any:
    from triton.compiler.compiler import make_backend

    platform = get_platform(platform_name)
    if not hasattr(platform, "triton_target"):
        raise PlatformError(
            Finding.LANGUAGE_ON_PLATFORM,
            f"Triton does not compile for {platform_name}.",
            "Ask for a cuda: or hip: platform.",
        )
    return make_backend(platform.triton_target())


def _binder(function: Any, backend: Any) -> Callable[..., Any]:
    from triton.runtime.jit import create_function_from_signature

    binder: Callable[..., Any] = create_function_from_signature(function.signature, function.params, backend)
    return binder


def _freeze(value: Any) -> Any:
    """The value without its data: what stays of an argument after the recording."""
    if hasattr(value, "block_shape") and hasattr(value, "base"):  # a host-side TensorDescriptor
        frozen = copy.copy(value)
        object.__setattr__(frozen, "base", _freeze(value.base))
        return frozen
    if hasattr(value, "data_ptr") and not isinstance(value, TensorArgument):
        # `warmup` passes dtypes in place of tensors, wrapped in a class that has no storage.
        return TensorArgument(value) if hasattr(getattr(value, "base", value), "untyped_storage") else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_freeze, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(_freeze, value))
    return value


class _LaunchHandle:
    """What a recorded launch returns; enough for host code that sizes a grid by a compiled kernel's resources."""

    def __init__(self, relaunch: Callable[..., Any]) -> None:
        self.n_regs = 32
        self.n_spills = 0
        self.metadata = mock.NonCallableMagicMock(shared=0)
        self._relaunch = relaunch

    def _init_handles(self) -> None:
        """A real kernel loads its machine code here."""

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return lambda *arguments: self._relaunch(*arguments, grid=grid)


class _Recorder:
    """Collects launches in place of making them."""

    def __init__(self) -> None:
        self.launches: dict[Any, Launch] = {}
        self.notes: list[str] = []

    def record(self, function: Any, *arguments: Any, grid: Any, warmup: bool, **keywords: Any) -> _LaunchHandle:
        if not warmup:
            self._add(function, arguments, keywords, grid)

        def relaunch(*again: Any, grid: Any) -> Any:
            # A compiled kernel is called with all arguments in order; what was passed by name at first and comes by
            # position now must not be passed twice.
            kept = {name: value for name, value in keywords.items() if name not in function.arg_names[: len(again)]}
            return self.record(function, *again, grid=grid, warmup=False, **kept)

        return _LaunchHandle(relaunch)

    def _add(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], grid: Any) -> None:
        name = function.fn.__name__
        frozen, frozen_keywords = tuple(map(_freeze, arguments)), {k: _freeze(v) for k, v in keywords.items()}
        try:
            bound, specialization, options = _binder(function, _backend(_REFERENCE_PLATFORM))(
                *frozen, **frozen_keywords
            )
        except TypeError as error:
            # The binder is a generated function; its name means nothing to an author.
            message = str(error).replace("dynamic_func()", name)
            raise CandidateError(
                Finding.EXCEPTION, f"The launch of {name} does not fit its parameters: {message}.", "Fix the call."
            ) from error
        # The grid function may look at the tensors themselves, so it gets what the caller passed.
        passed = dict(zip(function.arg_names, arguments, strict=False)) | keywords
        blocks = grid({key: passed.get(key, value) for key, value in bound.items()}) if callable(grid) else grid
        launch = Launch(
            kernel=name,
            function=function,
            arguments=frozen,
            keywords=frozen_keywords,
            grid=tuple(int(count) for count in blocks),
            num_warps=keywords.get("num_warps"),
            num_stages=keywords.get("num_stages"),
            constexprs={param.name: bound[param.name] for param in function.params if param.is_constexpr},
            notes=tuple(self.notes),
        )
        key = (function, str(specialization), str(options))
        seen = self.launches.get(key)
        self.launches[key] = launch if seen is None else replace(seen, calls=seen.calls + 1)


def run_first_config(autotuner: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Do what `Autotuner.run` does, with the first configuration that survives pruning and no benchmark."""
    return _run_configs(autotuner, arguments, keywords, 1)


def _run_configs(autotuner: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], most: int) -> Any:
    autotuner.nargs = dict(zip(autotuner.arg_names, arguments, strict=False))
    try:
        configs = autotuner.prune_configs(keywords) if len(autotuner.configs) > 1 else autotuner.configs
        result = None
        for config in configs[:most]:
            autotuner.best_config = config
            if config.pre_hook is not None:
                config.pre_hook({**autotuner.nargs, **keywords, **config.all_kwargs()})
            result = autotuner.fn.run(*arguments, **keywords, **config.all_kwargs())
        return result
    finally:
        autotuner.nargs = None


@contextlib.contextmanager
def _recording(recorder: _Recorder, all_configs: bool) -> Iterator[None]:
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.jit import JITFunction

    def record(function: Any, *arguments: Any, grid: Any, warmup: bool, **keywords: Any) -> Any:
        return recorder.record(function, *arguments, grid=grid, warmup=warmup, **keywords)

    def tune(autotuner: Any, *arguments: Any, **keywords: Any) -> Any:
        count = len(autotuner.configs)
        notes = [f"autotune: first of {count} configs"] if count > 1 and not all_configs else []
        recorder.notes += notes
        try:
            return _run_configs(autotuner, arguments, keywords, count if all_configs else 1)
        finally:
            del recorder.notes[len(recorder.notes) - len(notes) :]

    with mock.patch.object(JITFunction, "run", record), mock.patch.object(Autotuner, "run", tune):
        yield


def record_launches(
    entry: Callable[..., Any],
    inputs_args: tuple[Any, ...],
    inputs_kwargs: dict[str, Any],
    platform_name: str = _REFERENCE_PLATFORM,
    all_configs: bool = False,
) -> list[Launch]:
    """Run an entry point without its kernels and list the distinct launches it makes.

    Tensors become shapes first. If the host code needs values (a data-dependent branch, `.item()`), it runs again on
    real CPU tensors, where inputs that came without values are all ones and kernel outputs hold whatever was in memory;
    each launch then carries a note.

    Args:
        entry: the candidate's function, or an instance of its module.
        inputs_args: positional inputs; tensors may be on the `meta` device.
        inputs_kwargs: keyword inputs, likewise.
        platform_name: which device the host code is told it has, for grids sized by its multiprocessors.
        all_configs: record every configuration of an autotuner that survives pruning, not only the first.

    Raises:
        CandidateError: a launch does not fit its kernel, or the host code cannot run without a device.
    """
    from kernelevolve.evaluation.languages.stand_in_device import Backing, stand_in, stand_in_device

    architecture = get_platform(platform_name).architecture

    def attempt(backing: Backing) -> list[Launch]:
        args, kwargs = stand_in((inputs_args, inputs_kwargs), backing)
        recorder = _Recorder()
        with _LOCK, stand_in_device(architecture, backing), _recording(recorder, all_configs):
            entry(*args, **kwargs)
        return list(recorder.launches.values())

    try:
        return attempt("meta")
    except CandidateError:
        raise
    except Exception as without_values:  # noqa: BLE001 - the candidate's own code may raise anything; it is reported
        reason = f"{type(without_values).__name__}: {without_values}"
    note = f"recorded with real CPU tensors, because the run on shapes alone failed ({reason.splitlines()[0][:200]})"
    try:
        return [replace(launch, notes=(*launch.notes, note)) for launch in attempt("cpu")]
    except CandidateError:
        raise
    except Exception as error:
        raise CandidateError(
            Finding.NOT_CHECKABLE,
            f"The host code cannot run without a device: {type(error).__name__}: {error}",
            "Keep device-dependent work out of the entry point, or judge it where the device is.",
            log=_traceback(error),
        ) from error


def compile_launch(launch: Launch, platform_name: str) -> CompiledKernel:
    """Compile one launch for a platform; no device is needed.

    The compiler's chatter on stdout and stderr is kept for the error text, so this belongs in a worker process.

    Raises:
        CandidateError: Triton or the assembler refused the kernel; `log` has the line that failed.
        PlatformError: Triton does not compile for this platform.
    """
    import triton
    from triton.compiler import ASTSource
    from triton.runtime.cache import get_cache_manager

    bound = launch.bind(platform_name)
    if launch.function.is_gluon():
        from triton.experimental.gluon._runtime import GluonASTSource as ASTSource

    source = ASTSource(launch.function, bound.signature, bound.constants, bound.attributes)
    started = time.perf_counter()
    with _compiler_messages() as messages:
        try:
            kernel = triton.compile(source, target=_backend(platform_name).target, options=bound.options)
        except Exception as error:
            raise _compile_error(error, launch.function, platform_name, messages()) from error
        # LLVM's AMD back end reports a bad inline assembly, leaves it out and goes on: the code would be wrong. Triton
        # has put it into its cache folder by now, where the next compilation would find it without a word.
        if re.search(r"^(\S+: )?error:", messages(), re.MULTILINE):
            shutil.rmtree(get_cache_manager(kernel.hash).cache_dir, ignore_errors=True)
            raise _compile_error(RuntimeError("LLVM reported an error."), launch.function, platform_name, messages())
    elapsed_ms = (time.perf_counter() - started) * 1e3
    return CompiledKernel(
        kernel=kernel.name,
        target=platform_name,
        artifact=kernel.kernel,
        asm={stage: text for stage, text in kernel.asm.items() if isinstance(text, str) and stage != "source"},
        shared_bytes=kernel.metadata.shared,
        metadata=kernel.metadata._asdict(),
        compile_ms=elapsed_ms,
        launch=launch,
    )


def compile_all(
    entry: Callable[..., Any],
    inputs_args: tuple[Any, ...],
    inputs_kwargs: dict[str, Any],
    platform_names: Sequence[str],
    all_configs: bool = False,
) -> dict[str, list[CompiledKernel | KernelEvolveError]]:
    """Record the launches of an entry point and compile each for several platforms, in forked children.

    As many compile at once as there are processors, a compiler that dies takes nothing with it, and the candidate's own
    state stays as it was: one that keeps buffers between calls would otherwise keep the stand-ins it saw here.

    Args:
        entry: the candidate's function, or an instance of its module.
        inputs_args: positional inputs; tensors may be on the `meta` device.
        inputs_kwargs: keyword inputs, likewise.
        platform_names: what to compile for; the first is the device that host code is told it has.
        all_configs: see `record_launches`.

    Returns:
        Platform name → for each distinct launch, the kernel or why it does not compile.

    Raises:
        CandidateError: see `record_launches`.
    """

    def compile_one(launch: Launch, platform_name: str) -> CompiledKernel:
        compiled = compile_launch(launch, platform_name)
        # The kernel's function and arguments cannot leave this process.
        constexprs = {name: value if _is_plain(value) else str(value) for name, value in launch.constexprs.items()}
        return replace(
            compiled, launch=replace(launch, function=None, arguments=(), keywords={}, constexprs=constexprs)
        )

    def record_and_compile() -> dict[str, list[Any]]:
        import torch

        # Threads do not survive a fork: a parallel region of host code on CPU tensors would wait for them for ever.
        torch.set_num_threads(1)
        launches = record_launches(entry, inputs_args, inputs_kwargs, platform_names[0], all_configs)
        pairs = [(launch, name) for name in platform_names for launch in launches]
        outcomes = iter(in_children([partial(compile_one, *pair) for pair in pairs]))
        return {name: [next(outcomes) for _ in launches] for name in platform_names}

    [outcome] = in_children([record_and_compile])
    if isinstance(outcome, Failure):
        raise outcome.error()
    return {
        name: [result.error() if isinstance(result, Failure) else result for result in results]
        for name, results in outcome.items()
    }


def kernel_code(compiled: CompiledKernel) -> KernelCode:
    """What the compiler made of one launch, stage by stage; on NVIDIA with the machine code disassembled.

    Raises:
        PlatformError: nvdisasm is missing or cannot read the machine code.
    """
    from kernelevolve.evaluation.platforms.artifacts import read_resources
    from kernelevolve.evaluation.platforms.disassembly import disassemble

    stages = dict(compiled.asm)
    if compiled.target.startswith("cuda:"):
        stages["sass"] = disassemble(compiled.artifact)
    return KernelCode(
        kernel=compiled.kernel,
        target=compiled.target,
        language="triton",
        resources=read_resources(compiled),
        grid=compiled.launch.grid,
        calls=compiled.launch.calls,
        stages=stages,
        notes=compiled.launch.notes,
    )


def precompile(entry: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Compile, for the GPU that is here, every kernel that a call will launch, and launch none.

    The results lie in Triton's cache folder, where the real call finds each in about a millisecond. All configurations
    of an autotuner that survive pruning are compiled. Nothing runs on the device, so the device lock is not needed.

    Returns:
        How many launches were compiled. A configuration that does not compile is not counted; the autotuner will pass
        over it too.

    Raises:
        CandidateError: a kernel does not compile in any configuration, or see `record_launches`.
    """
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    if torch.version.hip:
        platform_name = f"hip:{properties.gcnArchName.split(':')[0]}"
    else:
        platform_name = f"cuda:sm_{properties.major}{properties.minor}"
    outcomes = compile_all(entry, args, kwargs, [platform_name], all_configs=True)[platform_name]
    errors = [outcome for outcome in outcomes if isinstance(outcome, KernelEvolveError)]
    if errors and len(errors) == len(outcomes):
        raise errors[0]
    return len(outcomes) - len(errors)


def warm_up() -> None:
    """Import and compute what the first recording and compilation wait for (3 to 5 s), in a process to be forked."""
    import torch._dynamo
    import torch._meta_registrations
    import torch.fx.experimental.symbolic_shapes  # noqa: F401
    from triton.runtime.cache import triton_key

    # Triton remembers both: a hash over its installation, and the versions of its assemblers.
    triton_key()
    for platform_name in known_platforms():
        if hasattr(get_platform(platform_name), "triton_target"):
            _backend(platform_name).hash()


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | None)


@contextlib.contextmanager
def _compiler_messages() -> Iterator[Callable[[], str]]:
    """Keep what the compiler writes: MLIR's reasons go to file descriptor 2, a whole PTX dump to Python's stdout."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield lambda: os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _traceback(error: BaseException) -> str:
    """The error with the frames that are the author's, not ours."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    text = [*traceback.format_list(frames[-3:]), *traceback.format_exception_only(error)]
    return "".join(text)[-_LOG_CHARACTERS:]


def _compile_error(error: Exception, function: Any, target: str, messages: str) -> CandidateError:
    return CandidateError(
        Finding.COMPILER_ERROR,
        f"Triton cannot compile {function.fn.__name__} for {target}.",
        "Fix the line that the log names.",
        log=_shorten(error, function, messages)[:_LOG_CHARACTERS],
    )


def _shorten(error: BaseException, function: Any, messages: str) -> str:
    from triton.compiler.errors import CompilationError

    if isinstance(error, CompilationError):
        # A failure inside a called function is chained; the last link has the line that failed.
        inner: Any = error
        while isinstance(inner.__cause__, CompilationError):
            inner = inner.__cause__
        lines = (inner.src or "").splitlines()
        number = getattr(inner.node, "lineno", 0)
        text = [f"line {_file_line(function, inner.src, number)}: {lines[number - 1].strip()}"] if number else []
        cause = inner.__cause__
        return "\n".join([*text, inner.error_message or (str(cause) if cause else type(inner).__name__)])
    said = f"{error}\n{messages}".splitlines()
    lines = [line for line in said if re.search(r"error|fatal|fail", line, re.IGNORECASE)]
    # Paths of temporary files tell an author nothing.
    shown = [re.sub(r"/\S*/", "", line) for line in dict.fromkeys(lines) if "Repro command" not in line]
    return "\n".join([type(error).__name__, *shown[:12]])


def _file_line(function: Any, source: str | None, line: int) -> str:
    """Line number in the author's file, where the failing function is the kernel itself."""
    if source != function.src:
        return f"{line} of a called function"
    # `src` begins at the `def`; decorators may come before it in the file.
    decorators = next(index for index, text in enumerate(function.raw_src) if re.match(r"\s*def\s", text))
    return f"{function.starting_line_number + decorators + line - 1} of {Path(function.fn.__code__.co_filename).name}"
