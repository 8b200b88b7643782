import pytest
import torch

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import Layout
from kernelevolve.evaluation.tasks.loading import load_task
from kernelevolve.evaluation.tasks.program import raise_precision, seeded


def test_there_is_one_case_in_one_layout(write_task, module_text):
    task = load_task(write_task(module_text)).task
    assert [(case.name, case.parameters) for case in task.cases] == [("default", {})]
    assert task.layouts == (Layout.CONTIGUOUS,)


def test_inputs_follow_the_seed(write_task, module_text):
    program = load_task(write_task(module_text))
    case = program.task.cases[0]
    first, again, other = (program.make_inputs(case, "float32", "cpu", seed).args[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_same_seed_gives_the_same_weights(write_task, module_text):
    program = load_task(write_task(module_text))
    first, again, other = (program.state(program.build_reference("float32", "cpu", seed)) for seed in (1, 1, 2))
    assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in zip(first, again, strict=True))
    assert not torch.equal(first[0][1], other[0][1])


def test_another_process_that_seeds_alike_gets_the_same_weights(write_task, module_text):
    program = load_task(write_task(module_text))
    reference = program.build_reference("float32", "cpu", 3)
    with seeded(3):
        twin = type(reference)(*program.init_inputs())
    assert torch.equal(reference.linear.weight, twin.linear.weight)


def test_building_leaves_the_generator_as_it_was(write_task, module_text):
    program = load_task(write_task(module_text))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    program.build_reference("float32", "cpu", 1)
    assert torch.equal(torch.rand(3), expected)


def test_floating_state_is_cast_and_integers_are_not(write_task, module_text):
    reference = load_task(write_task(module_text)).build_reference("bfloat16", "cpu", 1)
    assert reference.linear.weight.dtype is torch.bfloat16
    assert reference.hidden.dtype is torch.bfloat16  # a plain attribute, not a buffer
    assert reference.steps.dtype is torch.int64


def test_complex_state_keeps_its_imaginary_part(write_task, module_text):
    path = write_task(
        module_text,
        """
        class Model(Model):
            def __init__(self, features):
                super().__init__(features)
                self.register_buffer("phase", torch.tensor([1j]))
        """,
    )
    reference = load_task(path).build_reference("float16", "cpu", 1)
    assert reference.phase.tolist() == [1j]


def test_state_is_moved_to_the_device(write_task, module_text):
    program = load_task(write_task(module_text))
    reference = program.build_reference("float32", "meta", 1)
    assert {tensor.device.type for _, tensor in program.state(reference)} == {"meta"}
    assert reference.hidden.device.type == "meta"


def test_state_lists_parameters_and_then_buffers(write_task, module_text):
    program = load_task(write_task(module_text))
    state = program.state(program.build_reference("float32", "cpu", 1))
    assert [name for name, _ in state] == ["linear.weight", "linear.bias", "steps"]
    assert not any(tensor.requires_grad for _, tensor in state)


def test_train_mode_stays_as_constructed(write_task, module_text):
    assert load_task(write_task(module_text)).build_reference("float32", "cpu", 1).training
    text = module_text.replace("self.hidden =", "self.eval(); self.hidden =")
    assert not load_task(write_task(text)).build_reference("float32", "cpu", 1).training


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_oracle_has_the_same_weights_in_fp64(write_task, module_text, dtype):
    program = load_task(write_task(module_text))
    reference = program.build_reference(dtype, "cpu", 1)
    oracle = raise_precision(reference)

    assert oracle.linear.weight.dtype is torch.float64
    assert torch.equal(oracle.linear.weight.to(reference.linear.weight.dtype), reference.linear.weight)
    assert torch.equal(oracle.linear.weight, reference.linear.weight.double())
    assert torch.equal(oracle.hidden, reference.hidden.double())
    assert reference.linear.weight.dtype is getattr(torch, dtype)
    inputs = program.make_inputs(program.task.cases[0], dtype, "cpu", 1).map_tensors(torch.Tensor.double)
    assert oracle(*inputs.args).dtype is torch.float64


def test_the_oracle_of_a_function_is_the_function(write_task):
    reference = load_task(write_task()).build_reference("float32", "cpu", 0)
    assert raise_precision(reference) is reference


def test_init_inputs_may_be_missing(write_task):
    path = write_task(
        "import torch\nclass Model(torch.nn.Module):\n    def forward(self, x): return x\n"
        "def get_inputs(): return [torch.rand(2)]\n"
    )
    program = load_task(path)
    assert program.init_inputs() == ()
    assert program.state(program.build_reference("float32", "cpu", 0)) == []


def test_init_inputs_may_hold_plain_values_and_tensors(write_task, module_text):
    path = write_task(module_text, "def get_init_inputs(): return (8, [1, (2,)], {'a': None}, 'x', torch.rand(2))")
    first, again = load_task(path).init_inputs(), load_task(path).init_inputs()
    assert first[:4] == (8, [1, (2,)], {"a": None}, "x")
    assert torch.equal(first[4], again[4])


@pytest.mark.parametrize("returned", ["[object()]", "8", "None", "[[torch.nn.ReLU()]]", "[{1: 2}]", "1 / 0"])
def test_init_inputs_that_cannot_be_sent_fail_the_task(write_task, module_text, returned):
    program = load_task(write_task(module_text, f"def get_init_inputs(): return {returned}"))
    with pytest.raises(TaskError) as caught:
        program.init_inputs()
    assert caught.value.finding is Finding.TASK_FAILS


def test_a_model_that_cannot_be_built_fails_the_task(write_task, module_text):
    program = load_task(write_task(module_text, "def get_init_inputs(): return [1, 2, 3]"))
    with pytest.raises(TaskError) as caught:
        program.build_reference("float32", "cpu", 0)
    assert caught.value.finding is Finding.TASK_FAILS
    assert "TypeError" in caught.value.summary


@pytest.mark.parametrize("returned", ["[]", "None", "[3]"])
def test_a_problem_without_tensors_is_refused(write_task, module_text, returned):
    program = load_task(write_task(module_text, f"def get_inputs(): return {returned}"))
    with pytest.raises(TaskError) as caught:
        program.make_inputs(program.task.cases[0], "float32", "cpu", 0)
    assert caught.value.finding is Finding.TASK_WITHOUT_INPUTS


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("class Model: ...", "Model is"),
        ("Model = torch.nn.ReLU()", "Model is ReLU()"),
        ("get_inputs = 3", "get_inputs is 3"),
        ("get_init_inputs = []", "get_init_inputs is []"),
    ],
)
def test_wrong_types_are_refused_by_name(write_task, module_text, extra, said):
    path = write_task(module_text, extra)
    with pytest.raises(TaskError) as caught:
        load_task(path)
    assert caught.value.finding is Finding.TASK_UNREADABLE
    assert said in caught.value.summary
