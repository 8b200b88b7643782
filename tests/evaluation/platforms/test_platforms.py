from __future__ import annotations

import subprocess
import sys

import pytest

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.platform import Level, get_platform
from kernelevolve.evaluation.platforms import cuda, hip
from kernelevolve.evaluation.platforms.cpu import CpuPlatform
from kernelevolve.evaluation.platforms.hip import gfx_name, kfd_architectures
from kernelevolve.evaluation.platforms.nvml import NvmlDevice
from kernelevolve.evaluation.platforms.torch_build import torch_build

H200 = NvmlDevice(0, "NVIDIA H200", "GPU-aaaa", (9, 0), 150_000_000_000, "580.159")
A100 = NvmlDevice(1, "NVIDIA A100-SXM4-80GB", "GPU-bbbb", (8, 0), 85_000_000_000, "580.159")


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with a CUDA torch, nvcc and two GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(cuda, "nvml_devices", lambda: [H200, A100])
    monkeypatch.setattr(cuda, "torch_build", lambda: {"version": "2.13.0", "cuda": "13.0", "hip": None})
    monkeypatch.setattr(cuda.shutil, "which", lambda name: f"/usr/bin/{name}")


@pytest.fixture
def no_gpu(monkeypatch):
    def no_driver():
        raise PlatformError(Finding.DEVICE_MISSING, "There is no NVIDIA driver here.")

    monkeypatch.setattr(cuda, "nvml_devices", no_driver)
    monkeypatch.setattr(cuda, "torch_build", lambda: {"version": "2.13.0+cpu", "cuda": None, "hip": None})
    monkeypatch.setattr(cuda.shutil, "which", lambda name: None)


def test_a_gpu_executes_what_is_built_for_it(two_gpus):
    here = get_platform("cuda:sm_90").availability()

    assert here.levels["triton"] == (Level.EXECUTED,)
    assert here.levels["cuda"] == (Level.EXECUTED, Level.COMPILED)
    assert (here.device, here.missing) == ("NVIDIA H200", ())
    assert get_platform("cuda:sm_90").spec_sheet().chip == "NVIDIA H200 SXM"


def test_another_architecture_is_compiled_only(two_gpus):
    absent = get_platform("cuda:sm_100").availability()

    assert absent.levels == {"triton": (Level.INTERPRETED, Level.COMPILED), "cuda": (Level.COMPILED,)}
    assert absent.missing == ("No GPU of compute capability 10.0 is visible here.",)
    assert get_platform("cuda:sm_100").spec_sheet().chip == "NVIDIA B200"


def test_without_driver_torch_or_nvcc_each_is_named(no_gpu):
    availability = get_platform("cuda:sm_90").availability()

    assert availability.levels == {"triton": (Level.INTERPRETED, Level.COMPILED), "cuda": ()}
    assert [text.split(" ")[0] for text in availability.missing] == ["There", "The", "nvcc"]
    assert availability.device is None


@pytest.mark.parametrize(("visible", "count"), [("0", 1), ("1", 0), ("", 0), ("GPU-aaaa", 1), ("1,0", 1)])
def test_hidden_devices_do_not_count(two_gpus, monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert len(get_platform("cuda:sm_90").devices()) == count


def test_targets_of_the_compilers():
    assert get_platform("cuda:sm_90").nvcc_arch_flags() == ["-gencode", "arch=compute_90a,code=sm_90a"]
    assert get_platform("cuda:sm_89").nvcc_arch_flags() == ["-gencode", "arch=compute_89,code=sm_89"]
    assert get_platform("hip:gfx950").hipcc_arch_flags() == ["--offload-arch=gfx950"]
    target = get_platform("hip:gfx942").triton_target()
    assert (target.backend, target.arch, target.warp_size) == ("hip", "gfx942", 64)


def test_amd_gpus_are_read_from_the_kernel(tmp_path, monkeypatch):
    for node, version in enumerate((0, 90402, 90500)):
        (tmp_path / str(node)).mkdir()
        (tmp_path / str(node) / "properties").write_text(f"cpu_cores_count 0\ngfx_target_version {version}\n")

    assert kfd_architectures(tmp_path) == ["gfx942", "gfx950"]
    assert (gfx_name(90010), gfx_name(110501)) == ("gfx90a", "gfx1151")

    monkeypatch.setattr(hip, "kfd_architectures", lambda: ["gfx942"])
    monkeypatch.setattr(hip, "torch_build", lambda: {"version": "2.13.0", "cuda": None, "hip": "7.1"})
    assert get_platform("hip:gfx942").availability().levels["triton"] == (Level.EXECUTED,)
    assert get_platform("hip:gfx950").availability().levels["triton"] == (Level.INTERPRETED, Level.COMPILED)


def test_the_cpu_says_its_name_and_no_rates_it_did_not_measure():
    platform = CpuPlatform("")
    sheet = platform.spec_sheet()

    assert platform.name == "cpu"
    assert platform.availability().device == sheet.chip != ""
    assert (sheet.memory_bandwidth, sheet.peak_flops) == (None, {})
    assert platform.availability().levels["triton"] == (Level.INTERPRETED,)


def test_torchs_build_is_read_without_importing_it():
    import torch

    assert torch_build() == {"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip}


def test_looking_around_imports_neither_torch_nor_triton():
    program = (
        "import sys\n"
        "from kernelevolve.evaluation.platform import get_platform, known_platforms\n"
        "for name in known_platforms(): get_platform(name).availability(), get_platform(name).spec_sheet()\n"
        "from kernelevolve.evaluation.language import languages\n"
        "languages()\n"
        "print(sorted({'torch', 'triton', 'tvm_ffi'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "[]\n"
