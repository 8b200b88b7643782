"""Exports of tasks in module form: the weights stay the user's, whichever kernel runs."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from types import ModuleType

import pytest
import torch

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.tools.export_kernel import export_kernel
from kernelevolve.tools.export_summary import ExportRequest
from tests.export.conftest import EVEN, Load
from tests.export.support import Shelf, run_apart

TASK = """import torch
import torch.nn as nn

class Model(nn.Module):
    def __init__(self, width, slope):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.slope = slope
    def forward(self, x):
        return torch.relu(self.norm(x)) * self.slope

def get_inputs():
    return [torch.randn(64, 48)]

def get_init_inputs():
    return [48, 2.0]
"""
CPP = """#include <cmath>
void kernel(TensorView x, TensorView weight, TensorView bias, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  auto p = [](TensorView t) { return static_cast<float*>(t.data_ptr()); };
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = p(x) + r * cols;
    double mean = 0, square = 0;
    for (int64_t c = 0; c < cols; ++c) mean += in[c];
    mean /= cols;
    for (int64_t c = 0; c < cols; ++c) square += (in[c] - mean) * (in[c] - mean);
    const double scale = 1 / std::sqrt(square / cols + 1e-5);
    for (int64_t c = 0; c < cols; ++c) {
      const float y = static_cast<float>((in[c] - mean) * scale) * p(weight)[c] + p(bias)[c];
      p(out)[r * cols + c] = (y < 0 ? 0.0f : y) * 2.0f;
    }
  }
}
"""
TRITON = """import torch
import torch.nn as nn
import triton
import triton.language as tl

@triton.jit
def norm(x_ptr, w_ptr, b_ptr, y_ptr, cols, slope, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)
    inside = lanes < cols
    x = tl.load(x_ptr + row * cols + lanes, mask=inside, other=0.0)
    mean = tl.sum(x, axis=0) / cols
    centred = tl.where(inside, x - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / cols + 1e-5)
    y = centred * scale * tl.load(w_ptr + lanes, mask=inside) + tl.load(b_ptr + lanes, mask=inside)
    tl.store(y_ptr + row * cols + lanes, tl.where(y < 0.0, 0.0, y) * slope, mask=inside)

class ModelNew(nn.Module):
    def __init__(self, width, slope):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.slope = slope
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        norm[(x.shape[0],)](x, self.norm.weight, self.norm.bias, y, x.shape[1], self.slope, BLOCK=64)
        return y
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("module-task") / "norm.py"
    path.write_text(TASK)
    return path


@pytest.fixture(scope="module")
def text(shelf: Shelf, task: Path) -> str:
    search_id = shelf.search(task, (Candidate(language="cpp", source=CPP), {"default": EVEN}))
    return export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))[1]


@pytest.fixture
def norm(text: str, load: Load) -> ModuleType:
    module = load(text)
    module.configure(on_fallback="raise")
    return module


def reference(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.nn.functional.layer_norm(x, (48,), module.norm.weight, module.norm.bias)) * 2.0


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """The module with weights that are not the initial ones."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1)
    return module


@torch.no_grad()
def test_the_module_has_the_reference_s_constructor_and_weights(norm: ModuleType) -> None:
    model = shaken(norm.ModelNew(48, 2.0))
    assert list(model.state_dict()) == ["norm.weight", "norm.bias"]
    x = torch.randn(64, 48)
    torch.testing.assert_close(model(x), reference(model, x))
    other = norm.ModelNew(48, 2.0)
    other.load_state_dict(model.state_dict(), assign=True)
    torch.testing.assert_close(other(x), model(x))
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x))
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), model(x))
    assert sum(norm.dispatch_report()["kernels"].values()) == 7


def test_what_was_not_checked_of_a_module_falls_back(norm: ModuleType) -> None:
    norm.configure(on_fallback="ignore")
    x = torch.randn(64, 48)
    model = shaken(norm.ModelNew(48, 2.0))
    model(x).sum().backward()
    assert model.norm.weight.grad is not None
    with torch.no_grad():
        wide = shaken(norm.ModelNew(96, 2.0))
        assert wide.explain(torch.randn(64, 96))["kind"] == "constructor"
        assert model.explain(torch.randn(65, 48))["kind"] == "shape"
        assert copy.deepcopy(model).double().explain(x.double())["kind"] == "dtype"
        assert model.explain(x)["kind"] == "kernel"
        assert model.eval().explain(x)["kind"] == "kernel"
    assert norm.dispatch_report()["fallbacks"]["gradients"]["calls"] == 1


def test_a_constructor_argument_that_was_not_checked_falls_back(norm: ModuleType) -> None:
    """The kernel has the slope of 2 in its text, and no shape tells."""
    norm.configure(on_fallback="ignore")
    model = norm.ModelNew(48, 3.0)
    x = torch.randn(64, 48)
    with torch.no_grad():
        torch.testing.assert_close(model(x), torch.relu(torch.nn.functional.layer_norm(x, (48,))) * 3.0)
    assert model.explain(x)["kind"] == "constructor"


@torch.no_grad()
def test_a_module_that_was_changed_after_it_was_built_falls_back(norm: ModuleType) -> None:
    norm.configure(on_fallback="ignore")
    x = torch.randn(64, 48)
    model = norm.ModelNew(48, slope=2.0)
    model(x)
    assert sum(norm.dispatch_report()["kernels"].values()) == 1
    model.slope = 3.0
    torch.testing.assert_close(model(x), torch.relu(torch.nn.functional.layer_norm(x, (48,))) * 3.0)
    assert norm.dispatch_report()["fallbacks"]["state"]["calls"] == 1
    model.slope = 2.0
    model.norm.eps = 0.5
    torch.testing.assert_close(model(x), torch.relu(torch.nn.functional.layer_norm(x, (48,), eps=0.5)) * 2.0)
    model.norm.eps = 1e-5
    heard: list[str] = []
    model.register_forward_hook(lambda *_given: heard.append("outer"))
    model(x)
    assert sum(norm.dispatch_report()["kernels"].values()) == 2
    model.norm.register_forward_hook(lambda *_given: heard.append("inner"))
    model(x)
    assert heard == ["outer", "inner", "outer"]
    model.norm = torch.nn.Identity()
    torch.testing.assert_close(model(x), torch.relu(x) * 2.0)
    assert sum(norm.dispatch_report()["kernels"].values()) == 2


def test_check_runs_on_modules(text: str, tmp_path: Path) -> None:
    (tmp_path / "norm.py").write_text(text)
    done = run_apart(
        tmp_path, "import runpy; sys.argv = ['norm.py', '--check']; runpy.run_path('norm.py', run_name='__main__')"
    )
    assert "1 of 1 right" in done.stdout, done.stderr


def test_a_candidate_s_own_module_gets_the_user_s_weights(shelf: Shelf, task: Path, tmp_path: Path) -> None:
    search_id = shelf.search(task, (Candidate(language="triton", source=TRITON), None))
    request = ExportRequest(search_id=search_id, allow_unexecuted=True)
    (tmp_path / "norm.py").write_text(export_kernel(shelf.pool, shelf.store, request)[1])
    program = """
