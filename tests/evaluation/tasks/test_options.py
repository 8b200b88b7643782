from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import DEFAULT_TOLERANCES, Layout, SpecialValue
from kernelevolve.evaluation.tasks.loading import load_task
from kernelevolve.evaluation.tasks.options import read_options


def options(**names):
    return read_options(names, Path("/nowhere/t.py"), (Layout.CONTIGUOUS,))


def test_tolerances_are_merged_over_the_defaults():
    merged = options(
        TOLERANCES={"float32": {"rtol": 1e-3}, "bfloat16": {"max_factor": 3, "rms_factor": 2.5}}
    ).tolerances
    assert merged["float32"] == DEFAULT_TOLERANCES["float32"].model_copy(update={"rtol": 1e-3})
    assert merged["bfloat16"].max_factor == 3
    assert merged["bfloat16"].rms_factor == 2.5
    assert merged["float16"] == DEFAULT_TOLERANCES["float16"]


def test_dtypes_can_be_torch_dtypes():
    import torch

    assert options(DTYPES=[torch.bfloat16, "float32"]).dtypes == ("bfloat16", "float32")
    assert options(TOLERANCES={torch.float16: {"atol": 1}}).tolerances["float16"].atol == 1


def test_special_values_can_be_switched_off_or_chosen():
    assert options(SPECIAL_VALUES=False).special_values == ()
    assert options(SPECIAL_VALUES=["nan", SpecialValue.ZERO]).special_values == (SpecialValue.NAN, SpecialValue.ZERO)


def test_layouts_and_backward():
    read = options(LAYOUTS=("contiguous", "strided"), BACKWARD=True)
    assert read.layouts == (Layout.CONTIGUOUS, Layout.STRIDED)
    assert read.backward is True


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DTYPES", "float32", "DTYPES is 'float32'"),
        ("DTYPES", (), "DTYPES is empty"),
        ("DTYPES", ["int8"], "DTYPES holds 'int8'"),
        ("DTYPES", ["float32", "float32"], "twice"),
        ("DTYPES", [32], "DTYPES holds 32"),
        ("TOLERANCES", 0.1, "TOLERANCES is 0.1"),
        ("TOLERANCES", {"int8": {}}, "key 'int8'"),
        ("TOLERANCES", {"float32": 0.1}, "TOLERANCES['float32'] is 0.1"),
        ("TOLERANCES", {"float32": {"tol": 1}}, "key 'tol'"),
        ("TOLERANCES", {"float32": {"rtol": -1}}, "['rtol'] is -1"),
        ("TOLERANCES", {"float32": {"rtol": "1e-3"}}, "['rtol'] is '1e-3'"),
        ("TOLERANCES", {"float32": {"max_factor": 0}}, "['max_factor'] is 0"),
        ("TOLERANCES", {"float32": {"atol": float("nan")}}, "['atol'] is nan"),
        ("TOLERANCES", {"float32": {"atol": True}}, "['atol'] is True"),
        ("TOLERANCES", {(): {}}, "key ()"),
        ("LAYOUTS", "contiguous", "LAYOUTS is 'contiguous'"),
        ("LAYOUTS", ["transposed"], "LAYOUTS holds 'transposed'"),
        ("LAYOUTS", ["strided"], "LAYOUTS is ['strided']"),
        ("SPECIAL_VALUES", True, "SPECIAL_VALUES is True"),
        ("SPECIAL_VALUES", "nan", "SPECIAL_VALUES is 'nan'"),
        ("SPECIAL_VALUES", ["minus_zero"], "SPECIAL_VALUES holds 'minus_zero'"),
        ("BACKWARD", 1, "BACKWARD is 1"),
        ("STARTING_POINTS", "kernel.cpp", "STARTING_POINTS is 'kernel.cpp'"),
        ("STARTING_POINTS", [3], "STARTING_POINTS holds 3"),
        ("STARTING_POINTS", ["gone.cpp"], "STARTING_POINTS names 'gone.cpp'"),
        ("flops", 12, "flops is 12"),
        ("bytes", "4", "bytes is '4'"),
    ],
)
def test_wrong_values_are_refused_by_name_with_what_is_allowed(name, value, said):
    with pytest.raises(TaskError) as caught:
        options(**{name: value})
    assert caught.value.finding is Finding.TASK_UNREADABLE
    assert said in caught.value.summary
    assert "t.py" in caught.value.summary
    assert caught.value.advice


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["float32", "nan", "contiguous", "rtol"]),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.sampled_from(["float32", "rtol"]), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["DTYPES", "TOLERANCES", "LAYOUTS", "SPECIAL_VALUES", "BACKWARD", "flops"]), _VALUES
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_written_the_answer_is_options_or_a_task_error(names):
    try:
        read = options(**names)
    except TaskError:
        return
    assert read.dtypes
    assert Layout.CONTIGUOUS in read.layouts


def test_both_forms_honour_the_optional_names(write_task, module_text):
    extra = """
    DTYPES = ("bfloat16",)
    LAYOUTS = ("contiguous", "offset")
    SPECIAL_VALUES = ("nan",)
    BACKWARD = True
    TOLERANCES = {"bfloat16": {"atol": 0.5}}
    def flops(case): return 7
    """
    for path in (write_task(extra=extra), write_task(module_text, extra, "net.py")):
        program = load_task(path)
        task = program.task
        assert (task.dtypes, task.layouts, task.special_values, task.backward) == (
            ("bfloat16",),
            (Layout.CONTIGUOUS, Layout.OFFSET),
            (SpecialValue.NAN,),
            True,
        )
        assert task.tolerances["bfloat16"].atol == 0.5
        assert (task.has_flops, task.has_bytes) == (True, False)
        assert program.flops(task.cases[0]) == 7.0


def test_starting_points_are_found_next_to_the_task_simplest_first(write_task):
    path = write_task(name="op/task.py")
    for name in ("triton.py", "kernel.cu", "kernel.cpp", "notes.py"):
        (path.parent / name).touch()
    points = load_task(path).task.starting_points
    assert [point.name for point in points] == ["kernel.cpp", "triton.py", "kernel.cu"]
    assert all(point.is_absolute() for point in points)


def test_named_starting_points_replace_the_found_ones(write_task):
    path = write_task(extra='STARTING_POINTS = ["fast.cu"]', name="op/task.py")
    for name in ("triton.py", "fast.cu"):
        (path.parent / name).touch()
    assert [point.name for point in load_task(path).task.starting_points] == ["fast.cu"]
