"""The task self-test: wrong answers are refused, tolerances that let them pass are tightened, weak tasks say why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kernelevolve.evaluation.judge.oracle import compare
from kernelevolve.evaluation.judge.self_test import TaskCheck, run_self_test, wrong_answers
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.tasks.loading import load_task

KERNELBENCH_SOFTMAX = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)

def get_inputs():
    return [torch.rand(8, 393216)]

def get_init_inputs():
    return []
"""
EVERY_WRONG_ANSWER = {
    "zeros", "constant", "input copy", "unwritten tile", "transposed", "lower precision", "other inputs",
}  # fmt: skip

MakeState = Callable[..., TaskState]


@pytest.fixture
def make_state(tmp_path: Path) -> MakeState:
    """A task in function form around the body of a reference, or a whole task file."""

    def make(body: str = "", inputs: str = "torch.randn(96, 160)", extra: str = "", text: str = "") -> TaskState:
        path = tmp_path / "task.py"
        path.write_text(
            text
            or f"import torch\nimport torch.nn.functional as F\nCASES = {{'a': {{}}}}\n{extra}\n"
            f"def make_inputs(case):\n    return ({inputs},)\n"
            f"def reference(x):\n    return {body}\n"
        )
        return TaskState(load_task(str(path)), "cpu", b"s" * 32, cache_bytes=1 << 28)

    return make


def accepts_zeros(state: TaskState) -> bool:
    """Whether the judge, with the tolerances now in force, takes zeros for right."""
    _inputs, expected = state.inputs_and_expected(state.task.cases[0], state.task.dtypes[0], "later")
    return compare(expected, [torch.zeros_like(x) for x in expected.outputs], state.task.tolerances, {}) is None


def test_a_softmax_of_tiny_probabilities_refuses_every_wrong_answer(make_state: MakeState) -> None:
    """KernelBench's 23_Softmax, whose own check accepts zeros: the outputs are about 2.5e-6."""
    check = run_self_test(make_state(text=KERNELBENCH_SOFTMAX))

    assert set(check.refused) == EVERY_WRONG_ANSWER
    assert (check.accepted, check.skipped, check.tightened, check.notes) == ((), (), (), ())
    assert not check.weak


def test_so_does_one_in_fp16_where_they_are_subnormal(make_state: MakeState) -> None:
    text = KERNELBENCH_SOFTMAX.replace("rand(8,", "rand(2,")

    check = run_self_test(make_state(text=f"DTYPES = ('float16',)\n{text}"))

    assert set(check.refused) == EVERY_WRONG_ANSWER - {"lower precision"}
    assert check.skipped == ("lower precision",)  # so few bits are left that bf16 holds them all
    assert not check.weak


@pytest.mark.parametrize(
    ("body", "skipped"),
    [
        ("torch.relu(x)", set()),
        ("F.gelu(x)", set()),
        ("x @ x[:70].T", {"input copy"}),
        ("F.layer_norm(x, (160,))", set()),
        ("x.sum(-1)", {"input copy", "transposed"}),
        ("x.mean()", {"constant", "input copy", "transposed"}),
        ("x.argmax(-1)", {"input copy", "transposed", "lower precision"}),
        ("x > 0.5", {"input copy", "lower precision"}),
        ("x.round()", {"lower precision"}),
        ("(x.sum(0), x.max(-1).values)", {"input copy", "transposed"}),
    ],
)
def test_ordinary_operators_are_strong_tasks(make_state: MakeState, body: str, skipped: set[str]) -> None:
    check = run_self_test(make_state(body))

    assert not check.weak, check.notes
    assert set(check.skipped) == skipped
    assert set(check.refused) == EVERY_WRONG_ANSWER - skipped


def test_a_constant_output_makes_a_weak_task_and_says_why(make_state: MakeState) -> None:
    check = run_self_test(make_state("torch.ones_like(x)"))

    assert check.weak
    assert set(check.accepted) == {"constant", "transposed", "other inputs"}
    assert {"zeros", "input copy", "unwritten tile"} <= set(check.refused)
    assert any("constant" in note and "the output is the same number everywhere" in note for note in check.notes)
    assert any("other inputs" in note and "does not depend on the input values" in note for note in check.notes)


