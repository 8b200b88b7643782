from __future__ import annotations

import pytest
import torch

from kernelevolve.evaluation.errors import CandidateError, PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.languages.stand_in_device import stand_in_device
from kernelevolve.evaluation.languages.triton_launches import (
    TensorArgument,
    compile_all,
    compile_launch,
    record_launches,
)

ALL_TARGETS = (
    "cuda:sm_80", "cuda:sm_89", "cuda:sm_90", "cuda:sm_100", "cuda:sm_120", "hip:gfx942", "hip:gfx950",
)  # fmt: skip


def half(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float16, device="meta")


def test_equal_launches_are_listed_once_with_their_grid(launching):
    [launch] = record_launches(launching.add_twice, (half(64, 100), half(64, 100)), {})

    assert (launch.kernel, launch.grid, launch.calls) == ("add_kernel", (25,), 2)
    assert launch.constexprs == {"BLOCK": 256}
    assert launch.notes == ()


def test_arguments_are_specialised_as_triton_does(launching):
    [aligned] = record_launches(launching.add_twice, (half(64, 64), half(64, 64)), {})
    [shifted] = record_launches(launching.add_from_second_element, (half(64, 64), half(64, 64)), {})

    assert aligned.bind("cuda:sm_90").signature["x"] == "*fp16"
    assert aligned.bind("cuda:sm_90").attributes[(0,)] == [["tt.divisibility", 16]]
    assert ["tt.pointer_range", 32] in aligned.bind("hip:gfx942").attributes[(0,)]
    assert not shifted.bind("cuda:sm_90").attributes.get((0,))
    assert aligned.bind("cuda:sm_90").options["num_stages"] == 3
    assert aligned.bind("hip:gfx942").options["num_stages"] == 2


def test_first_config_of_an_autotuner_is_taken_and_said(launching):
    [launch] = record_launches(launching.matmul, (half(256, 128), half(128, 192)), {})

    assert launch.grid == (4, 3)
    assert launch.constexprs == {"M_BLOCK": 64, "N_BLOCK": 64, "K_BLOCK": 32, "EVEN_K": True}
    assert (launch.num_warps, launch.num_stages) == (4, 3)
    assert launch.notes == ("autotune: first of 2 configs",)


def test_all_configs_can_be_recorded(launching):
    launches = record_launches(launching.matmul, (half(256, 128), half(128, 192)), {}, all_configs=True)

    assert [launch.num_warps for launch in launches] == [4, 8]


def test_host_code_that_needs_values_runs_on_real_tensors(launching):
    x = torch.zeros(300)
    [launch] = record_launches(launching.by_length, (x, torch.tensor([3, 7])), {})
    [made_up] = record_launches(
        launching.by_length, (x.to("meta"), torch.empty(2, dtype=torch.int64, device="meta")), {}
    )

    assert launch.grid == (7,)
    assert "recorded with real CPU tensors" in launch.notes[0]
    assert made_up.grid == (1,)


def test_grid_may_depend_on_the_device_and_on_a_warmed_up_kernel(launching):
    [hopper] = record_launches(launching.sized_by_occupancy, (half(64, 64),), {}, "cuda:sm_90")
    [ampere] = record_launches(launching.sized_by_occupancy, (half(64, 64),), {}, "cuda:sm_80")

    assert (hopper.grid[0] % 132, ampere.grid[0] % 108) == (0, 0)
    assert hopper.num_warps == 8


@pytest.mark.parametrize("target", ALL_TARGETS)
def test_a_launch_compiles_for_every_target(launching, target):
    [launch] = record_launches(launching.add_twice, (half(64, 64), half(64, 64)), {})

    compiled = compile_launch(launch, target)

    assert compiled.artifact[:4] == b"\x7fELF"
    assert {"ttir", "ttgir", "llir", "ptx" if target.startswith("cuda") else "amdgcn"} == set(compiled.asm)
    assert compiled.metadata["target"].arch in (int(target[-2:]) if "sm_" in target else target[4:], 100, 120)


