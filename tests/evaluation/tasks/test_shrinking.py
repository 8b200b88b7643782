import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.tasks.loading import load_task
from kernelevolve.evaluation.tasks.shrinking import ShrunkFactories, resizes

LIMIT = 4096


def shapes_of(path, limit=LIMIT, seed=1):
    """Shapes of the shrunk inputs, after the reference ran on them."""
    program = load_task(path)
    inputs = program.make_inputs(program.task.cases[0], "float32", "cpu", seed, limit_numel=limit)
    program.build_reference("float32", "cpu", 0)(*inputs.args, **inputs.kwargs)
    assert inputs.shrunk
    assert all(tensor.numel() <= limit for tensor in inputs.tensors())
    return [tuple(tensor.shape) for tensor in inputs.tensors()]


def function_task(write_task, inputs, body):
    return write_task(
        f"import torch\nCASES = {{'a': {{}}}}\n"
        f"def make_inputs(case):\n    return {inputs}\n"
        f"def reference(*args):\n    x, y, z = (*args, None, None)[:3]\n    return {body}\n"
    )


def test_small_inputs_stay_as_they_are(write_task):
    program = load_task(write_task())
    case = program.task.cases[0]
    limited = program.make_inputs(case, "float32", "cpu", 1, limit_numel=LIMIT)
    assert not limited.shrunk
    free = program.make_inputs(case, "float32", "cpu", 1)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(limited.tensors(), free.tensors(), strict=True))


def test_without_a_limit_nothing_is_shrunk(write_task):
    program = load_task(write_task())
    inputs = program.make_inputs(program.task.cases[1], "float32", "cpu", 1)
    assert inputs.args[0].shape == (300, 500)
    assert not inputs.shrunk


def test_rows_go_first(write_task):
    assert shapes_of(function_task(write_task, "torch.rand(5000, 100), torch.rand(100)", "x * y")) == [
        (40, 100),
        (100,),
    ]


def test_a_small_weight_of_the_same_length_as_the_batch_is_left_alone(write_task):
    path = function_task(write_task, "torch.rand(1000, 1000), torch.rand(1000)", "x * y")
    assert shapes_of(path) == [(4, 1000), (1000,)]


def test_targets_follow_their_batch(write_task):
    path = function_task(
        write_task,
        "torch.rand(2000, 100), torch.randint(0, 100, (2000,))",
        "torch.nn.functional.cross_entropy(x, y)",
    )
    (rows, _), targets = shapes_of(path)
    assert targets == (rows,)
    assert rows >= 32


def test_matrix_products_shrink_all_their_sizes(write_task):
    (m, k), (k2, n) = shapes_of(function_task(write_task, "torch.rand(512, 300), torch.rand(300, 512)", "x @ y"))
    assert k == k2
    assert min(m, n, k) >= 32
    assert k % 16 == 300 % 16, "a size that is no multiple of 16 stays none"


def test_images_keep_their_channels(write_task):
    path = function_task(
        write_task,
        "torch.rand(8, 16, 256, 256), torch.rand(4, 16, 3, 3)",
        "torch.nn.functional.conv2d(x, y)",
    )
    image, _ = shapes_of(path)
    assert image[:2] == (2, 16)
    assert image[2] == image[3] >= 8


def test_a_module_keeps_what_its_weights_need(write_task, module_text):
    text = module_text.replace("torch.rand(40, 8)", "torch.rand(64, 1024, 48)").replace("return [8]", "return [48]")
    (batch, length, features) = shapes_of(write_task(text))[0]
    assert (batch, features) == (2, 48)
    assert length >= 32


@pytest.mark.parametrize(
    "call",
    [
        "torch.rand(9000)",
        "torch.rand((9000,))",
        "torch.rand(size=(9000,))",
        "torch.randn([9000])",
        "torch.ones(9000)",
        "torch.zeros(9000, dtype=torch.float64)",
        "torch.empty(9000)",
        "torch.full((9000,), 3.0)",
        "torch.full(size=(9000,), fill_value=3.0)",
        "torch.randint(7, (9000,))",
        "torch.randint(0, 7, (9000,))",
        "torch.randint(0, 7, size=(9000,))",
        "torch.rand(9000) * 2 + torch.randn(9000)",
    ],
)
def test_every_factory_with_explicit_sizes_is_shrunk(write_task, call):
    assert shapes_of(function_task(write_task, f"({call},)", "x + 1")) == [(LIMIT,)]


def test_values_given_to_a_factory_stay(write_task):
    program = load_task(function_task(write_task, "(torch.full((9000,), 3.0), torch.randint(5, 6, (9000,)))", "x + y"))
    three, five = program.make_inputs(program.task.cases[0], "float32", "cpu", 1, limit_numel=LIMIT).args
    assert three.unique().tolist() == [3.0]
    assert five.unique().tolist() == [5]


