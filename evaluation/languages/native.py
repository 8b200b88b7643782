"""What the compiled languages share: reading the source, flags, building a shared library, loading it.

The compiler is called directly: `tvm_ffi.cpp.load_inline` needs 3.7 s for what g++ does in 1.4 s, or in 0.8 s with the
two TVM headers precompiled.
"""

from __future__ import annotations

import abc
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.sandbox import Confinement
from kernelevolve.evaluation.language import Artifact, EntryPoint, Language
from kernelevolve.evaluation.platform import Platform
from kernelevolve.evaluation.resources import KernelResources

CACHE_VARIABLE = "KERNELEVOLVE_CACHE_DIR"
"""Environment variable that names the folder of built libraries; without it they lie beside the scratch folders."""

PRELUDE = """\
#include <cstdint>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/function.h>
using tvm::ffi::TensorView;
"""
SIGNATURE_ADVICE = (
    "Define `void kernel(TensorView x, ..., TensorView out)`: the task's inputs in order, then one preallocated tensor "
    "for each output. Scalars are double, int64_t or bool."
)

_LIMITED = 'ulimit -v "$0" 2>/dev/null; ulimit -f 4194304 2>/dev/null; exec "$@"'
"""Shell program: bound memory, and files to 2 GiB, then become the command."""
_MEMORY_LIMIT_KIB = 8 * 1024 * 1024
_OUTPUT_BYTES = 1 << 20
"""How much of a compiler's output is looked at."""
_LOG_LINES = 30
_LOG_CHARACTERS = 3_000
_LINE_CHARACTERS = 240
# Each takes time that grows with the length of a source and not with its square, whatever is in it: an author chooses
# the text, and the judge's own process reads it. So none can begin in many places and fail far behind each of them.
_COMMENT_TEXT = r"//[^\n]*|/\*(?s:.*?)(?:\*/|\Z)"
_STRING_TEXT = r'"(?:\\.|[^"\\\n])*"?|\'(?:\\.|[^\'\\\n]){1,12}\''
_STRING = re.compile(_STRING_TEXT)
_COMMENT_OR_STRING = re.compile(f"(?P<comment>{_COMMENT_TEXT})|{_STRING_TEXT}")
_FLAGS_LINE = re.compile(r"^[^\S\n]*//[^\S\n]*kernelevolve:[^\S\n]*flags[^\S\n]+(.*)$", re.MULTILINE)
_ENTRY = re.compile(r"\bvoid\s+kernel\s*\(")
_INCLUDE = re.compile(r'^[^\S\n]*#[^\S\n]*include[^\S\n]*[<"](?P<path>[^>"\n]+)[>"]', re.MULTILINE)
_READS_FILES = re.compile(r"#\s*embed\b|\.incbin\b")
_EXPORT = re.compile(r"\bTVM_FFI_DLL_EXPORT")


