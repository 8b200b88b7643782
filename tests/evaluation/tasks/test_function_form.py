from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES, Layout, SpecialValue
from kernelevolve.evaluation.tasks.function_form import read_cases
from kernelevolve.evaluation.tasks.loading import load_task


def case_of(program, name):
    return next(case for case in program.task.cases if case.name == name)


def failure(action, finding):
    with pytest.raises(TaskError) as caught:
        action()
    assert caught.value.finding is finding
    return caught.value


def test_cases_keep_parameters_weights_and_hiding(write_task):
    small, big = load_task(write_task()).task.cases
    assert (small.name, small.parameters, small.weight, small.hidden) == ("small", {"rows": 4, "cols": 6}, 1.0, False)
    assert (big.name, big.parameters, big.weight, big.hidden) == ("big", {"rows": 300, "cols": 500}, 2.0, True)


def test_defaults(write_task):
    task = load_task(write_task()).task
    assert task.layouts == tuple(Layout)
    assert task.special_values == tuple(SpecialValue)
    assert task.dtypes == ("float32",)
    assert task.tolerances == DEFAULT_TOLERANCES
    assert (task.backward, task.has_flops, task.has_bytes, task.starting_points) == (False, False, False, ())


def test_inputs_have_the_shapes_and_values_asked_for(write_task):
    program = load_task(write_task())
    inputs = program.make_inputs(case_of(program, "small"), "float32", "cpu", seed=1)
    x, index, factor = inputs.args
    assert (x.shape, x.dtype) == ((4, 6), torch.float32)
    assert (index.shape, index.dtype) == ((4,), torch.int64)
    assert factor == 2.0
    assert inputs.kwargs == {}
    assert not inputs.shrunk