def test_all_zeros_make_a_weak_task(make_state: MakeState) -> None:
    """As in KernelBench's problems whose last step clamps everything to zero."""
    check = run_self_test(make_state("(x - 100).clamp(min=0)"))

    assert "zeros" in check.accepted
    assert any("the reference gives all zeros" in note for note in check.notes)


def test_a_random_reference_makes_a_weak_task_and_blames_its_error(make_state: MakeState) -> None:
    check = run_self_test(make_state("F.dropout(x, 0.5, training=True)"))

    assert "zeros" in check.accepted
    assert any("the reference's own error" in note for note in check.notes)
    assert not any("gives all zeros" in note for note in check.notes)


@pytest.mark.parametrize("bounds", ["{'atol': 1e-2}", "{'atol': 1e-2, 'rtol': 1e-2}", "{'ulps': 1e9, 'rms_ulps': 1e9}"])
def test_a_tolerance_that_accepts_zeros_is_tightened(make_state: MakeState, bounds: str) -> None:
    state = make_state("torch.softmax(x, -1)", "torch.rand(64, 2000)", f"TOLERANCES = {{'float32': {bounds}}}")
    assert accepts_zeros(state)

    check = run_self_test(state)

    assert "zeros" in check.tightened
    assert not check.weak
    assert any("tightened" in note and "zeros" in note for note in check.notes)
    assert not accepts_zeros(state)


def test_zeros_that_pass_nan_on_do_not_count_as_refused(make_state: MakeState) -> None:
    """`x * 0` gives NaN where the trial with special values wants it, and zeros everywhere else."""
    state = make_state("x * 1e-3", "torch.rand(64, 64)", "TOLERANCES = {'float32': {'atol': 1e-2}}")

    check = run_self_test(state)

    assert "zeros" in check.tightened
    assert not accepts_zeros(state)


def test_a_wide_tolerance_that_does_no_harm_is_left_alone(make_state: MakeState) -> None:
    state = make_state("x * 1000", extra="TOLERANCES = {'float32': {'atol': 1e-4, 'rtol': 1e-6}}")

    check = run_self_test(state)

    assert check.tightened == ()
    assert state.task.tolerances["float32"].atol == 1e-4


def test_an_input_copy_is_refused_by_the_special_values_alone(make_state: MakeState) -> None:
    """KernelBench's inputs are positive, so its relu returns them unchanged."""
    assert "input copy" in run_self_test(make_state("torch.relu(x)", "torch.rand(64, 64)")).refused

    without = make_state("torch.relu(x)", "torch.rand(64, 64)", "SPECIAL_VALUES = ()")
    assert "input copy" in run_self_test(without).accepted


def test_a_reference_that_fails_on_special_values_is_still_tested(make_state: MakeState) -> None:
    check = run_self_test(make_state("(x / 0 if not x.isfinite().all() and 1 / 0 else x * 2)"))

    assert set(check.refused) == EVERY_WRONG_ANSWER


def test_eight_bit_outputs_are_tested(make_state: MakeState) -> None:
    check = run_self_test(make_state("x.to(torch.float8_e4m3fn)"))

    assert {"zeros", "constant", "unwritten tile", "transposed", "other inputs"} <= set(check.refused)


def test_the_wrong_answers_are_wrong(make_state: MakeState) -> None:
    state = make_state("torch.exp(x)", "torch.randn(100, 70)")
    inputs, expected = state.inputs_and_expected(state.task.cases[0], "float32", 0)
    _inputs, other = state.inputs_and_expected(state.task.cases[0], "float32", 1)
    right = expected.outputs[0]

    makers = wrong_answers(inputs, expected.outputs, lambda: other.outputs)
    answers = {name: make() for name, make in makers.items()}

    assert set(answers) == EVERY_WRONG_ANSWER
    for name, outputs in answers.items():
        assert outputs is not None
        assert outputs[0].shape == right.shape, name
        assert outputs[0].dtype == right.dtype, name
        assert not torch.equal(outputs[0], right), name
    unwritten = answers["unwritten tile"]
    assert unwritten is not None
    assert int((unwritten[0] != right).sum()) == 64
    assert torch.equal(right, torch.exp(inputs.tensors()[0]))  # none of them changed the right answer


def test_the_result_survives_json(make_state: MakeState) -> None:
    check = run_self_test(make_state("torch.ones_like(x)"))

    assert TaskCheck.model_validate_json(check.model_dump_json()) == check
