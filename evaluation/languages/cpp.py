"""C++ candidates for the CPU, built by g++."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.languages.native import PRELUDE, CompileJob, NativeLanguage, tvm_flags, tvm_folder
from kernelevolve.evaluation.platform import Platform

# Flags with which a precompiled header stays valid (tried with g++ 12): they share one. The others each need their own.
_NEUTRAL_FLAG = re.compile(r"-O[1-3]|-funroll-loops|-fno-math-errno|-mtune=native")
_DEFAULT_FLAGS = ["-O2", "-std=c++17", "-fPIC", "-fopenmp"]
_HEADER_LIMIT_S = 60.0
# A precompiled header takes 69 MB, so only the most usual sets of the remaining flags get one.
_PRECOMPILED_FOR: tuple[set[str], ...] = (
    set(),
    {"-march=native"},
    {"-ffast-math"},
    {"-march=native", "-ffast-math"},
)


# glibc's libmvec has vector versions of these for x86-64, at most 4 ULP off and with libm's infinities and NaN. Its
# headers declare them only under -ffast-math, which breaks NaN and infinity elsewhere; declared here, any loop that is
# vectorised under -fno-math-errno may use them.
_VECTOR_MATH = (
    "#include <cmath>\n#if defined(__x86_64__) && defined(__GLIBC__)\n"
    + "".join(
        f'extern "C" __attribute__((simd("notinbranch"))) float {name}(float) noexcept;\n'
        for name in ("expf", "logf", "sinf", "cosf")
    )
    + "#endif\n"
)


class CppLanguage(NativeLanguage):
    """C++17 with OpenMP: `void kernel(TensorView x, ..., TensorView out)`."""

    name = "cpp"
    families = ("cpu",)
    compiler = "g++"
    install_advice = "Install GCC, for example the package g++ or build-essential."
    suffix = ".cpp"
    prelude = PRELUDE + _VECTOR_MATH
    allowed_flags = re.compile(
        r"-O[0-3]|-march=native|-mtune=native|-mprefer-vector-width=(128|256|512)|-ffast-math|-fno-math-errno"
        r"|-fassociative-math|-freciprocal-math|-fno-signed-zeros|-fno-trapping-math|-funroll-loops"
        r"|-fno-finite-math-only|-fopenmp-simd"
    )

    def default_flags(self, platform: Platform) -> list[str]:
        """Optimised, C++17, OpenMP."""
        return list(_DEFAULT_FLAGS)

    def code(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> list[KernelCode]:
        """Machine code with source lines, and what the vectoriser says."""
        from kernelevolve.evaluation.languages.cpp_code import kernel_code

        return kernel_code(candidate, scratch, limit_s)

    def compile(self, job: CompileJob) -> None:
        """As the commands say, with the prelude precompiled."""
        header = self._header(job, tvm_flags()[0])
        for command in self.commands(job.flags, str(header), job.unit.name, job.library.name, tvm_folder()):
            job.run([job.compiler, *command])

    def commands(self, flags: list[str], header: str, unit: str, library: str, tvm: Path) -> list[list[str]]:
        """Compile and link apart."""
        include, link = tvm_flags(tvm)
        object_file = f"{Path(unit).stem}.o"
        # Linking with -ffast-math would add start-up code (crtfastmath.o) that makes the whole worker process flush
        # subnormal numbers to zero, torch included. So the author's flags stay out of this command.
        return [
            [*flags, *include, "-include", header, "-fmax-errors=3", "-c", unit, "-o", object_file],
            ["-shared", "-fopenmp", object_file, "-o", library, *link],
        ]

    def _header(self, job: CompileJob, include: list[str]) -> Path:
        """The prelude, precompiled from the second build with the same kind of flags on: the first would lose time."""
        plain = job.header()
        kind = sorted({flag for flag in job.asked_flags if not _NEUTRAL_FLAG.fullmatch(flag)})
        if set(kind) not in _PRECOMPILED_FOR:
            return plain
        folder = plain.parent / "".join(["g++", *kind])
        header, precompiled = folder / "prelude.h", folder / "prelude.h.gch"
        if not header.exists():
            folder.mkdir(exist_ok=True)
            mine = folder / f"prelude.{os.getpid()}.h"
            mine.write_text(job.prelude, encoding="utf-8")
            mine.replace(header)
        elif not precompiled.exists():
            # Two processes may do this at once; each writes a file of its own and the later one stays.
            mine = folder / f"prelude.{os.getpid()}.gch"
            flags = [*_DEFAULT_FLAGS, *kind]
            job.run([job.compiler, *flags, *include, "-x", "c++-header", str(header), "-o", str(mine)], _HEADER_LIMIT_S)
            mine.replace(precompiled)
        return header
