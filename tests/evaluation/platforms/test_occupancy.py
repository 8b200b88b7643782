from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kernelevolve.evaluation.platforms.occupancy import (
    cuda_limits,
    cuda_occupancy,
    hip_occupancy,
    hip_waves_per_simd,
)

REFERENCE = Path(__file__).parent / "cuda_occupancy_reference.cpp"


def cuda_headers() -> Path | None:
    roots = [os.environ.get("CUDA_HOME", "/usr/local/cuda"), *(["/opt/cuda"])]
    return next((Path(root, "include") for root in roots if Path(root, "include", "cuda_occupancy.h").exists()), None)


@pytest.mark.parametrize(
    ("architecture", "registers", "shared_bytes", "threads", "expected"),
    [
        ("sm_90", 26, 1024, 128, (1.0, "warps")),
        ("sm_90", 255, 0, 128, (0.125, "registers")),
        ("sm_90", 32, 100 * 1024, 128, (0.125, "shared memory")),
        ("sm_90", 32, 227 * 1024, 128, (0.0625, "shared memory")),
        ("sm_90", 32, 228 * 1024, 128, (0.0, "shared memory")),
        ("sm_90", 32, 0, 32, (0.5, "blocks")),
        ("sm_90", 128, 0, 1024, (0.0, "registers")),
        ("sm_89", 32, 0, 1024, (2 / 3, "warps")),
    ],
)
def test_known_values(architecture, registers, shared_bytes, threads, expected):
    assert cuda_occupancy(architecture, registers, shared_bytes, threads) == pytest.approx(expected)


@pytest.mark.skipif(cuda_headers() is None, reason="cuda_occupancy.h is not here: it comes with the CUDA toolkit")
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
def test_agrees_with_cudas_own_calculator(tmp_path):
    program = tmp_path / "reference"
    subprocess.run(["g++", "-w", f"-I{cuda_headers()}", str(REFERENCE), "-o", str(program)], check=True)
    registers, shared, blocks = (
        (16, 33, 64, 97, 128, 168, 255),
        (0, 1, 1024, 8000, 49152, 98304, 232448),
        (32, 96, 256, 1024),
    )
    cases = list(itertools.product(cuda_limits(), registers, shared, blocks))
    lines = []
    for architecture, register_count, shared_bytes, block in cases:
        limits = cuda_limits()[architecture]
        major, minor = divmod(int(architecture[3:]), 10)
        lines.append(
            f"{major} {minor} {limits.warps * 32} {limits.shared_bytes} {register_count} {shared_bytes} {block}"
        )
    done = subprocess.run([str(program)], input="\n".join(lines), capture_output=True, text=True, check=True)

    theirs = [int(line) for line in done.stdout.split()]
    ours = [
        round(cuda_occupancy(architecture, register_count, shared_bytes, block)[0] * cuda_limits()[architecture].warps)
        // (block // 32)
        for architecture, register_count, shared_bytes, block in cases
    ]
    assert ours == theirs


@pytest.mark.parametrize(
    ("registers", "scalar_registers", "waves"),
    [(0, 0, 8), (64, 0, 8), (65, 0, 7), (128, 0, 4), (129, 0, 3), (256, 0, 2), (512, 0, 1), (24, 102, 7)],
)
def test_waves_by_registers(registers, scalar_registers, waves):
    assert hip_waves_per_simd(registers, scalar_registers) == waves


@pytest.mark.parametrize(
    ("architecture", "registers", "lds", "threads", "expected"),
    [
        ("gfx942", 64, 0, 256, (1.0, "warps")),
        ("gfx942", 128, 0, 256, (0.5, "registers")),
        ("gfx942", 64, 65536, 256, (0.125, "shared memory")),
        ("gfx950", 64, 65536, 256, (0.25, "shared memory")),
        ("gfx942", 64, 65537, 256, (0.0, "shared memory")),
        ("gfx942", 512, 0, 512, (0.0, "registers")),
    ],
)
def test_known_values_of_cdna(architecture, registers, lds, threads, expected):
    assert hip_occupancy(architecture, registers, lds, threads) == pytest.approx(expected)


def test_unknown_architectures_are_not_guessed():
    with pytest.raises(KeyError):
        cuda_occupancy("sm_70", 32, 0, 128)
