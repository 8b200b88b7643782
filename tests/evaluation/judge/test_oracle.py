"""The oracle: honest kernels are accepted whatever their algorithm, wrong ones refused however small the error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.judge import oracle
from kernelevolve.evaluation.judge.oracle import Expected, compare, expect
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES, Tolerance
from kernelevolve.evaluation.tasks.program import Inputs
from kernelevolve.evaluation.verdict import Diagnosis

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test fails because the machine is busy."""

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
Function = Callable[..., Any]
INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(20)


def expected_of(reference: Function, *inputs: torch.Tensor) -> Expected:
    """What `expect` says for a reference without parameters, which is its own oracle."""
    return expect(reference, reference, Inputs(inputs))


def verdict(
    reference: Function, candidate: Function, *inputs: torch.Tensor, tolerances: dict[str, Tolerance] | None = None
) -> Diagnosis | None:
    """Judge a candidate function against a reference function on the same inputs."""
    got = candidate(*inputs)
    got = list(got) if isinstance(got, tuple) else [got]
    return compare(expected_of(reference, *inputs), got, tolerances or dict(DEFAULT_TOLERANCES), {"case": "a"})


def altered(tensor: torch.Tensor, index: tuple[int, ...], value: float) -> torch.Tensor:
    copy = tensor.clone()
    copy[index] = value
    return copy


def softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, -1)


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b


def layer_norm(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=eps)


def low_mantissa(tensor: torch.Tensor, bits: int) -> torch.Tensor:
    """fp32 rounded to a mantissa of so many bits, as a matrix unit takes it (TF32 has 10)."""
    step = 1 << (23 - bits)
    return ((tensor.view(torch.int32) + step // 2) & -step).view(torch.float32)


# -- honest: accepted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, torch.complex64, torch.int32, torch.bool, torch.float8_e4m3fn])
def test_the_reference_itself_is_accepted(dtype: torch.dtype) -> None:
    x = torch.randn(37, 11).to(dtype) if dtype not in (torch.int32, torch.bool) else torch.randint(0, 2, (9,)).to(dtype)

    assert verdict(lambda x: x.clone(), lambda x: x.clone(), x) is None


@settings(PATIENT, max_examples=150)
@given(
    values=st.lists(st.floats(width=32) | st.floats(-1e-38, 1e-38) | st.floats(1e30, 1e38), min_size=1, max_size=20),
    relative=st.floats(0, 0.1),
    absolute=st.floats(0, 1e10),
    dtype=st.sampled_from(FLOATS),
)
def test_a_reference_of_any_accuracy_accepts_itself_and_the_rounded_oracle(
    values: list[float], relative: float, absolute: float, dtype: torch.dtype
) -> None:
    truth = torch.tensor(values, dtype=torch.float64)
    signs = torch.tensor([(-1.0) ** index for index in range(len(values))], dtype=torch.float64)
    low = (truth * (1 + relative * signs) + absolute * signs).to(dtype)
    expected = Expected((low,), (truth,), (oracle._scale(low, truth),))

    assert compare(expected, [low.clone()], dict(DEFAULT_TOLERANCES), {}) is None
    assert compare(expected, [truth.to(dtype)], dict(DEFAULT_TOLERANCES), {}) is None


def test_sum_of_100000_in_the_order_of_a_gpu() -> None:
    def threads_then_tree(x: torch.Tensor) -> torch.Tensor:
        partial = torch.zeros(x.shape[0], 256)
        for start in range(0, x.shape[1], 256):  # each of 256 threads adds its elements one by one
            piece = x[:, start : start + 256]
            partial[:, : piece.shape[1]] += piece
        while partial.shape[1] > 1:
            half = partial.shape[1] // 2
            partial = partial[:, :half] + partial[:, half:]
        return partial[:, 0]

    x = torch.rand(4, 100_000)

    assert verdict(lambda x: x.sum(-1), threads_then_tree, x) is None
    assert verdict(lambda x: x.sum(-1), threads_then_tree, x - 0.5) is None


def sum_one_by_one(x: torch.Tensor) -> torch.Tensor:
    """Sum of each row in one fp32 number, as the simplest loop has it (torch's own cumsum adds in fp64)."""
    return torch.from_numpy(np.cumsum(x.numpy(), axis=-1, dtype=np.float32)[:, -1:])


@pytest.mark.parametrize("cols", [1000, 16_384, 100_000, 393_216])
def test_rows_that_are_added_up_one_by_one(cols: int) -> None:
    def softmax_in_a_loop(x: torch.Tensor) -> torch.Tensor:
        # Not torch.exp: twice in some hundred runs of all tests a part of what it gave here seemed to be off by 1e-4,
        # which the oracle rightly refused.
        exponentials = torch.from_numpy(np.exp((x - x.amax(-1, keepdim=True)).numpy()))
        return exponentials / sum_one_by_one(exponentials)

    x = torch.rand(8, cols)

    assert verdict(softmax, softmax_in_a_loop, x) is None
    assert verdict(lambda x: x.sum(-1, keepdim=True), sum_one_by_one, x) is None


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-4), (torch.float16, 0.05), (torch.bfloat16, 0.2)])
def test_long_rows_are_no_excuse_for_a_wrong_element(dtype: torch.dtype, error: float) -> None:
    x = torch.rand(2, 393_216).to(dtype) + 1

    assert verdict(torch.sqrt, lambda x: altered(torch.sqrt(x), (1, 7), float(x[1, 7]) ** 0.5 * (1 + error)), x)