def test_sizeless_and_scalar_calls_still_work():
    with ShrunkFactories(lambda shape: shape):
        assert torch.rand(()).shape == ()
        assert torch.ones(0, 3).shape == (0, 3)
        assert torch.arange(5).shape == (5,)


@pytest.mark.parametrize("call", ["torch.arange(9000.0)", "torch.linspace(0, 1, 9000)", "torch.rand(1).expand(9000)"])
def test_big_tensors_from_elsewhere_cannot_be_shrunk(write_task, call):
    program = load_task(function_task(write_task, f"({call},)", "x + 1"))
    with pytest.raises(TaskError) as caught:
        program.make_inputs(program.task.cases[0], "float32", "cpu", 1, limit_numel=LIMIT)
    assert caught.value.finding is Finding.NOT_CHECKABLE


def test_indices_that_no_longer_fit_their_table_are_not_checkable(write_task):
    path = function_task(write_task, "torch.rand(50000, 64), torch.randint(0, 50000, (200,))", "x[y]")
    program = load_task(path)
    with pytest.raises(TaskError) as caught:
        program.make_inputs(program.task.cases[0], "float32", "cpu", 1, limit_numel=LIMIT)
    assert caught.value.finding is Finding.NOT_CHECKABLE


def test_a_row_that_alone_is_too_big_is_cut_across(write_task):
    assert shapes_of(function_task(write_task, "torch.rand(4, 50000)", "x.softmax(-1)")) == [(4, 1024)]


def test_a_module_with_fixed_sizes_that_are_too_big_is_not_checkable(write_task, module_text):
    text = module_text.replace("torch.rand(40, 8)", "torch.rand(4, 5000)").replace("return [8]", "return [5000]")
    program = load_task(write_task(text))
    with pytest.raises(TaskError) as caught:
        program.make_inputs(program.task.cases[0], "float32", "cpu", 1, limit_numel=LIMIT)
    assert caught.value.finding is Finding.NOT_CHECKABLE


def test_shrunk_inputs_follow_the_seed(write_task):
    program = load_task(function_task(write_task, "torch.rand(9000)", "x + 1"))
    first, again, other = (
        program.make_inputs(program.task.cases[0], "float32", "cpu", seed, limit_numel=LIMIT).args[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_factory_that_looks_at_values_is_run_for_real(write_task):
    path = function_task(write_task, "(lambda x: (x, float(x.max())))(torch.rand(500, 100))", "x / y")
    assert shapes_of(path) == [(40, 100)]


def test_a_small_factory_that_looks_at_values_is_not_shrunk(write_task):
    program = load_task(function_task(write_task, "(lambda x: (x, float(x.max())))(torch.rand(5, 100))", "x / y"))
    inputs = program.make_inputs(program.task.cases[0], "float32", "cpu", 1, limit_numel=LIMIT)
    assert not inputs.shrunk
    assert inputs.args[0].shape == (5, 100)


def test_a_factory_that_only_fails_when_cut_is_not_checkable(write_task):
    path = function_task(
        write_task, "(torch.rand(500, 500).float().max().item() * torch.rand(500, 500)) @ torch.rand(500, 2)", "x"
    )
    program = load_task(path)
    with pytest.raises(TaskError) as caught:
        program.make_inputs(program.task.cases[0], "float32", "cpu", 1, limit_numel=8)
    assert caught.value.finding is Finding.NOT_CHECKABLE


def test_a_factory_that_fails_anyway_fails_the_task(write_task):
    program = load_task(function_task(write_task, "1 / 0", "x"))
    with pytest.raises(TaskError) as caught:
        program.make_inputs(program.task.cases[0], "float32", "cpu", 1, limit_numel=LIMIT)
    assert caught.value.finding is Finding.TASK_FAILS


_SHAPES = st.lists(st.lists(st.integers(0, 600) | st.integers(1, 5), max_size=4).map(tuple), min_size=1, max_size=3)


@given(_SHAPES, st.integers(1, 5000))
@settings(max_examples=300, deadline=None)
def test_every_way_to_shrink_fits_and_never_grows(shapes, limit):
    ways = list(resizes(shapes, limit))
    for resize in ways:
        for shape in shapes:
            small = resize(shape)
            assert math.prod(small) <= limit
            assert len(small) == len(shape)
            assert all(min(1, before) <= after <= before for before, after in zip(shape, small, strict=True))
    if all(math.prod(shape) <= limit for shape in shapes):
        assert not ways
