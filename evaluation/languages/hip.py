"""HIP candidates, built by hipcc."""

from __future__ import annotations

import re
from pathlib import Path

from kernelevolve.evaluation.languages.native import PRELUDE, NativeLanguage, tvm_flags
from kernelevolve.evaluation.platform import Platform
from kernelevolve.evaluation.platforms.hip import HipPlatform


class HipLanguage(NativeLanguage):
    """HIP C++17: a host function `void kernel(TensorView x, ..., TensorView out)` that launches device code.

    `current_stream(x)` is the stream to launch on.
    """

    name = "hip"
    families = ("hip",)
    compiler = "hipcc"
    install_advice = "Install ROCm's HIP compiler (the package hipcc or rocm-hip-sdk)."
    suffix = ".hip"
    allowed_flags = re.compile(r"-O[0-3]|-ffast-math|-funroll-loops|-munsafe-fp-atomics")
    prelude = PRELUDE + (
        "#include <hip/hip_runtime.h>\n"
        "#include <tvm/ffi/extra/c_env_api.h>\n"
        "static inline hipStream_t current_stream(const TensorView& tensor) {\n"
        "  return static_cast<hipStream_t>(\n"
        "      TVMFFIEnvGetStream(tensor.device().device_type, tensor.device().device_id));\n"
        "}\n"
    )

    def default_flags(self, platform: Platform) -> list[str]:
        """Optimised, C++17, for one architecture."""
        assert isinstance(platform, HipPlatform)
        return ["-O3", "-std=c++17", "-fPIC", *platform.hipcc_arch_flags()]

    def commands(self, flags: list[str], header: str, unit: str, library: str, tvm: Path) -> list[list[str]]:
        """Compile and link in one command."""
        include, link = tvm_flags(tvm)
        return [[*flags, *include, "-include", header, "-x", "hip", "-shared", unit, "-o", library, *link]]