@pytest.mark.parametrize("cols", [1000, 100_000, 393_216])
def test_long_rows_are_no_excuse_for_fp16(cols: int) -> None:
    def scaled_to_fp16(x: torch.Tensor) -> torch.Tensor:
        return (softmax(x) * cols).half().float() / cols

    assert verdict(softmax, scaled_to_fp16, torch.rand(8, cols)) is not None


def no_oracle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.float() @ b.float()


def added_one_by_one(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(a.shape[0], b.shape[1])
    for step in range(a.shape[1]):
        total += a[:, step, None] * b[None, step]
    return total


@pytest.mark.parametrize("depth", [16, 512, 4096])
def test_without_an_oracle_another_order_is_accepted_and_another_precision_is_not(depth: int) -> None:
    a, b = torch.randn(64, depth), torch.randn(depth, 64)

    assert "no oracle" in expected_of(no_oracle, a, b).note
    assert verdict(no_oracle, added_one_by_one, a, b) is None
    assert verdict(no_oracle, lambda a, b: low_mantissa(a, 10) @ low_mantissa(b, 10), a, b) is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        (softmax, lambda x: torch.softmax(x.float(), -1).to(x.dtype)),
        (layer_norm, lambda x: layer_norm(x.float()).to(x.dtype)),
        (lambda x: x @ x.T, lambda x: (x.float() @ x.T.float()).to(x.dtype)),
        (F.gelu, lambda x: (0.5 * x.float() * (1 + torch.erf(x.float() / math.sqrt(2)))).to(x.dtype)),
        (F.silu, lambda x: (x.float() * torch.sigmoid(x.float())).to(x.dtype)),
        (lambda x: x.sum(-1), lambda x: x.float().sum(-1).to(x.dtype)),
        (lambda x: (x * 3 + x).tanh() * x, lambda x: ((x.float() * 3 + x.float()).tanh() * x.float()).to(x.dtype)),
    ],
    ids=["softmax", "layer_norm", "matmul", "gelu", "silu", "sum", "chain"],
)
def test_16_bit_kernels_that_compute_in_fp32(dtype: torch.dtype, reference: Function, candidate: Function) -> None:
    assert verdict(reference, candidate, torch.randn(64, 512).to(dtype)) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_flash_attention_with_16_bit_probabilities(dtype: torch.dtype) -> None:
    """Matrix units take 16 bits, so the probabilities are rounded; the reference rounds its result only."""

    def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if q.dtype == torch.float64:
            return torch.softmax(q @ k.T / 8, -1) @ v
        return (torch.softmax(q.float() @ k.T.float() / 8, -1) @ v.float()).to(q.dtype)

    def candidate(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = q.float() @ k.T.float() / 8
        weights = torch.exp(scores - scores.amax(-1, keepdim=True))
        total = weights.sum(-1, keepdim=True)
        return ((weights.to(dtype).float() @ v.float()) / total).to(dtype)

    q, k, v = (torch.randn(512, 64).to(dtype) for _ in range(3))

    assert verdict(reference, candidate, q, k, v) is None


def test_sigmoid_through_exp2_with_2_ulp_of_error() -> None:
    def candidate(x: torch.Tensor) -> torch.Tensor:
        exact = 1 / (1 + torch.exp2(x * -1.4426950408889634))
        wobble = torch.randint(-2, 3, x.shape)
        return exact * (1 + wobble * torch.finfo(torch.float32).eps)

    assert verdict(torch.sigmoid, candidate, torch.randn(1000, 100) * 4) is None


def test_variance_in_one_pass_of_welford() -> None:
    def welford(x: torch.Tensor) -> torch.Tensor:
        mean, square = torch.zeros(x.shape[0]), torch.zeros(x.shape[0])
        for count in range(x.shape[1]):
            delta = x[:, count] - mean
            mean = mean + delta / (count + 1)
            square = square + delta * (x[:, count] - mean)
        return square / (x.shape[1] - 1)

    assert verdict(lambda x: x.var(-1), welford, torch.randn(32, 2000)) is None


def test_convolution_as_a_matrix_product() -> None:
    x, weight = torch.randn(2, 16, 20, 20), torch.randn(24, 16, 3, 3)

    def unfolded(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (weight.flatten(1) @ F.unfold(x, 3)).reshape(2, 24, 18, 18)

    assert verdict(F.conv2d, unfolded, x, weight) is None


def test_winograd_like_transform_of_a_product() -> None:
    """Strassen's seven products: more rounding than the reference's eight, and honest."""

    def strassen(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        n = a.shape[0] // 2
        a11, a12, a21, a22 = a[:n, :n], a[:n, n:], a[n:, :n], a[n:, n:]
        b11, b12, b21, b22 = b[:n, :n], b[:n, n:], b[n:, :n], b[n:, n:]
        m1, m2, m3 = (a11 + a22) @ (b11 + b22), (a21 + a22) @ b11, a11 @ (b12 - b22)
        m4, m5, m6 = a22 @ (b21 - b11), (a11 + a12) @ b22, (a21 - a11) @ (b11 + b12)
        m7 = (a12 - a22) @ (b21 + b22)
        return torch.cat([torch.cat([m1 + m4 - m5 + m7, m3 + m5], 1), torch.cat([m2 + m4, m1 - m2 + m3 + m6], 1)], 0)

    assert verdict(matmul, strassen, torch.randn(256, 256), torch.randn(256, 256)) is None


def test_fft_in_another_order() -> None:
    """Decimation in time by hand, one level, for a complex result."""

    def candidate(x: torch.Tensor) -> torch.Tensor:
        even, odd = torch.fft.fft(x[..., ::2]), torch.fft.fft(x[..., 1::2])
        turn = torch.exp(-2j * math.pi * torch.arange(x.shape[-1] // 2) / x.shape[-1]) * odd
        return torch.cat([even + turn, even - turn], -1)

    x = torch.randn(8, 4096) + 100  # one bin towers over the others

    assert verdict(torch.fft.fft, candidate, x) is None


def test_subnormal_results_may_be_flushed_to_zero() -> None:
    def flushed(x: torch.Tensor) -> torch.Tensor:
        result = x / 4
        return torch.where(result.abs() < torch.finfo(torch.float32).tiny, 0.0, result)

    assert verdict(lambda x: x / 4, flushed, torch.tensor([2e-38, -1.5e-38, 1.0])) is None


def test_a_better_answer_where_the_reference_overflows() -> None:
    """fp16: the reference's intermediate is infinite, the true value is not; both are right."""
    x = torch.full((8,), 300.0, dtype=torch.float16)

    assert torch.isinf(x * x / 300).all()
    assert verdict(lambda x: x * x / 300, lambda x: x.clone(), x) is None
    assert verdict(lambda x: x * x / 300, lambda x: torch.full_like(x, INF), x) is None


# -- wrong: refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [softmax, layer_norm, F.gelu, torch.sigmoid, lambda x: x @ x.T, torch.exp])
@pytest.mark.parametrize("dtype", FLOATS)
def test_one_precision_lower_is_refused(reference: Function, dtype: torch.dtype) -> None:
    lower = {
        torch.float64: torch.float32,
        torch.float32: torch.float16,
        torch.float16: torch.bfloat16,
        torch.bfloat16: torch.float8_e4m3fn,
    }[dtype]

    assert verdict(reference, lambda x: reference(x).to(lower).to(dtype), torch.randn(64, 256).to(dtype)) is not None


@pytest.mark.parametrize("bits", [10, 7])
@pytest.mark.parametrize("depth", [16, 512, 4096])
def test_matrix_units_that_round_fp32_inputs_are_refused(bits: int, depth: int) -> None:
    def candidate(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return low_mantissa(a, bits) @ low_mantissa(b, bits)

    assert verdict(matmul, candidate, torch.randn(64, depth), torch.randn(depth, 64)) is not None


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("cols", [1000, 40_000])
def test_zeros_and_constants_are_refused_however_small_the_values(dtype: torch.dtype, cols: int) -> None:
    """A softmax of 40,000 columns gives 2.5e-5: less than fp16's smallest normal number."""
    x = torch.rand(4, cols).to(dtype)

    assert verdict(softmax, torch.zeros_like, x) is not None
    assert verdict(softmax, lambda x: torch.full_like(x, 1 / cols), x) is not None


def test_one_wrong_element_in_a_million_is_found_and_named() -> None:
    x = torch.randn(1000, 1000)

    diagnosis = verdict(F.relu, lambda x: altered(F.relu(x), (617, 3), 0.5), x)

    assert diagnosis is not None
    assert (diagnosis.first_index, diagnosis.mismatched, diagnosis.elements) == ((617, 3), 1, 1_000_000)
    assert diagnosis.got == 0.5
    assert diagnosis.expected == pytest.approx(max(0.0, float(x[617, 3])))
    assert diagnosis.where == {"case": "a"}


def test_a_missing_tail_tile_is_refused() -> None:
    x = torch.randn(100, 1003)

    diagnosis = verdict(softmax, lambda x: torch.cat([softmax(x)[:, :992], torch.zeros(100, 11)], 1), x)

    assert diagnosis is not None
    assert diagnosis.first_index == (0, 992)
    assert diagnosis.mismatched == 1100


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_layer_norm_without_its_epsilon_is_refused(scale: float) -> None:
    assert verdict(layer_norm, lambda x: layer_norm(x, eps=0.0), torch.randn(64, 4096) * scale) is not None


def test_the_wrong_divisor_of_a_variance_is_refused() -> None:
    x = torch.randn(64, 4096)

    assert verdict(lambda x: x.var(-1), lambda x: x.var(-1, unbiased=False), x) is not None


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "wrong", [5.0, 0.0, -INF, NAN, 65504.0], ids=["number", "zero", "other sign", "nan", "largest fp16"]
)
def test_where_the_oracle_is_infinite_nothing_else_will_do(dtype: torch.dtype, wrong: float) -> None:
    x = torch.randn(64).to(dtype)
    x[3] = INF

    diagnosis = verdict(lambda x: x * 2, lambda x: altered(x * 2, (3,), wrong), x)

    assert diagnosis is not None
    assert diagnosis.first_index == (3,)
    assert "NaN and infinities" in diagnosis.advice


@pytest.mark.parametrize("wrong", [5.0, 0.0, INF])
def test_where_the_oracle_is_nan_nothing_else_will_do(wrong: float) -> None:
    x = altered(torch.randn(64), (9,), NAN)

    assert verdict(lambda x: x * 2, lambda x: altered(x * 2, (9,), wrong), x) is not None


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_nan_or_infinity_of_its_own_is_refused(value: float) -> None:
    diagnosis = verdict(torch.sigmoid, lambda x: altered(torch.sigmoid(x), (2, 5), value), torch.randn(8, 8))

    assert diagnosis is not None
    assert diagnosis.first_index == (2, 5)
    assert diagnosis.mismatched == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_of_an_outlier_does_not_hide_errors_elsewhere(dtype: torch.dtype) -> None:
    x = altered(torch.randn(100, 100), (0, 0), 1e4).to(dtype)

    diagnosis = verdict(lambda x: x * 1.37, lambda x: altered(x * 1.37, (50, 50), 7.5), x)

    assert diagnosis is not None
    assert diagnosis.first_index == (50, 50)


def test_an_inaccurate_reference_does_not_excuse_gross_errors() -> None:
    """Cancellation makes the reference 1e-3 off; zeros are off by a thousand times as much."""

    def reference(x: torch.Tensor) -> torch.Tensor:
        return (x + 10_000) - 10_000

    x = torch.randn(1000)

    assert verdict(reference, reference, x) is None
    assert verdict(reference, lambda x: x.clone(), x) is None
    assert verdict(reference, torch.zeros_like, x) is not None


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_8_bit_results_may_be_one_step_off_and_no_more(dtype: torch.dtype) -> None:
    x = torch.randn(4096)

    def quantise(x: torch.Tensor) -> torch.Tensor:
        return x.to(dtype)

    def steps_off(steps: int) -> Function:
        def candidate(x: torch.Tensor) -> torch.Tensor:
            bits = quantise(x).view(torch.uint8).clone()
            bits[17] += steps
            return bits.view(dtype)

        return candidate

    assert verdict(quantise, steps_off(1), x) is None
    assert verdict(quantise, steps_off(3), x) is not None
    assert verdict(quantise, lambda x: altered(quantise(x).float(), (17,), 0.0).to(dtype), x) is not None


def test_complex_results_are_held_to_the_precision_of_their_parts() -> None:
    x = torch.randn(64, 256)

    assert verdict(torch.fft.fft, lambda x: torch.fft.fft(x.double()).to(torch.complex64), x) is None
    assert verdict(torch.fft.fft, lambda x: torch.fft.fft(x) * (1 + 5e-5), x) is not None
    assert verdict(torch.fft.fft, lambda x: torch.fft.fft(x).conj().resolve_conj(), x) is not None
    assert verdict(torch.fft.fft, lambda x: torch.fft.fft(x).conj().conj(), x) is None


def test_integers_and_booleans_must_be_equal() -> None:
    x = torch.randint(0, 1000, (50, 50))

    assert verdict(lambda x: x.argsort(-1), lambda x: x.argsort(-1), x) is None
    diagnosis = verdict(lambda x: x + 1, lambda x: altered(x + 1, (49, 1), 7), x)
    assert diagnosis is not None
    assert (diagnosis.first_index, diagnosis.got, diagnosis.mismatched) == ((49, 1), 7, 1)
    assert verdict(lambda x: x > 5, lambda x: x >= 5, x) is not None


# -- shapes, chunks, several outputs, tolerances -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.complex64])
def test_scalars_and_empty_outputs(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(shape, dtype=dtype)

    assert verdict(lambda x: x + 1, lambda x: x + 1, x) is None
    if x.numel():
        diagnosis = verdict(lambda x: x + 1, lambda x: x + 2, x)
        assert diagnosis is not None
        assert diagnosis.mismatched == 1
        assert diagnosis.first_index is not None
        assert diagnosis.first_index[: len(shape)] == (0,) * len(shape)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize("place", [0, 6, 7, 499, 999])
def test_chunks_do_not_change_the_diagnosis(monkeypatch: pytest.MonkeyPatch, chunk: int, place: int) -> None:
    monkeypatch.setattr(oracle, "_CHUNK", chunk)
    x = torch.randn(10, 100)
    index = (place // 100, place % 100)

    assert verdict(F.gelu, F.gelu, x) is None
    diagnosis = verdict(F.gelu, lambda x: altered(altered(F.gelu(x), (9, 99), 9.0), index, 5.0), x)

    assert diagnosis is not None
    assert diagnosis.first_index == index
    assert diagnosis.mismatched == (1 if place == 999 else 2)


def test_a_small_error_everywhere_is_summed_over_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "_CHUNK", 10)
    x = torch.rand(100) + 1

    diagnosis = verdict(lambda x: x * 3, lambda x: x * 3 * (1 + 6e-6), x)

    assert diagnosis is not None
    assert diagnosis.mismatched is None
    assert "precision" in diagnosis.advice


def test_the_second_of_two_outputs_is_named() -> None:
    x = torch.randn(6, 6)

    diagnosis = verdict(lambda x: (x + 1, x.max(-1).values), lambda x: (x + 1, altered(x.max(-1).values, (4,), 0.0)), x)

    assert diagnosis is not None
    assert diagnosis.where == {"case": "a", "output": 1}
    assert diagnosis.first_index == (4,)


def test_strided_outputs_of_the_reference_are_compared_by_index() -> None:
    x = torch.randn(5, 7)

    assert verdict(lambda x: x.T, lambda x: x.T.contiguous(), x) is None
    diagnosis = verdict(lambda x: x.T, lambda x: altered(x.T.contiguous(), (6, 1), 50.0), x)
    assert diagnosis is not None
    assert diagnosis.first_index == (6, 1)


@pytest.mark.parametrize(
    ("rtol", "atol", "factor", "offset", "accepted"),
    [
        (0.0, 0.0, 1 + 1e-3, 0.0, False),
        (2e-3, 0.0, 1 + 1e-3, 0.0, True),
        (2e-3, 0.0, 1 + 3e-3, 0.0, False),
        (0.0, 1e-2, 1.0, 5e-3, True),
        (0.0, 1e-2, 1.0, 2e-2, False),
    ],
)
def test_a_task_may_ask_for_rtol_and_atol(
    rtol: float, atol: float, factor: float, offset: float, accepted: bool
) -> None:
    asked = {"float32": DEFAULT_TOLERANCES["float32"].model_copy(update={"rtol": rtol, "atol": atol})}
    x = torch.rand(100) + 1

    diagnosis = verdict(lambda x: x * 3, lambda x: x * 3 * factor + offset, x, tolerances=asked)

    assert (diagnosis is None) is accepted


def test_a_task_that_narrows_the_bounds_still_accepts_its_reference() -> None:
    narrow = {"float32": Tolerance(max_factor=2, rms_factor=2, ulps=1, rms_ulps=1)}

    for reference in (softmax, lambda x: x.cumsum(-1), lambda x: x @ x.T, lambda x: (x + 1000) - 1000):
        assert verdict(reference, reference, torch.randn(32, 600), tolerances=narrow) is None


def test_the_diagnosis_measures_the_error() -> None:
    x = torch.full((4,), 3.0)

    diagnosis = verdict(lambda x: x, lambda x: altered(x, (2,), 4.0), x)

    assert diagnosis is not None
    assert diagnosis.max_error == 1.0
    assert diagnosis.max_error_ulps == 1.0 / (torch.finfo(torch.float32).eps * 2)
    assert diagnosis.error_ratio is None  # the reference is exact
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis


def test_a_diagnosis_with_nan_survives_json() -> None:
    diagnosis = verdict(torch.exp, lambda x: torch.full_like(x, NAN), torch.randn(3))

    assert diagnosis is not None
    again = Diagnosis.model_validate_json(diagnosis.model_dump_json())
    assert isinstance(again.got, float)
    assert math.isnan(again.got)


# -- the oracle itself -------------------------------------------------------------------------------------------------


def test_the_oracle_is_the_reference_in_fp64() -> None:
    x = torch.rand(100, dtype=torch.float16)

    expected = expected_of(torch.exp, x)

    assert expected.oracle[0].dtype == torch.float64
    assert torch.equal(expected.oracle[0], torch.exp(x.double()))
    assert 0 < expected.scales[0].largest_error < 2e-3
    assert expected.scales[0].count == 100
    assert expected.note == ""


def test_inputs_are_not_changed_by_a_reference_that_works_in_place() -> None:
    x = torch.ones(5)

    expected = expected_of(lambda x: x.mul_(2), x)

    assert torch.equal(x, torch.ones(5))
    assert torch.equal(expected.outputs[0], torch.full((5,), 2.0))


def test_a_reference_without_a_float64_form_is_said_to_have_no_oracle() -> None:
    def reference(x: torch.Tensor) -> torch.Tensor:
        return x @ torch.eye(3, dtype=torch.float32)

    expected = expected_of(reference, torch.rand(3, 3))

    assert expected.oracle[0] is expected.outputs[0]
    assert "no oracle" in expected.note


def test_a_reference_that_fails_is_the_task_s_fault() -> None:
    def reference(x: torch.Tensor) -> torch.Tensor:
        raise IndexError("no such row")

    with pytest.raises(TaskError, match="no such row"):
        expected_of(reference, torch.rand(3))


@pytest.mark.parametrize("value", [None, "text", []])
def test_a_reference_that_returns_no_tensor_is_the_task_s_fault(value: Any) -> None:
    with pytest.raises(TaskError):
        expected_of(lambda x: value, torch.rand(3))


def test_python_numbers_count_as_outputs() -> None:
    assert verdict(lambda x: float(x.sum()), lambda x: torch.tensor(float(x.sum())), torch.rand(3)) is None


def test_non_finite_elements_do_not_spoil_the_scale() -> None:
    x = torch.tensor([1.0, INF, NAN, 3.0])

    scale = expected_of(lambda x: x * 2, x).scales[0]

    assert (scale.largest_error, scale.excess, scale.count) == (0.0, 0.0, 2)
    assert scale.rms == pytest.approx(math.sqrt(20))
