from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.languages.triton_launches import CompiledKernel, compile_launch, record_launches
from kernelevolve.evaluation.platforms.artifacts import (
    read_cubin_resources,
    read_resources,
    readable_name,
    with_occupancy,
)
from kernelevolve.evaluation.platforms.occupancy import hip_waves_per_simd


@triton.jit
def square_sum(x, out, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    value = tl.load(x + index)
    tl.store(out + index, value * value + tl.sum(value, 0))


@triton.jit
def tile_product(a, b, out, K, SIZE: tl.constexpr):
    rows, columns, inner = tl.arange(0, SIZE), tl.arange(0, SIZE), tl.arange(0, 32)
    total = tl.zeros((SIZE, SIZE), dtype=tl.float32)
    for start in range(0, K, 32):
        left = tl.load(a + rows[:, None] * K + (start + inner)[None, :])
        right = tl.load(b + (start + inner)[:, None] * SIZE + columns[None, :])
        total = tl.dot(left, right, total)
    tl.store(out + rows[:, None] * SIZE + columns[None, :], total)


@pytest.fixture(scope="module", autouse=True)
def triton_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


@cache
def vector(target: str, block: int, num_warps: int = 4, **options: int) -> CompiledKernel:
    x = torch.empty(block, device="meta")
    [launch] = record_launches(lambda: square_sum[(1,)](x, x, block, num_warps=num_warps, **options), (), {})
    return compile_launch(launch, target)


@cache
def product(target: str, size: int, num_warps: int) -> CompiledKernel:
    x = torch.empty(size * size, dtype=torch.float16, device="meta")
    [launch] = record_launches(lambda: tile_product[(1,)](x, x, x, 512, size, num_warps=num_warps), (), {})
    return compile_launch(launch, target)


@pytest.mark.parametrize("target", ["cuda:sm_80", "cuda:sm_90", "cuda:sm_120"])
def test_nvidia_kernels(target):
    resources = read_resources(vector(target, 4096))

    assert (resources.kernel, resources.target, resources.threads_per_block) == ("square_sum", target, 128)
    assert 32 <= resources.registers <= 128
    assert resources.spills == 0
    assert resources.shared_bytes >= 16
    assert resources.code_bytes >= 1024
    assert resources.occupancy_limiter == "registers"
    assert resources.launch == {"num_warps": 4, "num_stages": 3, "BLOCK": 4096}


def test_spills_are_seen():
    # 128 values for each thread and at most 32 registers.
    resources = read_resources(vector("cuda:sm_90", 16384, 4, maxnreg=32))

    assert resources.registers <= 32
    assert resources.spills >= 90


def test_shared_memory_is_what_triton_will_ask_for():
    compiled = product("cuda:sm_90", 128, 4)

    resources = read_resources(compiled)

    assert resources.shared_bytes == compiled.metadata["shared"] >= 2 * 128 * 32 * 2
    assert resources.occupancy < 1


@pytest.mark.parametrize("target", ["hip:gfx942", "hip:gfx950"])
@pytest.mark.parametrize("compiled", [(vector, 1024), (vector, 32768), (product, 64), (product, 128)])
def test_amd_occupancy_agrees_with_llvm(target, compiled):
    make, size = compiled
    kernel = make(target, size, 4)
    resources = read_resources(kernel)

    # LLVM does not know the LDS that Triton asks for at launch, so it speaks of registers alone.
    llvm = int(re.search(r"; Occupancy: (\d+)", kernel.asm["amdgcn"])[1])
    assert hip_waves_per_simd(resources.registers, resources.scalar_registers) == llvm
    assert resources.registers == int(re.search(r"; TotalNumVgprs: (\d+)", kernel.asm["amdgcn"])[1])
    assert resources.threads_per_block == 256


def test_an_artifact_that_does_not_say_is_an_error():
    silent = replace(vector("hip:gfx942", 1024), asm={"amdgcn": "s_endpgm"})
    with pytest.raises(PlatformError, match="vgpr_count"):
        read_resources(silent)

    broken = replace(vector("cuda:sm_80", 4096), artifact=b"no ELF")
    with pytest.raises(PlatformError, match="64-bit ELF"):
        read_resources(broken)


CUDA = """
extern "C" __global__ void with_shared(float* x) {
  __shared__ float tile[256];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = tile[255 - threadIdx.x];
}
extern "C" __global__ void without(float* x) { x[threadIdx.x] = 1; }
__global__ void with_local(float* x, const int* where) {
  float values[64] = {};
  for (int i = 0; i < 64; ++i) values[where[i]] += x[i];
  for (int i = 0; i < 64; ++i) x[where[i]] = values[i] + values[where[63 - i]];
}
"""


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_cubins_of_nvcc(tmp_path: Path, architecture: str):
    (tmp_path / "kernels.cu").write_text(CUDA)
    command = ["nvcc", "-cubin", f"-arch={architecture}", "kernels.cu", "-o", "kernels.cubin"]
    subprocess.run(command, cwd=tmp_path, check=True)

    found = {entry.kernel: entry for entry in read_cubin_resources(tmp_path / "kernels.cubin")}

    assert set(found) == {"with_shared", "without", "with_local"}
    assert {entry.target for entry in found.values()} == {f"cuda:{architecture}"}
    # From sm_90 on, ptxas counts the driver's kilobyte as the kernel's; the author did not ask for it.
    assert found["with_shared"].shared_bytes == 1024
    assert found["without"].shared_bytes == 0
    assert found["with_local"].spills >= 64
    assert found["with_shared"].occupancy is None
    assert with_occupancy(found["with_shared"], 256).occupancy == 1.0


def test_symbols_are_readable():
    assert readable_name("_Z10add_kernelPKfS0_Pfl") == "add_kernel"
    assert readable_name("add_kernel") == "add_kernel"
    assert readable_name("_ZN3foo3barEv") == "_ZN3foo3barEv"