class NativeLanguage(Language):
    """A language whose source is compiled ahead into a shared library.

    The harness includes a prelude in front of the source and exports `kernel` after it, unless the source exports
    something itself. A comment line `// kernelevolve: flags -O3 …` asks for more compiler flags.
    """

    families: tuple[str, ...]
    """Platform families whose candidates may be in this language."""
    compiler: str
    """Command of the compiler."""
    install_advice: str
    """What to install when the compiler is missing."""
    suffix: str
    """File suffix of a source, with its dot."""
    allowed_flags: re.Pattern[str]
    """What `// kernelevolve: flags` may ask for; each flag must match in full."""
    prelude: str = PRELUDE

    @abc.abstractmethod
    def default_flags(self, platform: Platform) -> list[str]:
        """Compiler flags that every candidate gets."""

    @abc.abstractmethod
    def commands(self, flags: list[str], header: str, unit: str, library: str, tvm: Path) -> list[list[str]]:
        """Arguments of the compiler that turn a translation unit into a shared library, one list for each run of it.

        Args:
            flags: all flags of the language and the author's.
            header: the prelude's file.
            unit: file name of the translation unit.
            library: file name of the library.
            tvm: folder of the package `tvm_ffi`.
        """

    def compile(self, job: CompileJob) -> None:
        """Turn `job.unit` into the shared library `job.library`."""
        for command in self.commands(job.flags, str(job.header()), job.unit.name, job.library.name, tvm_folder()):
            job.run([job.compiler, *command])

    def inspect(self, candidate: Candidate, library: Path) -> tuple[list[KernelResources], list[str]]:
        """Resources of the kernels in a built library, and notes; nothing by default."""
        return [], []

    def supports(self, platform: Platform) -> bool:
        """Whether the platform is of a family that this language compiles for."""
        return platform.family in self.families

    def read(self, candidate: Candidate) -> EntryPoint:
        """Find `kernel`, check the flags and the few constructs that never make sense here."""
        without_comments = _COMMENT_OR_STRING.sub(
            lambda match: _blank(match) if match["comment"] else match[0], candidate.source
        )
        for include in _INCLUDE.finditer(without_comments):
            if include["path"].startswith("/") or ".." in include["path"]:
                raise CandidateError(
                    Finding.FORBIDDEN_CONSTRUCT,
                    f"The source includes {include['path']}.",
                    "Include only system headers by name; a candidate is one self-contained file.",
                )
        if found := _READS_FILES.search(without_comments):
            raise CandidateError(
                Finding.FORBIDDEN_CONSTRUCT,
                f"The source reads a file at compile time ({found[0]}).",
                "Write the data into the source.",
            )
        self.asked_flags(candidate.source)
        code = _STRING.sub(_blank, without_comments)
        entries = _before_entries(code)
        if any("__global__" in before for before in entries):
            raise CandidateError(
                Finding.MISSING_ENTRY_POINT,
                "`kernel` is a __global__ function; the entry point is a host function of that name.",
                f"Rename the __global__ function. {SIGNATURE_ADVICE}",
            )
        if not entries:
            raise CandidateError(
                Finding.MISSING_ENTRY_POINT, "The source defines no function `void kernel(...)`.", SIGNATURE_ADVICE
            )
        return EntryPoint.FUNCTION

    def asked_flags(self, source: str) -> list[str]:
        """Flags that the source asks for.

        Raises:
            CandidateError: one is not allowed.
        """
        flags = [flag for line in _FLAGS_LINE.findall(source) for flag in line.split()]
        for flag in flags:
            if not self.allowed_flags.fullmatch(flag):
                raise CandidateError(
                    Finding.FORBIDDEN_CONSTRUCT,
                    f"The compiler flag {flag!r} is not allowed.",
                    f"Allowed for {self.name}: {self.allowed_flags.pattern.replace(chr(92), '')}.",
                )
        return flags

    def build(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> Artifact:
        """Compile, or take the library from the cache if this very source was compiled before."""
        if not self.supports(platform):
            raise PlatformError(
                Finding.LANGUAGE_ON_PLATFORM,
                f"{self.name} candidates cannot run on {platform.name}.",
                f"Use a platform of: {', '.join(self.families)}.",
            )
        entry = self.read(candidate)
        compiler = self.find_compiler()
        asked = self.asked_flags(candidate.source)
        flags = [*self.default_flags(platform), *asked]
        compiler_version = tool_version(compiler)
        key = _hash(
            self.prelude, candidate.source, *flags, compiler, compiler_version, version("apache-tvm-ffi"),
            _processor() if any("native" in flag for flag in flags) else "",
        )  # fmt: skip
        cache_folder = native_cache(scratch)
        library = cache_folder / "libraries" / f"{key}.so"
        record = library.with_suffix(".json")
        if not record.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            job = CompileJob(
                compiler=compiler,
                flags=flags,
                asked_flags=asked,
                unit=self.write_unit(candidate, scratch),
                library=scratch / "kernel.so",
                prelude=self.prelude,
                cache_folder=cache_folder,
                seconds_left=limit_s,
            )
            self.compile(job)
            resources, notes = self.inspect(candidate, job.library)
            _put(job.library, library)
            content = {"resources": [entry.model_dump(mode="json") for entry in resources], "notes": notes}
            (scratch / "record.json").write_text(json.dumps(content), encoding="utf-8")
            _put(scratch / "record.json", record)  # last: its presence says that the library is complete
        content = json.loads(record.read_text(encoding="utf-8"))
        return Artifact(
            language=self.name,
            entry=entry,
            writes_outputs=True,
            library=library,
            resources=tuple(KernelResources.model_validate(entry) for entry in content["resources"]),
            notes=tuple(content["notes"]),
            options={"compiler": compiler_version, "flags": flags},
        )

    def write_unit(self, candidate: Candidate, scratch: Path) -> Path:
        """Write the source and the translation unit around it, which exports `kernel`.

        Returns:
            The translation unit. The source keeps a file of its own, `kernel` with the language's suffix, so that
            messages and line tables name its lines.
        """
        source = f"kernel{self.suffix}"
        (scratch / source).write_text(candidate.source, encoding="utf-8")
        unit = scratch / f"unit{self.suffix}"
        unit.write_text(self.unit_text(candidate), encoding="utf-8")
        return unit

    def unit_text(self, candidate: Candidate) -> str:
        """The translation unit around the source, which lies beside it as `kernel` with the language's suffix."""
        export = "" if _EXPORT.search(candidate.source) else "TVM_FFI_DLL_EXPORT_TYPED_FUNC(kernel, kernel);\n"
        return f'#include "kernel{self.suffix}"\n{export}'

    def load(self, artifact: Artifact, interpret: bool) -> Callable[..., Any]:
        """Load the library.

        Returns:
            `kernel`, called with the inputs and then the outputs, as torch tensors and Python scalars. Tensors reach
            it contiguous: others are copied before and copied back after the call.
        """
        import torch
        import tvm_ffi

        function, tensor = tvm_ffi.load_module(str(artifact.library)).kernel, torch.Tensor

        def kernel(*values: Any) -> None:
            for value in values:
                if isinstance(value, tensor) and not value.is_contiguous():
                    break
            else:
                function(*values)
                return
            dense = [value.contiguous() if isinstance(value, torch.Tensor) else value for value in values]
            function(*dense)
            for value, copy in zip(values, dense, strict=True):
                if copy is not value and not _overlaps_itself(value):
                    value.copy_(copy)

        return kernel

    def find_compiler(self) -> str:
        """Path of the compiler.

        Raises:
            PlatformError: it is not here, or TVM's headers are not.
        """
        if find_spec("tvm_ffi") is None:
            raise PlatformError(
                Finding.COMPILER_MISSING, "apache-tvm-ffi is not installed.", "pip install apache-tvm-ffi."
            )
        compiler = shutil.which(self.compiler)
        if compiler is None:
            raise PlatformError(Finding.COMPILER_MISSING, f"{self.compiler} is not on PATH.", self.install_advice)
        return compiler


@dataclass
class CompileJob:
    """One translation unit on its way to a shared library."""

    compiler: str
    """Path of the compiler."""
    flags: list[str]
    """All flags of the language and the author's."""
    asked_flags: list[str]
    """The author's alone."""
    unit: Path
    """The file to compile; commands run in its folder."""
    library: Path
    """The shared library to make, in the same folder."""
    prelude: str
    """What is included in front of the source."""
    cache_folder: Path
    """Where headers may be kept."""
    seconds_left: float
    """Time that the source's own commands may still take."""

    def header(self) -> Path:
        """The prelude as a file in the cache folder, one for each compiler and version of TVM."""
        key = _hash(self.prelude, version("apache-tvm-ffi"), tool_version(self.compiler))
        header = self.cache_folder / "headers" / key / "prelude.h"
        if not header.exists():
            header.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=header.parent, delete=False) as file:
                file.write(self.prelude)
            Path(file.name).replace(header)
        return header

    def run(self, command: list[str], limit_s: float | None = None) -> None:
        """Run a compiler command in the unit's folder, in a process group of its own, within the limits.

        Args:
            command: command and arguments.
            limit_s: seconds it may take, for work that is not the author's; by default the job's own time counts.

        Raises:
            CandidateError: it failed, or took too long.
        """
        limit_s, own = (self.seconds_left, True) if limit_s is None else (limit_s, False)
        # A source can make the compiler talk without end, which is better kept in a file than in the judge's memory.
        with tempfile.TemporaryFile(dir=self.unit.parent) as said:
            started = time.monotonic()
            process = self._start(command, confined=own, said=said)
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired as error:
                raise CandidateError(
                    Finding.COMPILER_TIMEOUT,
                    f"The compiler was stopped after {time.monotonic() - started:.1f} s.",
                    "Use fewer template instantiations or less unrolling.",
                ) from error
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if own:
                self.seconds_left -= time.monotonic() - started
            if process.returncode:
                said.seek(0)
                raise self._refusal(said.read(_OUTPUT_BYTES).decode(errors="replace"))

    def _start(self, command: list[str], confined: bool, said: IO[bytes]) -> subprocess.Popen[bytes]:
        # `ulimit -v` in a shell bounds the compiler and all it starts, and needs no code between fork and exec. Where
        # the system has no such limit (macOS), the compiler runs without it.
        shell = ["/bin/sh", "-c", _LIMITED, str(_MEMORY_LIMIT_KIB)]
        # A source can make the compiler read files (`.incbin` in inline assembly, say), so it is confined too.
        walls = Confinement(self.unit.parent, (self.cache_folder,)) if confined else None
        try:
            return subprocess.Popen(
                [*shell, *(command if walls is None else walls.command(command))],
                cwd=self.unit.parent,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C", "TMPDIR": str(self.unit.parent)},
                preexec_fn=walls.apply if walls is not None else None,
            )
        finally:
            if walls is not None:
                walls.close()

    def _refusal(self, output: str) -> CandidateError:
        # The folders of headers and scratch files tell an author nothing.
        text = re.sub(r"(?<!\S)/\S*/tvm_ffi/include/", "", output.replace(f"{self.unit.parent}/", ""))
        lines = [line[:_LINE_CHARACTERS] for line in text.splitlines()]
        start = next((index for index, line in enumerate(lines) if re.search(r"\berror\b", line)), 0)
        name = Path(self.compiler).name
        if lines and lines[start].startswith(("tvm/ffi/", "unit.")):
            # The source itself went through; what failed is the export after it, far inside TVM's templates.
            return CandidateError(
                Finding.COMPILER_ERROR,
                f"{name} cannot export `kernel`: its parameters are not ones that the harness can pass.",
                SIGNATURE_ADVICE,
                log="\n".join(lines[start : start + 3]),
            )
        return CandidateError(
            Finding.COMPILER_ERROR,
            f"{name} refused the source.",
            "Fix the first error; line numbers are those of your source.",
            log="\n".join(lines[start : start + _LOG_LINES])[:_LOG_CHARACTERS],
        )


