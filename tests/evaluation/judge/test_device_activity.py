"""The guards over device work, on records as the driver gives them."""

from __future__ import annotations

from typing import Any

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import device_activity as activity
from kernelevolve.evaluation.verdict import Diagnosis

SPIN = "at::cuda::(anonymous namespace)::spin_kernel(long)"
TORCH = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>(int)"
CUBLAS = "void cutlass::Kernel2<cutlass_80_simt_sgemm_128x64_8x5_nn_align1>(Params)"
MAIN, SIDE = 7, 13


def call(*work: tuple[str, int, float, float], end: float = 600.0) -> activity.Call:
    """A call whose markers lie at 0, 10 to 500 and `end` on the measured stream."""
    records: list[Any] = [[SPIN, MAIN, 0.0, 1.0], [SPIN, MAIN, 10.0, 500.0]]
    records += [list(piece) for piece in work]
    return activity.dissect([*records, [SPIN, MAIN, end, end + 1]])


def finding(diagnosis: Diagnosis | None) -> Finding | None:
    return diagnosis.finding if diagnosis is not None else None


def test_markers_are_no_work_of_the_call() -> None:
    one = call(("scale", MAIN, 510.0, 520.0), ("scale", SIDE, 515.0, 530.0))
    assert one.names == ["scale", "scale"]
    assert one.busy_ms == pytest.approx(0.020)


def test_spinning_candidate_is_told_from_the_markers() -> None:
    assert call((SPIN, MAIN, 510.0, 520.0)).names == [SPIN]


@pytest.mark.parametrize(
    "records",
    [None, [], "scale", [["scale", 7, 1.0, 2.0]], [[SPIN, 7, 0.0, 1.0]] * 2, [[SPIN, 7, 5.0, 1.0]] * 3, [[SPIN] * 4]],
)
def test_what_is_no_record_of_a_call_is_refused(records: object) -> None:
    with pytest.raises(CandidateError) as raised:
        activity.dissect(records)
    assert raised.value.finding is Finding.RESULT_FORGED


def test_call_without_a_kernel() -> None:
    real = call(("scale", MAIN, 510.0, 520.0))
    copied = call(("Memcpy DtoD (Device -> Device)", MAIN, 510.0, 520.0))
    assert activity.launches_nothing([real, real]) is None
    assert finding(activity.launches_nothing([real, call()])) is Finding.NO_DEVICE_WORK
    assert finding(activity.launches_nothing([copied])) is Finding.NO_DEVICE_WORK


def test_kernels_that_only_new_inputs_need() -> None:
    known, new = (
        call(("checksum", MAIN, 510.0, 511.0)),
        call(("checksum", MAIN, 510.0, 511.0), ("scale", MAIN, 512, 520)),
    )
    assert activity.kernels_change([known, known]) is None
    found = activity.kernels_change([known, known, new])
    assert finding(found) is Finding.KERNELS_CHANGE
    assert found is not None
    assert "call 3 alone scale" in found.summary


def test_work_of_another_stream_that_is_waited_for() -> None:
    assert activity.outlives_its_call([call(("scale", SIDE, 510.0, 590.0))]) is None


@pytest.mark.parametrize("span", [(510.0, 700.0), (20.0, 90.0)], ids=["late", "early"])
def test_work_of_another_stream_that_is_not_waited_for(span: tuple[float, float]) -> None:
    assert finding(activity.outlives_its_call([call(("scale", SIDE, *span))])) is Finding.CLOCK_DISAGREES


def test_busier_than_the_events_say() -> None:
    long = call(("scale", MAIN, 510.0, 1510.0), end=1600.0)
    assert activity.busier_than_claimed([long], 0.9) is None
    assert finding(activity.busier_than_claimed([long], 0.5)) is Finding.CLOCK_DISAGREES


CUDA_SOURCE = """
template <int N>
__global__ void __launch_bounds__(256, 2) scale(const float* x) {}
__global__ __launch_bounds__(N * (2)) void tail(float* y) {}
void kernel(TensorView x) {}
"""


def test_own_kernels_are_read_from_the_source() -> None:
    triton = (
        "@triton.autotune(configs=[], key=[])\n@triton.jit\ndef scale(x):\n    pass\n\n@jit(repr=f)\ndef tail(x):\n"
    )
    for language, source in (("triton", triton), ("cuda", CUDA_SOURCE)):
        assert activity.own_kernels(Candidate(language=language, source=source), ["extra"]) == {
            "scale",
            "tail",
            "extra",
        }


def test_names_with_arguments_and_templates_are_recognised() -> None:
    own = frozenset({"scale", "vectorized_elementwise_kernel"})
    assert activity.is_own("void scale<256>(float const*, float*, long)", own)
    assert activity.is_own("mine::scale(float*)", own)
    assert not activity.is_own(TORCH, own)


OWN = frozenset({"scale"})


@pytest.mark.parametrize("foreign", [TORCH, CUBLAS, "nvjet_tst_128x64_NNT", "triton_poi_fused_add_0"])
def test_call_of_none_but_others_kernels(foreign: str) -> None:
    calls = [call((foreign, MAIN, 510.0, 520.0))]
    assert finding(activity.borrows(calls, OWN, [])) is Finding.BORROWED_KERNELS


def test_kernel_of_its_own_beside_the_whole_reference() -> None:
    beside = call((TORCH, MAIN, 510.0, 550.0), ("scale", MAIN, 551.0, 552.0))
    assert finding(activity.borrows([beside], OWN, [TORCH])) is Finding.BORROWED_KERNELS
    assert activity.borrows([beside], OWN, [TORCH, CUBLAS]) is None, "a part of the reference is no offence"
    assert "98%" in activity.borrowing_note(beside, OWN)


def test_torch_may_prepare_for_a_kernel_of_the_candidate() -> None:
    mixed = call((TORCH, MAIN, 510.0, 515.0), ("scale", MAIN, 516.0, 560.0))
    assert activity.borrows([mixed], OWN, [TORCH]) is None
    assert activity.borrowing_note(mixed, OWN) == ""


def test_library_behind_a_kernel_of_native_code() -> None:
    cublas = "void gemv2T_kernel_val<int, int, float, 128>(cublasGemvParams<float>)"
    beside = call(("scale(float*)", MAIN, 510.0, 512.0), (cublas, MAIN, 513.0, 550.0))
    assert activity.borrows([beside], OWN, [TORCH]) is None
    found = activity.brings_little([beside], OWN)
    assert finding(found) is Finding.BORROWED_KERNELS
    assert found is not None
    assert "95%" in found.summary


def test_native_code_may_bring_the_templates_of_a_library_and_have_memory_filled() -> None:
    cub = "void cub::CUB_200500::DeviceReduceKernel<float>(float const*)"
    brought = frozenset({"scale", "DeviceReduceKernel"})
    mine = call(("scale(float*)", MAIN, 510.0, 512.0), (cub, MAIN, 513.0, 550.0), ("Memset", MAIN, 551.0, 590.0))
    assert activity.brings_little([mine], brought) is None
    prepared = call((TORCH, MAIN, 510.0, 512.0), ("scale(float*)", MAIN, 513.0, 550.0))
    assert activity.brings_little([prepared], OWN) is None
