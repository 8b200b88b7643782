import subprocess
import sys

import pytest
import torch

pytest.importorskip("expecttest")

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import Layout, TaskForm
from kernelevolve.evaluation.tasks.loading import describe_task, load_task


def refused(reference):
    with pytest.raises(TaskError) as caught:
        load_task(reference)
    return caught.value


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("aten::softmax", "aten::softmax"),
        ("aten::softmax.with_dtype", "aten::softmax.with_dtype"),
        ("aten::add", "aten::add"),
        ("aten::nn.functional.gelu", "aten::nn.functional.gelu"),
        ("aten::layer_norm", "aten::nn.functional.layer_norm"),  # by its ATen name
        ("aten::arccos", "aten::acos"),  # by an alias
        ("aten::maximum", "aten::maximum"),  # an operator of its own, and an alias of another
        ("aten::div", "aten::div.no_rounding_mode"),  # has only variants
    ],
)
def test_operators_are_found_by_name_aten_name_and_alias(reference, name):
    assert describe_task(reference).name == name


def test_the_description_of_an_operator():
    task = describe_task("aten::softmax")
    assert task.form is TaskForm.OPINFO
    assert task.source == ""
    assert task.layouts == (Layout.CONTIGUOUS,)
    assert task.special_values == ()
    assert task.cases[0].name == "sample0"
    assert task.cases[0].parameters == {"index": 0, "arguments": "float32[5], 0"}
    assert [case.hidden for case in task.cases] == [place % 3 == 2 for place in range(len(task.cases))]


@pytest.mark.parametrize("reference", ["aten::softmax", "aten::add", "aten::nn.functional.gelu", "aten::bitwise_and"])
def test_inputs_follow_the_seed_and_the_operator_runs_on_them(reference):
    program = load_task(reference)
    operator = program.build_reference("float32", "cpu", 0)
    for case in program.task.cases:
        first, again, other = (program.make_inputs(case, "float32", "cpu", seed) for seed in (1, 1, 2))
        pairs = zip(first.tensors(), again.tensors(), strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
        assert any(not torch.equal(a, b) for a, b in zip(first.tensors(), other.tensors(), strict=True))
        operator(*first.args, **first.kwargs)


def test_keyword_arguments_and_other_arguments_are_kept():
    program = load_task("aten::nn.functional.gelu")
    assert program.make_inputs(program.task.cases[1], "float32", "cpu", 0).kwargs == {"approximate": "tanh"}
    program = load_task("aten::softmax")
    assert program.make_inputs(program.task.cases[2], "float32", "cpu", 0).args[1] == 1


def test_floating_samples_are_cast_and_moved():
    program = load_task("aten::softmax")
    inputs = program.make_inputs(program.task.cases[0], "bfloat16", "meta", 0)
    assert inputs.args[0].dtype is torch.bfloat16
    assert inputs.args[0].device.type == "meta"


def test_many_samples_are_cut_to_twelve_with_the_largest_among_them():
    program = load_task("aten::linalg.norm")
    assert len(program.task.cases) == 12
    assert "float32[5, 5, 5]" in " ".join(case.parameters["arguments"] for case in program.task.cases)


def test_empty_samples_are_left_out():
    program = load_task("aten::add")
    for case in program.task.cases:
        assert any(tensor.numel() for tensor in program.make_inputs(case, "float32", "cpu", 0).tensors())


def test_choices_that_torch_makes_at_random_are_not_stated_in_the_case():
    # `UPLO` is drawn anew for each seed; a case that stated it would be wrong for most seeds.
    program = load_task("aten::linalg.eigh")
    for seed in range(8):
        program.make_inputs(program.task.cases[0], "float32", "cpu", seed)


def test_a_sample_above_the_limit_is_not_checkable():
    program = load_task("aten::nn.functional.gelu")
    with pytest.raises(TaskError) as caught:
        program.make_inputs(program.task.cases[0], "float32", "cpu", 0, limit_numel=50)
    assert caught.value.finding is Finding.NOT_CHECKABLE
    assert not program.make_inputs(program.task.cases[0], "float32", "cpu", 0, limit_numel=100).shrunk


def test_an_operator_whose_samples_never_change_is_refused():
    assert refused("aten::arange").finding is Finding.TASK_WITHOUT_INPUTS
    assert refused("aten::linalg.norm.subgradients_at_zero").finding is Finding.TASK_WITHOUT_INPUTS


@pytest.mark.parametrize(
    ("reference", "closest"),
    [
        ("aten::sofmax", "aten::softmax"),
        ("aten::cross_entropy", "aten::nn.functional.cross_entropy"),
        ("aten::softmax.no_such_variant", "aten::softmax"),
    ],
)
def test_an_unknown_operator_names_three_close_ones(reference, closest):
    error = refused(reference)
    assert error.finding is Finding.TASK_UNREADABLE
    assert closest in error.advice
    assert error.advice.count("aten::") == 3


def test_the_empty_name_is_refused():
    assert refused("aten::").finding is Finding.TASK_UNREADABLE


def test_loading_does_not_freeze_the_flags_of_torch():
    load_task("aten::add")
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before
    assert not torch.backends.flags_frozen()


def test_a_missing_expecttest_says_what_to_install():
    code = """
import sys
sys.modules["expecttest"] = None
from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.tasks.loading import load_task
try:
    load_task("aten::add")
except TaskError as error:
    print(error.finding.value, error.advice)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == 'task_unreadable Run: pip install "kernelevolve[opinfo]"'


def test_samples_with_sparse_tensors_are_left_out():
    assert refused("aten::sparse.sampled_addmm").finding is Finding.TASK_WITHOUT_INPUTS
