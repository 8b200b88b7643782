"""Read what a kernel takes from its machine code: registers, spills, shared memory, code size, and so its occupancy."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.platforms.occupancy import (
    RESERVED_SHARED_BYTES,
    cuda_limits,
    cuda_occupancy,
    hip_occupancy,
)
from kernelevolve.evaluation.resources import KernelResources

if TYPE_CHECKING:
    from kernelevolve.evaluation.languages.triton_launches import CompiledKernel

_WORD_BYTES = 4
_TOOL_LIMIT_S = 60
_FUNCTION = re.compile(r"^ *Function (?P<name>\S+):\s+(?P<usage>REG:.*)$", re.MULTILINE)
_ARCHITECTURE = re.compile(r"\.(sm_\d+)[a-z]?\.cubin")
# Elf64_Ehdr.e_shoff, e_shentsize, e_shnum, e_shstrndx; Elf64_Shdr (elf.h).
_ELF_HEADER = struct.Struct("<40xQ10xHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")


@dataclass(frozen=True)
class _CubinUsage:
    """One kernel of a cubin, from `cuobjdump --dump-resource-usage` and the section table."""

    name: str
    registers: int
    local_bytes: int
    shared_bytes: int
    code_bytes: int


def read_resources(compiled: CompiledKernel) -> KernelResources:
    """What one launch takes on the target it was compiled for.

    Shared memory is the size that Triton asks for at launch (static and dynamic together). On NVIDIA, `spills` counts
    all words of local memory: ptxas' own count is not kept in a cubin, and Triton keeps no arrays in local memory.

    Raises:
        PlatformError: cuobjdump is missing, or the artifact does not say what it should.
    """
    family, _, architecture = compiled.target.partition(":")
    metadata = compiled.metadata
    threads = metadata["num_warps"] * metadata["warp_size"]
    common: dict[str, Any] = {
        "kernel": compiled.kernel,
        "target": compiled.target,
        "threads_per_block": threads,
        "launch": {
            "num_warps": metadata["num_warps"],
            "num_stages": metadata["num_stages"],
            **{name: _plain(value) for name, value in compiled.launch.constexprs.items()},
        },
    }
    if family == "hip":
        return _read_amdgcn(compiled, architecture, common)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(compiled.artifact)
        usage = next((entry for entry in _cubin_usage(path, _packaged_first()) if entry.name == compiled.kernel), None)
    if usage is None:
        raise _unreadable(f"the cubin has no kernel {compiled.kernel}")
    occupancy, limiter = cuda_occupancy(architecture, usage.registers, compiled.shared_bytes, threads)
    return KernelResources(
        **common,
        registers=usage.registers,
        spills=usage.local_bytes // _WORD_BYTES,
        shared_bytes=compiled.shared_bytes,
        code_bytes=usage.code_bytes,
        occupancy=occupancy,
        occupancy_limiter=limiter,
    )


def read_cubin_resources(path: Path) -> list[KernelResources]:
    """What each kernel in a cubin, or in a shared library that nvcc built, takes.

    Shared memory is the static part; what a launch adds is not known here, and neither are the threads per block, so
    there is no occupancy. `spills` counts all words of local memory, arrays that live there included.

    Raises:
        PlatformError: cuobjdump is missing or cannot read the file.
    """
    tool = _path_first()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        # A library holds one ELF file for each architecture and link step; its name there says the architecture.
        _run([tool, "--extract-elf", "all", str(path.resolve())], Path(folder))
        for cubin in sorted(Path(folder).glob("*.cubin")):
            architecture = _ARCHITECTURE.search(cubin.name)
            found += [
                KernelResources(
                    kernel=readable_name(usage.name),
                    target=f"cuda:{architecture[1]}" if architecture else "cuda",
                    registers=usage.registers,
                    spills=usage.local_bytes // _WORD_BYTES,
                    shared_bytes=usage.shared_bytes,
                    code_bytes=usage.code_bytes,
                )
                for usage in _cubin_usage(cubin, tool)
            ]
    if not found:
        raise _unreadable(f"cuobjdump finds no kernel in {path.name}")
    return found


def read_cubins(library: Path) -> list[bytes]:
    """The cubins in a shared library that nvcc built.

    Raises:
        PlatformError: cuobjdump is missing or cannot read the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        _run([_path_first(), "--extract-elf", "all", str(library.resolve())], Path(folder))
        return [cubin.read_bytes() for cubin in sorted(Path(folder).glob("*.cubin"))]