def test_the_seed_decides_the_inputs(write_task):
    program = load_task(write_task())
    case = case_of(program, "small")
    first, again, other = (program.make_inputs(case, "float32", "cpu", seed).args[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_numpy_and_random_follow_the_seed_too(write_task):
    path = write_task(
        extra="""
        import random
        import numpy as np
        def make_inputs(case):
            return torch.full((2,), random.random()), torch.from_numpy(np.random.rand(3))
        """
    )
    program = load_task(path)
    first, again, other = (program.make_inputs(program.task.cases[0], "float32", "cpu", seed) for seed in (1, 1, 2))
    for place in range(2):
        assert torch.equal(first.args[place], again.args[place])
        assert not torch.equal(first.args[place], other.args[place])


def test_making_inputs_leaves_the_generators_as_they_were(write_task):
    program = load_task(write_task())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    program.make_inputs(program.task.cases[0], "float32", "cpu", seed=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_only_floating_tensors_are_cast(write_task, dtype):
    path = write_task(
        extra="""
        def make_inputs(case):
            return (torch.rand(3), torch.rand(3, dtype=torch.float64), torch.ones(2, dtype=torch.bool),
                    torch.ones(2, dtype=torch.complex64), torch.ones(2).to(torch.float8_e4m3fn), torch.arange(3))
        """
    )
    program = load_task(path)
    dtypes = [tensor.dtype for tensor in program.make_inputs(program.task.cases[0], dtype, "cpu", 0).tensors()]
    wanted = getattr(torch, dtype)
    assert dtypes == [wanted, wanted, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.int64]


def test_inputs_are_made_on_the_device(write_task):
    # A quarter of a terabyte: only possible if nothing is made on the CPU first.
    path = write_task(extra='CASES = {"huge": {"rows": 1 << 20, "cols": 1 << 16}}')
    program = load_task(path)
    inputs = program.make_inputs(program.task.cases[0], "bfloat16", "meta", 0)
    assert {tensor.device.type for tensor in inputs.tensors()} == {"meta"}
    assert inputs.args[0].dtype is torch.bfloat16


def test_tensors_made_elsewhere_are_moved(write_task):
    path = write_task(extra="def make_inputs(case): return torch.ones(2, device='cpu')")
    program = load_task(path)
    assert program.make_inputs(program.task.cases[0], "float32", "meta", 0).args[0].device.type == "meta"


def test_inputs_carry_no_gradient(write_task):
    path = write_task(extra="def make_inputs(case): return torch.nn.Parameter(torch.ones(2))")
    program = load_task(path)
    assert not program.make_inputs(program.task.cases[0], "float32", "cpu", 0).args[0].requires_grad


def test_one_tensor_or_keyword_arguments_are_inputs_too(write_task):
    path = write_task(
        extra="""
        CASES = {"one": {"keyed": False}, "keyed": {"keyed": True}}
        def make_inputs(case):
            return {"x": torch.ones(1), "scale": 2} if case.keyed else torch.ones(1)
        """
    )
    program = load_task(path)
    one, keyed = (program.make_inputs(case, "float32", "cpu", 0) for case in program.task.cases)
    assert len(one.args) == 1
    assert not one.kwargs
    assert not keyed.args
    assert set(keyed.kwargs) == {"x", "scale"}
    assert len(keyed.tensors()) == 1


def test_parameters_named_like_dict_methods_can_be_read_as_attributes(write_task):
    path = write_task(
        extra="""
        CASES = {"a": {"values": 3, "items": 2}}
        def make_inputs(case): return torch.ones(case.values, case.items, len({**case}))
        """
    )
    program = load_task(path)
    assert program.make_inputs(program.task.cases[0], "float32", "cpu", 0).args[0].shape == (3, 2, 2)


def test_a_parameter_that_is_not_there_is_named(write_task):
    program = load_task(write_task(extra="def make_inputs(case): return torch.ones(case.depth)"))
    error = failure(lambda: program.make_inputs(program.task.cases[0], "float32", "cpu", 0), Finding.TASK_FAILS)
    assert "'depth'" in error.summary
    assert "rows, cols" in error.summary


def test_a_task_cannot_change_its_own_cases(write_task):
    path = write_task(
        extra="""
        CASES = {"a": {"sizes": [2, 3]}}
        def make_inputs(case): return torch.ones(case.sizes.pop())
        """
    )
    program = load_task(path)
    for _ in range(2):
        assert program.make_inputs(program.task.cases[0], "float32", "cpu", 0).args[0].shape == (3,)


@pytest.mark.parametrize("returned", ["()", "[]", "{}", "(1, 'x')", "None", "[[], {'a': ()}]"])
def test_inputs_without_a_tensor_are_refused(write_task, returned):
    program = load_task(write_task(extra=f"def make_inputs(case): return {returned}"))
    failure(lambda: program.make_inputs(program.task.cases[0], "float32", "cpu", 0), Finding.TASK_WITHOUT_INPUTS)


def test_inputs_of_another_type_are_refused_by_name(write_task):
    program = load_task(write_task(extra="def make_inputs(case): return 'text'"))
    error = failure(lambda: program.make_inputs(program.task.cases[0], "float32", "cpu", 0), Finding.TASK_FAILS)
    assert "a str" in error.summary


def test_a_factory_that_raises_fails_the_task_with_a_short_traceback(write_task):
    program = load_task(write_task(extra="def make_inputs(case):\n    raise KeyError('nope')"))
    error = failure(lambda: program.make_inputs(program.task.cases[0], "float32", "cpu", 0), Finding.TASK_FAILS)
    assert "KeyError: 'nope'" in error.summary
    assert "in make_inputs" in error.log
    assert "program.py" not in error.log


def test_an_unknown_dtype_is_a_mistake_of_the_caller(write_task):
    program = load_task(write_task())
    with pytest.raises(ValueError, match="int8"):
        program.make_inputs(program.task.cases[0], "int8", "cpu", 0)


def test_the_reference_has_no_state_and_no_init_inputs(write_task):
    program = load_task(write_task())
    reference = program.build_reference("float32", "cpu", 0)
    assert program.state(reference) == []
    assert program.init_inputs() == ()


def test_flops_and_bytes_of_a_case(write_task):
    path = write_task(extra="def flops(case): return case.rows * 2\ndef bytes(case): return 0.5")
    program = load_task(path)
    assert (program.task.has_flops, program.task.has_bytes) == (True, True)
    assert [program.flops(case) for case in program.task.cases] == [8.0, 600.0]
    assert program.bytes(program.task.cases[0]) == 0.5
    silent = load_task(write_task(name="silent.py"))
    assert silent.flops(silent.task.cases[0]) is None


@pytest.mark.parametrize("value", ["'many'", "-1", "float('nan')", "True", "1 / 0"])
def test_flops_that_are_no_count_fail_the_task(write_task, value):
    program = load_task(write_task(extra=f"def flops(case): return {value}"))
    failure(lambda: program.flops(program.task.cases[0]), Finding.TASK_FAILS)


@pytest.mark.parametrize(
    ("text", "field", "finding"),
    [
        ("CASES = {}", "CASES is empty", Finding.TASK_WITHOUT_INPUTS),
        ("CASES = [1]", "CASES is [1]", Finding.TASK_UNREADABLE),
        ("CASES = {3: {}}", "key 3", Finding.TASK_UNREADABLE),
        ("CASES = {'': {}}", "key ''", Finding.TASK_UNREADABLE),
        ("CASES = {'a': 4}", "CASES['a'] is 4", Finding.TASK_UNREADABLE),
        ("CASES = {'a': {'weight': 'x'}}", "['weight'] is 'x'", Finding.TASK_UNREADABLE),
        ("CASES = {'a': {'weight': 0}}", "['weight'] is 0", Finding.TASK_UNREADABLE),
        ("CASES = {'a': {'weight': float('inf')}}", "['weight'] is inf", Finding.TASK_UNREADABLE),
        ("CASES = {'a': {'weight': True}}", "['weight'] is True", Finding.TASK_UNREADABLE),
        ("CASES = {'a': {'hidden': 1}}", "['hidden'] is 1", Finding.TASK_UNREADABLE),
        ("CASES = {'a': {1: 2}}", "the key 1", Finding.TASK_UNREADABLE),
        ("CASES = {'a': {'x': torch.ones(1)}}", "CASES['a']['x']", Finding.TASK_UNREADABLE),
        ("CASES = {'a': {'x': [{'y': object}]}}", "CASES['a']['x']", Finding.TASK_UNREADABLE),
        ("reference = 3", "reference is 3", Finding.TASK_UNREADABLE),
        ("reference = torch.nn.Linear(2, 2)", "reference is a module", Finding.TASK_UNREADABLE),
        ("make_inputs = {}", "make_inputs is {}", Finding.TASK_UNREADABLE),
    ],
)
def test_wrong_types_are_refused_by_name(write_task, text, field, finding):
    path = write_task(extra=text)
    error = failure(lambda: load_task(path), finding)
    assert field in error.summary
    assert error.advice


@given(st.dictionaries(st.text(min_size=1), st.dictionaries(st.text(), st.integers() | st.lists(st.text()))))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_plain_parameters_are_cases(cases):
    cases = {name: {k: v for k, v in entry.items() if k not in ("weight", "hidden")} for name, entry in cases.items()}
    if not cases:
        failure(lambda: read_cases(cases, Path("t.py")), Finding.TASK_WITHOUT_INPUTS)
        return
    assert {case.name: case.parameters for case in read_cases(cases, Path("t.py"))} == cases


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary() | st.just(torch.float32),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["weight", "hidden", "rows", 3]), inner),
    max_leaves=8,
)


@given(_ANYTHING)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_cases_are_the_answer_is_cases_or_a_task_error(value):
    try:
        cases = read_cases(value, Path("t.py"))
    except TaskError:
        return
    assert all(case.weight > 0 for case in cases)
    assert not any({"weight", "hidden"} & set(case.parameters) for case in cases)
