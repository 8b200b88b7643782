import inspect
import subprocess
import sys

import pytest
import torch

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.task import TaskForm
from kernelevolve.evaluation.tasks.loading import describe_task, load_task


def refused(reference, finding=Finding.TASK_UNREADABLE):
    with pytest.raises(TaskError) as caught:
        load_task(reference)
    assert caught.value.finding is finding
    return caught.value


def test_the_form_is_detected(write_task, module_text):
    assert describe_task(write_task()).form is TaskForm.FUNCTION
    assert describe_task(write_task(module_text, name="net.py")).form is TaskForm.KERNELBENCH


def test_a_folder_stands_for_its_task_file_and_gives_the_name(write_task):
    path = write_task(name="my_softmax/task.py")

    for reference in (path, path.parent, str(path.parent)):
        task = describe_task(reference)
        assert task.name == "my_softmax"
        assert task.reference == str(path)
    assert describe_task(write_task(name="other.py")).name == "other"


def test_the_source_is_kept(write_task):
    path = write_task(extra="# überall")
    assert describe_task(path).source == path.read_text(encoding="utf-8")


def test_a_missing_file_says_so(tmp_path):
    assert str(tmp_path / "no.py") in str(refused(tmp_path / "no.py"))


def test_a_folder_without_a_task_file_says_what_it_lacks(tmp_path):
    assert "task.py" in str(refused(tmp_path))


def test_another_suffix_is_refused(write_task):
    assert "'.txt'" in str(refused(write_task(name="task.txt")))


def test_a_syntax_error_names_its_line(write_task):
    error = refused(write_task("import torch\n\ndef broken(:\n"))
    assert "line 3" in error.summary


def test_null_bytes_are_refused(tmp_path):
    (tmp_path / "zero.py").write_bytes(b"x = 1\0")
    refused(tmp_path / "zero.py")


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "latin.py").write_bytes(b"name = '\xe9'\n")
    refused(tmp_path / "latin.py")


def test_a_file_that_raises_is_refused_with_a_short_traceback(write_task):
    error = refused(write_task("def inner():\n    raise RuntimeError('no luck')\n\ninner()\n"))
    assert "RuntimeError: no luck" in error.summary
    assert "in inner" in error.log
    assert "loading.py" not in error.log


def test_a_file_that_exits_is_refused(write_task):
    assert "SystemExit" in str(refused(write_task("import sys\nsys.exit(0)\n")))


def test_a_missing_package_is_named(write_task):
    error = refused(write_task("import surely_not_installed\n"))
    assert error.advice.startswith("Install surely_not_installed")


def test_a_failed_file_leaves_no_module_behind(write_task):
    before = {name for name in sys.modules if name.startswith("kernelevolve_task_")}
    refused(write_task("1 / 0\n"))
    assert {name for name in sys.modules if name.startswith("kernelevolve_task_")} == before


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("x = 1", "lacks Model and get_inputs; for the function form it lacks reference, make_inputs and CASES"),
        ("def reference(x): ...", "it lacks make_inputs and CASES"),
        ("def reference(x): ...\ndef make_inputs(case): ...", "it lacks CASES"),
        ("CASES = {}\ndef make_inputs(case): ...", "it lacks reference"),
        ("def get_inputs(): ...", "lacks Model;"),
    ],
)
def test_neither_form_says_which_names_are_missing(write_task, text, lacking):
    assert lacking in str(refused(write_task(text)))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("class Model: ...", "get_inputs"),
        ("CASES = {'a': {}}\ndef reference(x): ...", "make_inputs"),
    ],
)
def test_a_form_without_its_input_factory_has_no_inputs(write_task, text, name):
    assert name in str(refused(write_task(text), Finding.TASK_WITHOUT_INPUTS))


def test_both_forms_at_once_are_refused(write_task, function_text, module_text):
    assert "both forms" in str(refused(write_task(function_text + module_text)))


def test_functions_of_a_task_can_be_inspected_and_compiled(write_task):
    reference = load_task(write_task()).build_reference("float32", "cpu", 0)

    assert inspect.getsource(reference).startswith("def reference")
    assert sys.modules[reference.__module__].reference is reference
    # The eager backend needs no compiler: this is about dynamo finding the module.
    compiled = torch.compile(reference, backend="eager", fullgraph=True)
    x = torch.ones(2, 2)
    torch.testing.assert_close(compiled(x, torch.ones(2), 2.0), x * 3)


def test_dataclasses_with_postponed_annotations_load(write_task, function_text):
    text = "from __future__ import annotations\nimport dataclasses\n" + function_text.lstrip()
    load_task(write_task(text, extra="@dataclasses.dataclass\nclass Sizes:\n    rows: int = 1\n"))


def test_annotations_are_evaluated_as_in_any_module(write_task):
    load_task(write_task(extra="def f(x: int): ...\nassert f.__annotations__['x'] is int"))


def test_a_changed_file_does_not_disturb_the_task_loaded_before(write_task):
    first = load_task(write_task(extra="FACTOR = 1\ndef reference(x, index, factor): return x * FACTOR"))
    second = load_task(write_task(extra="FACTOR = 2\ndef reference(x, index, factor): return x * FACTOR"))

    x = torch.ones(1)
    assert first.build_reference("float32", "cpu", 0)(x, None, 0) == 1
    assert second.build_reference("float32", "cpu", 0)(x, None, 0) == 2
    assert first.task.task_hash != second.task.task_hash


def test_reloading_an_unchanged_file_does_not_pile_up_modules(write_task):
    path = write_task()
    load_task(path)
    before = len(sys.modules)
    load_task(path)
    assert len(sys.modules) == before


def test_the_package_does_not_import_torch():
    code = "import sys, kernelevolve.evaluation.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