def with_occupancy(resources: KernelResources, threads_per_block: int) -> KernelResources:
    """The same resources with the occupancy that a block size gives (NVIDIA; static shared memory only)."""
    architecture = resources.target.partition(":")[2]
    if architecture not in cuda_limits() or resources.registers is None:
        return resources
    occupancy, limiter = cuda_occupancy(
        architecture, resources.registers, resources.shared_bytes or 0, threads_per_block
    )
    return resources.model_copy(
        update={
            "threads_per_block": threads_per_block,
            "occupancy": occupancy,
            "occupancy_limiter": limiter,
        }
    )


def readable_name(symbol: str) -> str:
    """The name of a C++ function at namespace level, without its argument types; other symbols as they are."""
    match = re.match(r"_Z(\d+)(\w+)", symbol)
    return match[2][: int(match[1])] if match else symbol


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _read_amdgcn(compiled: CompiledKernel, architecture: str, common: dict[str, Any]) -> KernelResources:
    """From the metadata that LLVM writes into the ISA text (AMDGPU usage guide, "Code Object V5 Metadata")."""
    text = compiled.asm["amdgcn"]

    def number(pattern: str) -> int:
        match = re.search(pattern + r"\s*(\d+)", text)
        if match is None:
            raise _unreadable(f"the ISA text of {compiled.kernel} has no {pattern}")
        return int(match[1])

    # `.vgpr_count` is the whole budget, accumulation registers included; `.agpr_count` is their part of it.
    registers, scalar_registers = number(r"\.vgpr_count:"), number(r"\.sgpr_count:")
    shared_bytes = max(number(r"\.group_segment_fixed_size:"), compiled.shared_bytes)
    occupancy, limiter = hip_occupancy(
        architecture, registers, shared_bytes, common["threads_per_block"], scalar_registers
    )
    return KernelResources(
        **common,
        registers=registers,
        scalar_registers=scalar_registers,
        spills=number(r"\.vgpr_spill_count:"),
        shared_bytes=shared_bytes,
        code_bytes=number(r"codeLenInByte ="),
        occupancy=occupancy,
        occupancy_limiter=limiter,
    )


def _cubin_usage(cubin: Path, tool: str) -> list[_CubinUsage]:
    sections = dict(_sections(cubin.read_bytes()))
    # Where this section exists, ptxas counts the driver's reserve as part of each kernel that has shared memory.
    reserved = RESERVED_SHARED_BYTES if ".nv.shared.reserved.0" in sections else 0
    usages = []
    for match in _FUNCTION.finditer(_run([tool, "--dump-resource-usage", str(cubin)], cubin.parent)):
        numbers = dict(re.findall(r"(\w+):(\d+)", match["usage"]))
        name = match["name"]
        try:
            shared = int(numbers["SHARED"])
            usage = _CubinUsage(
                name=name,
                registers=int(numbers["REG"]),
                local_bytes=int(numbers["STACK"]) + int(numbers["LOCAL"]),
                shared_bytes=shared - reserved if shared >= reserved else shared,
                code_bytes=sections[f".text.{name}"],
            )
        except KeyError as error:
            raise _unreadable(f"cuobjdump says nothing about {error} of {name}") from error
        usages.append(usage)
    return usages


def _sections(elf: bytes) -> Iterator[tuple[str, int]]:
    """Name and size of each section of a 64-bit little-endian ELF file."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise _unreadable("the artifact is not a 64-bit ELF file")
    start, entry_size, count, names_index = _ELF_HEADER.unpack_from(elf)
    headers = [_SECTION_HEADER.unpack_from(elf, start + index * entry_size) for index in range(count)]
    names_start = headers[names_index][4]
    for header in headers:
        begin = names_start + header[0]
        yield elf[begin : elf.index(b"\0", begin)].decode(), header[5]


def packaged_tool(name: str) -> str | None:
    """Path of a program of the CUDA toolkit that Triton's package carries, e.g. `cuobjdump`; None where it does not."""
    spec = find_spec("triton")
    if spec is None or spec.origin is None:
        return None
    tool = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / name
    return str(tool) if tool.exists() else None


def _packaged_first() -> str:
    """Triton's cuobjdump, which knows what Triton's assembler writes."""
    return packaged_tool("cuobjdump") or _path_first()


def _path_first() -> str:
    """The toolkit's cuobjdump, which knows what its nvcc writes; else Triton's."""
    tool = shutil.which("cuobjdump") or packaged_tool("cuobjdump")
    if tool is None:
        raise PlatformError(
            Finding.COMPILER_MISSING, "cuobjdump is not found.", "Install triton or the CUDA toolkit, which carry it."
        )
    return tool


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TOOL_LIMIT_S, check=False)
    if done.returncode:
        raise _unreadable(f"{Path(command[0]).name} {command[1]} failed: {done.stderr.strip()[:300]}")
    return done.stdout


def _unreadable(reason: str) -> PlatformError:
    return PlatformError(Finding.INTERNAL, f"The compiled kernel cannot be read: {reason}.")
