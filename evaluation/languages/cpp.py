"""C++ for the CPU, compiled with g++ and OpenMP."""

from __future__ import annotations

import platform as host_platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.language import Artifact, EntryPoint, Language
from kernelevolve.evaluation.languages import native
from kernelevolve.evaluation.platform import Platform

ALLOWED_FLAGS = (
    "-O[0-3]",
    "-march=native",
    "-mtune=native",
    "-mprefer-vector-width=(128|256|512)",
    "-ffast-math",
    "-fno-finite-math-only",
    "-fno-math-errno",
    "-fassociative-math",
    "-freciprocal-math",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-funroll-loops",
    "-fopenmp-simd",
)
"""Flags a candidate may ask for; each changes code generation and nothing else."""

_BASE_FLAGS = ("-std=c++17", "-fPIC", "-fopenmp")

# glibc's libmvec has vector versions of these for x86-64, at most 4 ULP off, with infinities and NaN as in libm. Its
# headers declare them only under -ffast-math, which would break NaN and infinity elsewhere; declared here, any loop at
# -O3 -fno-math-errno may use them.
_VECTOR_MATH = "".join(
    f'extern "C" __attribute__((simd("notinbranch"))) float {name}(float) noexcept;\n'
    for name in ("expf", "logf", "sinf", "cosf")
)


class CppLanguage(Language):
    """`void kernel(TensorView input, ..., TensorView output)` in C++17."""

    name = "cpp"

    def read(self, candidate: Candidate) -> EntryPoint:
        """See `Language.read`."""
        native.asked_flags(candidate.source, ALLOWED_FLAGS)
        return native.find_entry(candidate)

    def supports(self, platform: Platform) -> bool:
        """C++ runs on the CPU."""
        return platform.family == "cpu"

    def build(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> Artifact:
        """Compile into a shared library; see `Language.build`."""
        version = native.compiler_version("g++")
        flags = ["-O2", *native.asked_flags(candidate.source, ALLOWED_FLAGS)]
        includes = native.tvm_ffi_include_flags()
        prelude = _prelude()
        header = native.precompiled_header(prelude, "g++", [*_BASE_FLAGS, *flags, *includes])
        source, library = scratch / "candidate.cpp", scratch / "candidate.so"
        source.write_text(native.assemble(candidate, "" if header else prelude, candidate.name))
        include = ["-include", str(header)] if header else []
        command = ["g++", "-shared", *_BASE_FLAGS, *flags, *includes, *include, str(source), "-o", str(library)]
        native.run_compiler(command, scratch, limit_s, candidate.name)
        return Artifact(
            language=self.name,
            entry=EntryPoint.FUNCTION,
            writes_outputs=True,
            library=library,
            options={"compiler": version, "flags": flags},
        )

    def load(self, artifact: Artifact, interpret: bool) -> Callable[..., Any]:
        """See `Language.load`; there is nothing to interpret."""
        return native.load_library(artifact)


def _prelude() -> str:
    vector = _VECTOR_MATH if re.match(r"x86_64|AMD64", host_platform.machine()) else ""
    return f"{native.HEADERS}#include <cmath>\n{vector}using tvm::ffi::TensorView;\n"
