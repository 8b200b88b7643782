"""Run the Triton candidates named on the command line in Triton's interpreter; print what went wrong as JSON.

A process of its own, because Triton reads TRITON_INTERPRET when it is imported. Arguments: pairs of a task file and a
candidate file. Output: task → message, empty where the candidate agrees with the reference.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

import torch

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.tasks.loading import load_task

LIMIT = 1 << 12
"""Elements of the largest input; a case that can't be shrunk that far is left to the judge."""


def load_candidate(path):
    spec = importlib.util.spec_from_file_location(f"candidate_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelNew() if hasattr(module, "ModelNew") else module.kernel


def plain(tensor):
    return tensor


def padded(tensor):
    """The same values, with rows that lie further apart than they are long."""
    storage = torch.full((*tensor.shape[:-1], tensor.shape[-1] + 3), 77, dtype=tensor.dtype)
    storage[..., : tensor.shape[-1]] = tensor
    return storage[..., : tensor.shape[-1]]


def offset(tensor):
    """The same values, one element into their storage."""
    storage = torch.full((tensor.numel() + 1,), 77, dtype=tensor.dtype)
    storage[1:] = tensor.reshape(-1)
    return storage[1:].view(tensor.shape)


def special(tensor):
    """The same values, with some of the awkward ones among them."""
    if not tensor.is_floating_point():
        return tensor
    awkward = torch.tensor([0.0, -0.0, 1e-40, float("inf"), float("-inf"), float("nan")], dtype=tensor.dtype)
    copy = tensor.clone(memory_format=torch.contiguous_format)
    places = torch.randperm(tensor.numel())[: awkward.numel()]
    copy.view(-1)[places] = awkward[: places.numel()]
    return copy


def check(task_file, candidate_file):
    program = load_task(task_file)
    candidate = load_candidate(candidate_file)
    dtype = program.task.dtypes[0]
    smallest = program.task.cases[0]
    for case in program.task.cases:
        try:
            made = program.make_inputs(case, dtype, "cpu", 1, LIMIT)
        except TaskError as error:
            if error.finding is Finding.NOT_CHECKABLE and case is not smallest:
                continue
            raise
        # Layouts and awkward values in the smallest case, to save time; the judge tries them in every case.
        for change in (plain, padded, offset, special) if case is smallest else (plain,):
            inputs = made.map_tensors(change)
            wanted = program.build_reference(dtype, "cpu", 0)(*inputs.args)
            got = candidate(*inputs.args)
            try:
                # A mean of 1000 costs three digits of the deviations from it.
                tolerance = {"rtol": 0, "atol": 2e-3} if case.name == "shifted" else {}
                torch.testing.assert_close(got, wanted, equal_nan=True, **tolerance)
            except AssertionError as error:
                return f"{case.name}, {change.__name__}: {error}"
    return ""


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    print(json.dumps({str(left): check(left, right) for left, right in zip(paths[::2], paths[1::2], strict=True)}))
