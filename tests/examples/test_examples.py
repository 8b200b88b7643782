"""The shipped operators say what they mean, and their starting points agree with them."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kernelevolve.evaluation.tasks.loading import load_task

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KERNELBENCH = ROOT / "benchmarks" / "kernelbench"
OPERATORS = sorted(path.parent.name for path in EXAMPLES.glob("*/task.py"))
TASKS = [*(EXAMPLES / name for name in OPERATORS), EXAMPLES / "conv1d" / "conv1d_paper.py"]
KERNELBENCH_TASKS = ("relu", "sigmoid", "swish", "softmax")


def softmax(x):
    powers = np.exp(x - x.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def layer_norm(x, weight, bias, eps):
    return np.stack([(row - row.mean()) / math.sqrt(row.var() + eps) * weight + bias for row in x])


def rmsnorm_swiglu(x, weight, eps):
    rows = [row / math.sqrt((row @ row) / len(row) + eps) * weight for row in x]
    gates, ups = zip(*(np.split(row, 2) for row in rows), strict=True)
    return np.stack([gate / (1 + np.exp(-gate)) * up for gate, up in zip(gates, ups, strict=True)])


def matmul_relu(a, b):
    return np.array([[max(row @ column, 0.0) for column in b.T] for row in a])


def conv1d(x, filters, bias):
    windows = np.lib.stride_tricks.sliding_window_view(x, filters.shape[2], axis=2)
    return np.einsum("bilt,oit->bol", windows, filters, optimize=True) + bias[:, None]


def map_id(ids, table):
    places = {int(entry): place for place, entry in enumerate(table, start=1)}
    return np.array([places.get(int(wanted), 0) for wanted in ids])


def batch_event_truncate(outer_lengths, inner_lengths, values, max_events):
    lengths, left = iter(inner_lengths.tolist()), values.tolist()
    kept_lengths, kept_values = [], []
    for count in outer_lengths.flatten().tolist():
        for event in range(count):
            length = next(lengths)
            mine, left = left[:length], left[length:]
            if event < max_events:
                kept_lengths.append(length)
                kept_values.extend(mine)
    return np.array(kept_lengths, dtype=np.int64), np.array(kept_values)


INDEPENDENT = {
    "softmax": softmax,
    "layer_norm": layer_norm,
    "rmsnorm_swiglu": rmsnorm_swiglu,
    "matmul_relu": matmul_relu,
    "conv1d": conv1d,
    "conv1d_paper": conv1d,
    "map_id": map_id,
    "batch_event_truncate": batch_event_truncate,
}
"""The same operators written a second time, in numpy."""


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_reference_agrees_with_an_independent_formulation(path):
    program = load_task(path)
    for case in program.task.cases:
        inputs = program.make_inputs(case, "float64", "cpu", 3, limit_numel=1 << 16)
        wanted = INDEPENDENT[program.task.name](
            *(item.numpy() if isinstance(item, torch.Tensor) else item for item in inputs.args)
        )

        got = program.build_reference("float64", "cpu", 0)(*inputs.args)

        for one, other in zip(as_tuple(got), as_tuple(wanted), strict=True):
            assert one.shape == other.shape, case.name
            np.testing.assert_allclose(one.numpy(), other, rtol=1e-9, atol=1e-9, err_msg=case.name)


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_task_is_complete(path):
    program = load_task(path)
    task = program.task
    heaviest = max(task.cases, key=lambda case: case.weight)

    assert any(case.hidden for case in task.cases)
    assert not heaviest.hidden
    assert all(program.bytes(case) > 0 for case in task.cases)
    assert task.starting_points


@pytest.mark.parametrize("name", OPERATORS)
def test_folder_has_both_starting_points_and_a_row_in_the_table(name):
    program = load_task(EXAMPLES / name)

    assert [path.name for path in program.task.starting_points] == ["kernel.cpp", "triton.py"]
    assert f"| [`{name}`]({name}/task.py) |" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_map_id_gives_the_example_of_its_docstring():
    reference = load_task(EXAMPLES / "map_id").build_reference("float32", "cpu", 0)

    places = reference(torch.tensor([100, 300, 500, 200, 999]), torch.tensor([100, 200, 300, 400, 500]))

    assert places.tolist() == [1, 3, 5, 2, 0]


def test_batch_event_truncate_gives_the_example_of_its_docstring():
    reference = load_task(EXAMPLES / "batch_event_truncate").build_reference("float32", "cpu", 0)

    lengths, values = reference(
        torch.tensor([[3, 1]]), torch.tensor([2, 1, 1, 3]), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]), 2
    )

    assert lengths.tolist() == [2, 1, 3]
    assert values.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.6, 0.7])


@pytest.mark.parametrize("name", KERNELBENCH_TASKS)
def test_kernelbench_task_loads_and_has_its_large_shape(name):
    program = load_task(KERNELBENCH / f"{name}.py")

    (x,) = program.make_inputs(program.task.cases[0], "float32", "meta", 0).tensors()

    assert x.shape == (4096, 393216)


def test_zeros_pass_for_a_softmax_of_long_rows_under_an_absolute_tolerance():
    """The cheat in `softmax_zeros.py` only makes sense as long as this holds."""
    row = torch.softmax(torch.rand(1, 393216), dim=1)

    torch.testing.assert_close(torch.zeros_like(row), row, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def interpreted():
    """Task file → what the interpreter run found wrong with its Triton candidate."""
    pytest.importorskip("triton")
    pairs = [(EXAMPLES / name / "task.py", EXAMPLES / name / "triton.py") for name in OPERATORS]
    pairs.append((EXAMPLES / "conv1d" / "conv1d_paper.py", EXAMPLES / "conv1d" / "triton.py"))
    pairs += [(KERNELBENCH / f"{name}.py", KERNELBENCH / f"{name}_triton.py") for name in KERNELBENCH_TASKS]
    arguments = [str(path) for pair in pairs for path in pair]
    script = Path(__file__).with_name("interpret.py")
    result = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", OPERATORS)
def test_triton_starting_point_agrees_with_the_reference(name, interpreted):
    assert interpreted[str(EXAMPLES / name / "task.py")] == ""


def test_triton_starting_point_agrees_with_the_convolution_in_float16(interpreted):
    assert interpreted[str(EXAMPLES / "conv1d" / "conv1d_paper.py")] == ""


@pytest.mark.parametrize("name", KERNELBENCH_TASKS)
def test_triton_candidate_agrees_with_the_kernelbench_task(name, interpreted):
    assert interpreted[str(KERNELBENCH / f"{name}.py")] == ""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """All C++ starting points in one library: compiling the headers once saves ten seconds."""
    tvm_ffi = pytest.importorskip("tvm_ffi")
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    folder = tmp_path_factory.mktemp("cpp")
    lines = [
        *("#include <tvm/ffi/container/tensor.h>", "#include <tvm/ffi/function.h>"),
        *("#include <algorithm>", "#include <cmath>", "#include <limits>", "using tvm::ffi::TensorView;"),
    ]
    for name in OPERATORS:
        lines.append(f'namespace in_{name} {{\n#include "{EXAMPLES / name / "kernel.cpp"}"\n}}')
        lines.append(f"TVM_FFI_DLL_EXPORT_TYPED_FUNC({name}, in_{name}::kernel);")
    (folder / "all.cpp").write_text("\n".join(lines), encoding="utf-8")
    includes = [f"-I{path}" for path in tvm_ffi.libinfo.include_paths()]
    subprocess.run(
        ["g++", "-O1", "-std=c++17", "-fPIC", "-shared", *includes, "all.cpp", "-o", "all.so"], cwd=folder, check=True
    )
    return tvm_ffi.load_module(str(folder / "all.so"))


@pytest.mark.parametrize("name", OPERATORS)
def test_cpp_starting_point_agrees_with_the_reference(name, library):
    import tvm_ffi

    program = load_task(EXAMPLES / name)
    for case in program.task.cases:
        inputs = program.make_inputs(case, "float32", "cpu", 5, limit_numel=1 << 16)
        wanted = as_tuple(program.build_reference("float32", "cpu", 0)(*inputs.args))
        got = tuple(torch.full_like(tensor, 77) for tensor in wanted)

        arguments = [*inputs.args, *got]
        library[name](*(tvm_ffi.from_dlpack(item) if isinstance(item, torch.Tensor) else item for item in arguments))

        # The starting points add up one number after another, torch adds up pairs; a mean of 1000 costs three digits.
        share = 2e-3 if case.name == "shifted" else 2e-5
        for one, other in zip(got, wanted, strict=True):
            atol = share * float(other.abs().max()) if other.is_floating_point() else 0
            torch.testing.assert_close(one, other, rtol=0, atol=atol)
