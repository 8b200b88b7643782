"""CUDA C++, compiled with nvcc for the platform's architecture and no other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.language import Artifact, EntryPoint, Language
from kernelevolve.evaluation.languages import native
from kernelevolve.evaluation.platform import Level, Platform
from kernelevolve.evaluation.platforms.artifacts import read_cubin_resources
from kernelevolve.evaluation.platforms.cuda import CudaPlatform

ALLOWED_FLAGS = ("-O[0-3]", "--use_fast_math", "-maxrregcount=[0-9]+", "--extra-device-vectorization")
"""Flags a candidate may ask for."""

_PRELUDE = f"""{native.HEADERS}#include <tvm/ffi/extra/c_env_api.h>
#include <cuda_runtime.h>
using tvm::ffi::TensorView;
// The stream torch works on: a kernel launched elsewhere is not ordered with what comes before and after.
inline cudaStream_t current_stream(const TensorView& tensor) {{
  const DLDevice device = tensor.device();
  return static_cast<cudaStream_t>(TVMFFIEnvGetStream(device.device_type, device.device_id));
}}
"""


class CudaLanguage(Language):
    """`void kernel(TensorView input, ..., TensorView output)` in CUDA C++17; launch on `current_stream(output)`."""

    name = "cuda"

    def read(self, candidate: Candidate) -> EntryPoint:
        """See `Language.read`."""
        native.asked_flags(candidate.source, ALLOWED_FLAGS)
        return native.find_entry(candidate)

    def supports(self, platform: Platform) -> bool:
        """CUDA C++ runs on NVIDIA GPUs."""
        return platform.family == "cuda"

    def build(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> Artifact:
        """Compile a library where the GPU is here, else a cubin for its resources alone; see `Language.build`."""
        assert isinstance(platform, CudaPlatform)
        version = native.compiler_version("nvcc")
        flags = ["-std=c++17", "-O3", *platform.nvcc_arch_flags()]
        flags += native.asked_flags(candidate.source, ALLOWED_FLAGS)
        source = scratch / "candidate.cu"
        source.write_text(native.assemble(candidate, _PRELUDE, candidate.name))
        executes = Level.EXECUTED in platform.availability().levels.get(self.name, ())
        target = scratch / ("candidate.so" if executes else "candidate.cubin")
        kind = ["-shared", "-Xcompiler", "-fPIC"] if executes else ["-cubin"]
        command = ["nvcc", *kind, *flags, *native.tvm_ffi_include_flags(), str(source), "-o", str(target)]
        native.run_compiler(command, scratch, limit_s, candidate.name)
        resources = read_cubin_resources(target)
        return Artifact(
            language=self.name,
            entry=EntryPoint.FUNCTION,
            writes_outputs=True,
            library=target if executes else None,
            resources=tuple(entry.model_copy(update={"target": platform.name}) for entry in resources),
            notes=() if re.search(r"<<<|cudaLaunchKernel", candidate.source) else ("the source launches no kernel",),
            options={"compiler": version, "flags": flags},
        )

    def load(self, artifact: Artifact, interpret: bool) -> Callable[..., Any]:
        """See `Language.load`; there is nothing to interpret."""
        return native.load_library(artifact)