import torch, norm
norm.configure(on_fallback="raise")
def right(model, x):
    return torch.relu(torch.nn.functional.layer_norm(x, (48,), model.norm.weight, model.norm.bias)) * 2.0
x = torch.randn(64, 48)
with torch.no_grad():
    model = norm.ModelNew(48, 2.0)
    before = torch.get_rng_state()
    torch.testing.assert_close(model(x), right(model, x))
    assert torch.equal(before, torch.get_rng_state())
    for _ in range(2):
        model.norm.weight.uniform_(-1, 1)
        model.norm.bias = torch.nn.Parameter(torch.rand(48))
        torch.testing.assert_close(model(x), right(model, x))
assert list(model.state_dict()) == ["norm.weight", "norm.bias"]
print(sum(norm.dispatch_report()["kernels"].values()))
"""
    done = run_apart(tmp_path, program, TRITON_INTERPRET="1")
    assert done.stdout.strip() == "3", done.stderr


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("self.norm", "self.other"), "which the reference has not"),
        (("self.slope = slope", "self.slope = slope; self.w = self.norm.weight.detach() + 0"), "a tensor of its own"),
    ],
)
def test_a_candidate_that_keeps_weights_of_its_own_is_refused(
    shelf: Shelf, task: Path, change: tuple[str, str], match: str
) -> None:
    source = TRITON.replace(*change).replace(
        "x, self.norm.weight", "x, self.w" if "self.w" in change[1] else "x, self.norm.weight"
    )
    search_id = shelf.search(task, (Candidate(language="triton", source=source), None))
    assert shelf.store.node(f"{search_id}.0").status == "correct"
    with pytest.raises(CandidateError, match=match):
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id, allow_unexecuted=True))


def test_batch_norm_in_training_mode_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    """The reference would update its running statistics, which no kernel is asked to do."""
    task = tmp_path / "batch.py"
    task.write_text(TASK.replace("nn.LayerNorm(width)", "nn.BatchNorm1d(width)"))
    source = """#include <cmath>
void kernel(TensorView x, TensorView w, TensorView b, TensorView m, TensorView v, TensorView n, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  auto p = [](TensorView t) { return static_cast<float*>(t.data_ptr()); };
  for (int64_t c = 0; c < cols; ++c) {
    double mean = 0, square = 0;
    for (int64_t r = 0; r < rows; ++r) mean += p(x)[r * cols + c];
    mean /= rows;
    for (int64_t r = 0; r < rows; ++r) square += std::pow(p(x)[r * cols + c] - mean, 2);
    const double scale = 1 / std::sqrt(square / rows + 1e-5);
    for (int64_t r = 0; r < rows; ++r) {
      const float y = static_cast<float>((p(x)[r * cols + c] - mean) * scale) * p(w)[c] + p(b)[c];
      p(out)[r * cols + c] = (y < 0 ? 0.0f : y) * 2.0f;
    }
  }
}
"""
    search_id = shelf.search(task, (Candidate(language="cpp", source=source), {"default": EVEN}))
    assert shelf.store.node(f"{search_id}.0").status == "correct"
    with pytest.raises(CandidateError, match="running statistics"):
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))
