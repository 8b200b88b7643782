"""CUDA C++ candidates, built by nvcc; without a GPU they are compiled and their resources read."""

from __future__ import annotations

import re
from pathlib import Path

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.languages.native import PRELUDE, NativeLanguage, tvm_flags
from kernelevolve.evaluation.platform import Platform
from kernelevolve.evaluation.platforms.artifacts import read_cubin_resources, read_cubins, with_occupancy
from kernelevolve.evaluation.platforms.cuda import CudaPlatform
from kernelevolve.evaluation.platforms.disassembly import disassemble
from kernelevolve.evaluation.resources import KernelResources

_LAUNCH_BOUNDS = re.compile(r"__launch_bounds__\s*\(\s*(\d+)[^)]*\)\s*(?:void\s+)?(\w+)\s*\(")


class CudaLanguage(NativeLanguage):
    """CUDA C++17: a host function `void kernel(TensorView x, ..., TensorView out)` that launches device code.

    `current_stream(x)` is the stream to launch on.
    """

    name = "cuda"
    families = ("cuda",)
    compiler = "nvcc"
    install_advice = "Install the CUDA toolkit."
    suffix = ".cu"
    allowed_flags = re.compile(r"-O[0-3]|--use_fast_math|-maxrregcount=\d{1,3}|--extra-device-vectorization")
    prelude = PRELUDE + (
        "#include <cuda_runtime.h>\n"
        "#include <tvm/ffi/extra/c_env_api.h>\n"
        "static inline cudaStream_t current_stream(const TensorView& tensor) {\n"
        "  return static_cast<cudaStream_t>(\n"
        "      TVMFFIEnvGetStream(tensor.device().device_type, tensor.device().device_id));\n"
        "}\n"
    )

    def default_flags(self, platform: Platform) -> list[str]:
        """Optimised, C++17, for one architecture; with line numbers, which change no instruction."""
        assert isinstance(platform, CudaPlatform)
        return ["-O3", "-std=c++17", "-lineinfo", "-Xcompiler", "-fPIC", *platform.nvcc_arch_flags()]

    def commands(self, flags: list[str], header: str, unit: str, library: str, tvm: Path) -> list[list[str]]:
        """Compile and link in one command."""
        include, link = tvm_flags(tvm)
        return [[*flags, *include, "-include", header, "-shared", unit, "-o", library, *link]]

    def code(self, candidate: Candidate, platform: Platform, scratch: Path, limit_s: float) -> list[KernelCode]:
        """The machine code of every `__global__` function, disassembled; launches and grids are not known."""
        artifact = self.build(candidate, platform, scratch, limit_s)
        assert artifact.library is not None
        text = "\n".join(disassemble(cubin) for cubin in read_cubins(artifact.library))
        return [
            KernelCode(
                kernel=resources.kernel,
                target=platform.name,
                language=self.name,
                resources=resources,
                stages={"sass": text},
                notes=artifact.notes,
            )
            for resources in artifact.resources
        ]

    def inspect(self, candidate: Candidate, library: Path) -> tuple[list[KernelResources], list[str]]:
        """Read the machine code; occupancy where `__launch_bounds__` says the block size."""
        try:
            found = read_cubin_resources(library)
        except PlatformError as error:
            return [], [f"resources unknown: {error.summary}"]
        threads = {name: int(count) for count, name in _LAUNCH_BOUNDS.findall(candidate.source)}
        known = [entry for entry in found if entry.kernel in threads]
        others = [entry for entry in found if entry.kernel not in threads]
        return [*(with_occupancy(entry, threads[entry.kernel]) for entry in known), *others], []