@pytest.mark.parametrize("target", ["cuda:sm_90", "hip:gfx942"])
def test_tensor_descriptors_compile(launching, target):
    launches = record_launches(launching.descriptors, (half(256, 64),), {})

    assert [compile_launch(launch, target).kernel for launch in launches] == ["copy_described", "double_described"]


def test_there_is_nothing_to_compile_on_a_cpu(launching):
    [launch] = record_launches(launching.add_twice, (half(64, 64), half(64, 64)), {})

    with pytest.raises(PlatformError, match="does not compile for cpu"):
        compile_launch(launch, "cpu")


def test_compiler_errors_name_the_line_of_the_file(failing):
    [launch] = record_launches(failing.odd_block, (torch.zeros(64),), {})

    with pytest.raises(CandidateError) as caught:
        compile_launch(launch, "cuda:sm_90")

    assert caught.value.finding is Finding.COMPILER_ERROR
    assert caught.value.log.startswith("line 20 of failing.py: index = tl.arange(0, BLOCK)")
    assert "power of 2" in caught.value.log


def test_an_error_inside_a_called_function_shows_that_line(failing):
    [launch] = record_launches(failing.with_helper, (torch.zeros(64),), {})

    with pytest.raises(CandidateError) as caught:
        compile_launch(launch, "hip:gfx950")

    assert "return x.nothing_of_that_name" in caught.value.log


def test_assembler_errors_are_short(failing):
    [launch] = record_launches(failing.assembly, (torch.zeros(128),), {})

    with pytest.raises(CandidateError) as caught:
        compile_launch(launch, "cuda:sm_80")

    assert "bogus" in caught.value.log
    assert len(caught.value.log) < 500
    assert "/tmp" not in caught.value.log


def test_assembly_that_llvm_drops_is_refused_every_time(failing):
    # In children, because Triton 3.6 and 3.7 end the process here.
    for _ in range(2):
        [outcome] = compile_all(failing.assembly, (torch.zeros(128),), {}, ["hip:gfx942"])["hip:gfx942"]
        assert isinstance(outcome, CandidateError)
        assert outcome.finding is Finding.COMPILER_ERROR


def test_an_option_of_another_vendor_is_refused_for_this_one(failing):
    [launch] = record_launches(failing.amd_option, (torch.zeros(64),), {})

    with pytest.raises(CandidateError, match="some exist for one vendor only") as caught:
        launch.bind("cuda:sm_90")

    assert "waves_per_eu" in caught.value.log
    assert launch.bind("hip:gfx942").options["waves_per_eu"] == 2


def test_a_launch_without_all_arguments_is_the_candidates_error(failing):
    with pytest.raises(CandidateError, match="any_block missing 1 required positional argument: 'BLOCK'") as caught:
        record_launches(failing.missing_argument, (torch.zeros(64),), {})

    assert caught.value.finding is Finding.EXCEPTION


def test_host_code_that_fails_either_way_cannot_be_checked_here(failing):
    with pytest.raises(CandidateError) as caught:
        record_launches(failing.host_error, (torch.zeros(64),), {})

    assert caught.value.finding is Finding.NOT_CHECKABLE
    assert "failing.py" in caught.value.log
    assert "triton_launches" not in caught.value.log


def test_compile_all_leaves_the_candidates_own_state_alone(launching):
    module = launching.KeepsBuffer()

    compiled = compile_all(module, (torch.zeros(64),), {}, ["cuda:sm_90", "hip:gfx942"])

    assert module.buffer is None
    assert [kernel.kernel for kernels in compiled.values() for kernel in kernels] == ["add_kernel", "add_kernel"]


def test_what_was_compiled_ahead_is_what_a_real_launch_looks_for(launching):
    # `JITFunction.run` itself, with a stand-in driver in place of a GPU, must ask for the same cache entry.
    [launch] = record_launches(launching.add_twice, (half(64, 64), half(64, 64)), {})
    ahead = compile_launch(launch, "cuda:sm_90")

    with stand_in_device("sm_90", "meta"):
        x = TensorArgument(half(64, 64))
        kernel = launching.add_kernel.run(x, x, x, 4096, 2.0, BLOCK=256, grid=(1,), warmup=True)

    assert kernel.hash == ahead.metadata["hash"]