def native_cache(scratch: Path) -> Path:
    """The folder of built libraries and precompiled headers."""
    return Path(os.environ.get(CACHE_VARIABLE) or scratch.parent / "native-cache")


def tvm_folder() -> Path:
    """Folder of the package `tvm_ffi`."""
    spec = find_spec("tvm_ffi")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def tvm_flags(package: Path | None = None) -> tuple[list[str], list[str]]:
    """Flags that find TVM's headers, and flags that link its library; its package is the installed one by default."""
    package = package or tvm_folder()
    return [f"-I{package / 'include'}"], [f"-L{package / 'lib'}", "-ltvm_ffi"]


@cache
def tool_version(tool: str) -> str:
    """The line of `TOOL --version` that has the version number."""
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=30, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if re.search(r"\d+\.\d+", line)]
    return lines[0] if lines else tool


def _processor() -> str:
    from kernelevolve.evaluation.platforms.cpu import processor_name

    return processor_name()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _before_entries(code: str) -> list[str]:
    """What stands before each `void kernel(`, from the end of the statement or block before it."""
    found, done = [], 0
    for match in _ENTRY.finditer(code):
        start = max(code.rfind(mark, done, match.start()) + 1 for mark in ";{}")
        found.append(code[max(start, done) : match.start()])
        done = match.end()
    return found


def _blank(match: re.Match[str]) -> str:
    """White space of the same shape, so that line numbers stay."""
    return re.sub(r"[^\n]", " ", match[0])


def _put(file: Path, target: Path) -> None:
    """Copy a file into the cache in one step, so that another process sees all of it or nothing."""
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as temporary:
        temporary.write(file.read_bytes())
    Path(temporary.name).chmod(0o644)
    Path(temporary.name).replace(target)


def _overlaps_itself(tensor: Any) -> bool:
    """Whether an element of the tensor has several indices (an expanded tensor), so that it cannot be written."""
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
