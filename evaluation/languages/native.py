"""What the native languages share: finding the entry point, allowed flags, running a compiler, loading the library.

Candidates are compiled straight into a shared library whose functions go through `apache-tvm-ffi` (DLPack tensors, no
torch headers): 1.4 s for a small kernel with g++ 12, 0.8 s with the headers precompiled, against 3.7 s through
tvm_ffi's own builder and tens of seconds through torch's.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.language import Artifact, EntryPoint

_LOG_CHARACTERS = 4000
_COMPILER_MEMORY_BYTES = 8 << 30
_FLAGS_LINE = re.compile(r"^[ \t]*//[ \t]*kernelevolve:[ \t]*flags[ \t]+(.+)$", re.MULTILINE)
_EXPORT = "TVM_FFI_DLL_EXPORT"

HEADERS = "#include <tvm/ffi/container/tensor.h>\n#include <tvm/ffi/function.h>\n"
"""What every native candidate may use."""


def strip_comments_and_strings(source: str) -> str:
    """C++ text with comments and literals blanked, so that words in them count for nothing. Lines stay."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    pattern = r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, blank, source, flags=re.DOTALL)


def find_entry(candidate: Candidate) -> EntryPoint:
    """Check that the source defines `kernel`.

    Raises:
        CandidateError: it does not, or includes files from outside.
    """
    code = strip_comments_and_strings(candidate.source)
    if not re.search(r"\bkernel\s*\(", code) and _EXPORT not in code:
        raise CandidateError(
            Finding.MISSING_ENTRY_POINT,
            f"{candidate.name} defines no function `kernel`.",
            "Define void kernel(TensorView input, ..., TensorView output): the task's inputs in order (numbers as "
            "double, int64_t or bool), then the preallocated outputs.",
        )
    outside = re.search(r"^[ \t]*#[ \t]*include[ \t]*[<\"](/|\.\.)[^>\"]*[>\"]", candidate.source, re.MULTILINE)
    if outside:
        raise CandidateError(
            Finding.FORBIDDEN_CONSTRUCT,
            f"{outside[0].strip()} reaches outside the compiler's own folders.",
            "Include system headers by name; put everything else into the candidate.",
        )
    return EntryPoint.FUNCTION


def asked_flags(source: str, allowed: Sequence[str]) -> list[str]:
    """Compiler flags from the lines `// kernelevolve: flags ...`.

    Args:
        source: the candidate's text.
        allowed: regular expressions; each flag must match one of them wholly.

    Raises:
        CandidateError: a flag that is not allowed.
    """
    flags = [flag for line in _FLAGS_LINE.findall(source) for flag in line.split()]
    for flag in flags:
        if not any(re.fullmatch(pattern, flag) for pattern in allowed):
            raise CandidateError(
                Finding.FORBIDDEN_CONSTRUCT,
                f"The compiler flag {flag!r} is not allowed.",
                f"Allowed: {' '.join(allowed)}.",
            )
    return flags


def cache_folder() -> Path:
    """Where precompiled headers lie: `$KERNELEVOLVE_CACHE`, else `$XDG_CACHE_HOME/kernelevolve`."""
    if named := os.environ.get("KERNELEVOLVE_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kernelevolve"


@functools.cache
def compiler_version(command: str) -> str:
    """First line of `command --version`, or for nvcc the line that has the release.

    Raises:
        PlatformError: there is no such compiler.
    """
    hints = {"g++": "install g++", "nvcc": "install the CUDA toolkit", "hipcc": "install ROCm's HIP SDK"}
    if shutil.which(command) is None:
        raise PlatformError(
            Finding.COMPILER_MISSING,
            f"{command} is not on PATH, so this language can't be compiled here.",
            f"To use it, {hints.get(command, f'install {command}')}.",
        )
    lines = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()
    return next((line for line in lines if "release" in line), lines[0] if lines else "unknown")


def tvm_ffi_include_flags() -> list[str]:
    """`-I` flags for tvm_ffi's headers."""
    import tvm_ffi.libinfo

    return [f"-I{path}" for path in tvm_ffi.libinfo.include_paths()]


def run_compiler(command: Sequence[str], folder: Path, limit_s: float, name: str) -> str:
    """Run a compiler in a process group of its own, with a memory limit.

    Returns:
        What it printed.

    Raises:
        CandidateError: it refused the source, or took longer than `limit_s` (the whole group is then killed).
    """

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_COMPILER_MEMORY_BYTES, _COMPILER_MEMORY_BYTES))

    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=confine,
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise CandidateError(
            Finding.COMPILER_TIMEOUT,
            f"{command[0]} did not finish within {limit_s:g} s.",
            "Make the source smaller: fewer template instantiations, less unrolling.",
        ) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        errors = [line for line in output.splitlines() if ": error" in line or ": fatal error" in line]
        first = errors[0] if errors else (output.strip().splitlines() or ["no message"])[-1]
        raise CandidateError(
            Finding.COMPILER_ERROR,
            f"{command[0]} refused {name}: {first.strip()}",
            "Mend the first error; those after it often follow from it.",
            shorten_log(output),
        )
    return output


def shorten_log(output: str) -> str:
    """The head of a compiler's output: the first errors are the ones that count."""
    return output if len(output) <= _LOG_CHARACTERS else output[:_LOG_CHARACTERS] + "\n… cut"


def assemble(candidate: Candidate, prelude: str, file_name: str) -> str:
    """The text that is compiled: prelude, the author's source under its own line numbers, the export."""
    export = "" if _EXPORT in candidate.source else f"\n{_EXPORT}_TYPED_FUNC(kernel, kernel);\n"
    return f'{prelude}#line 1 "{file_name}"\n{candidate.source}{export}'


def precompiled_header(prelude: str, compiler: str, flags: Sequence[str]) -> Path | None:
    """A precompiled header of the prelude for these flags, made once and shared by every process of this user.

    Returns:
        Path to give to `-include`; None where the cache folder can't be written, which costs time and nothing else.
    """
    key = hashlib.sha256("\n".join([compiler_version(compiler), prelude, *flags]).encode()).hexdigest()[:16]
    folder = cache_folder() / "headers"
    header, compiled = folder / f"{key}.h", folder / f"{key}.h.gch"
    if compiled.exists():
        return header
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            text = Path(draft) / "prelude.h"
            text.write_text(prelude)
            made = Path(draft) / "prelude.h.gch"
            command = [compiler, *flags, "-x", "c++-header", str(text), "-o", str(made)]
            run_compiler(command, Path(draft), 120, "the prelude")
            # Two processes may get here at once: each replaces whole files.
            os.replace(text, header)
            os.replace(made, compiled)
    except OSError:
        return None
    return header


def load_library(artifact: Artifact) -> Callable[..., Any]:
    """Load a built library in the worker.

    Returns:
        A function of the inputs and then the outputs, as torch tensors and plain numbers. Inputs arrive contiguous:
        one that is not is copied first, inside the call, so that the copy is timed.
    """
    import torch
    import tvm_ffi

    assert artifact.library is not None
    module = tvm_ffi.load_module(str(artifact.library))
    function = module.kernel

    def call(*arguments: Any) -> None:
        function(*(item.contiguous() if isinstance(item, torch.Tensor) else item for item in arguments))

    # The library must outlive its function.
    call.module = module  # type: ignore[attr-defined]
    return call
