"""Turn a cubin into text with nvdisasm, with the source line of every instruction."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.platforms.artifacts import packaged_tool

_LIMIT_S = 60


def disassemble(cubin: bytes) -> str:
    """The code of every function in a cubin, as nvdisasm prints it.

    Source lines come with the chain of inlining (`--print-line-info-inline`, which is `--print-line-info` and more): an
    instruction of `tl.sum` names the line in Triton's library and then the line of the kernel that called it.

    Raises:
        PlatformError: nvdisasm is missing, cannot read the cubin, or takes longer than 60 s.
    """
    tool = _find()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [tool, "--print-code", "--print-line-info-inline", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise _unreadable(f"nvdisasm was stopped after {_LIMIT_S} s") from error
    if done.returncode:
        reason = done.stderr.strip().replace(str(path), path.name)[:300]
        raise _unreadable(f"nvdisasm failed: {reason}")
    return done.stdout


def _find() -> str:
    """Triton's nvdisasm, which knows what Triton's assembler writes; else the toolkit's."""
    tool = packaged_tool("nvdisasm") or shutil.which("nvdisasm")
    if tool is None:
        raise PlatformError(
            Finding.COMPILER_MISSING, "nvdisasm is not found.", "Install triton or the CUDA toolkit, which carry it."
        )
    return tool


def _unreadable(reason: str) -> PlatformError:
    return PlatformError(
        Finding.INTERNAL,
        f"The compiled kernel cannot be disassembled: {reason}.",
        "A kernel built by a newer toolkit needs that toolkit's nvdisasm; check that the versions match.",
    )
