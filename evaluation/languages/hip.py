"""HIP C++ for AMD GPUs: compiled where hipcc is, never executed by this plug-in yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.language import Artifact, EntryPoint, Language
from kernelevolve.evaluation.languages import native
from kernelevolve.evaluation.platform import Platform

ALLOWED_FLAGS = ("-O[0-3]", "-ffast-math", "-fno-finite-math-only")
"""Flags a candidate may ask for."""

_PRELUDE = f"{native.HEADERS}#include <hip/hip_runtime.h>\nusing tvm::ffi::TensorView;\n"


class HipLanguage(Language):
    """`void kernel(TensorView input, ..., TensorView output)` in HIP C++17."""

    name = "hip"

    def read(self, candidate: Candidate) -> EntryPoint:
        """See `Language.read`."""
        native.asked_flags(candidate.source, ALLOWED_FLAGS)
        return native.find_entry(candidate)

    def supports(self, platform: Platform) -> bool:
        """HIP C++ runs on AMD GPUs."""
        return platform.family == "hip"

    def build(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> Artifact:
        """Compile the device code for one architecture; see `Language.build`."""
        version = native.compiler_version("hipcc")
        flags = ["-std=c++17", "-O3", f"--offload-arch={platform.architecture}", "-c"]
        flags += native.asked_flags(candidate.source, ALLOWED_FLAGS)
        source = scratch / "candidate.hip"
        source.write_text(native.assemble(candidate, _PRELUDE, candidate.name))
        output = scratch / "candidate.o"
        command = ["hipcc", *flags, *native.tvm_ffi_include_flags(), str(source), "-o", str(output)]
        native.run_compiler(command, scratch, limit_s, candidate.name)
        return Artifact(
            language=self.name,
            entry=EntryPoint.FUNCTION,
            writes_outputs=True,
            notes=("HIP C++ is compiled only: resources and execution are not supported yet",),
            options={"compiler": version, "flags": flags},
        )

    def load(self, artifact: Artifact, interpret: bool) -> Callable[..., Any]:
        """Not possible: this plug-in compiles and no more."""
        raise PlatformError(
            Finding.LANGUAGE_ON_PLATFORM, "HIP C++ candidates are compiled, not executed.", "Use Triton for AMD GPUs."
        )
