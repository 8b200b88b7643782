"""What calls of an exported function do: the right kernel, or the reference, and never unseen."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.tools.export_kernel import export_kernel
from kernelevolve.tools.export_summary import ExportRequest
from tests.export.conftest import EVEN, Load
from tests.export.support import EXAMPLES, Shelf

Call = tuple[tuple[Any, ...], dict[str, Any]]


@pytest.fixture
def rows(rows_text: str, load: Load) -> ModuleType:
    return load(rows_text)


def reference(x: torch.Tensor, scale: torch.Tensor, shift: float = 0.5) -> torch.Tensor:
    return x * scale + shift


def step_of(module: ModuleType, *args: Any, **kwargs: Any) -> str:
    return str(module.explain(*args, **kwargs)["kernel"]).rpartition(".")[2]


def test_each_case_gets_the_node_that_was_fastest_there(rows: ModuleType, rows_search: str) -> None:
    wide, tall = (torch.randn(4, 512), torch.randn(512)), (torch.randn(300, 16), torch.randn(16))
    assert step_of(rows, *wide, 0.5) == "0"
    assert step_of(rows, *tall, 0.5) == "1"
    for given in (wide, tall):
        torch.testing.assert_close(rows.kernel(*given, 0.5), reference(*given))
    assert rows.dispatch_report()["kernels"] == {f"{rows_search}.1 (cpp)": 1, f"{rows_search}.0 (cpp)": 1}
    assert rows.dispatch_report(reset=True)["fallbacks"] == {}
    assert sum(rows.dispatch_report()["kernels"].values()) == 0


@pytest.mark.parametrize(("shape", "step"), [((5, 400), "0"), ((200, 20), "1"), ((37, 33), "1"), ((8, 256), "0")])
def test_other_sizes_get_the_nearest_case_by_ratio(rows: ModuleType, shape: tuple[int, int], step: str) -> None:
    given = (torch.randn(shape), torch.randn(shape[1]))
    assert step_of(rows, *given, 0.5) == step
    torch.testing.assert_close(rows.kernel(*given, 0.5), reference(*given))


def test_arguments_may_be_given_by_name_or_left_out(rows: ModuleType) -> None:
    x, scale = torch.randn(4, 512), torch.randn(512)
    for call in (
        lambda: rows.kernel(x, scale),
        lambda: rows.kernel(scale=scale, x=x),
        lambda: rows.kernel(x, scale, shift=0.5),
    ):
        torch.testing.assert_close(call(), reference(x, scale))
    assert sum(rows.dispatch_report()["kernels"].values()) == 3
    assert str(inspect.signature(rows.kernel)) == "(x, scale, shift=0.5)"


def test_padded_and_shifted_inputs_were_checked_and_run_a_kernel(rows: ModuleType) -> None:
    padded = torch.randn(4, 515)[:, :512]
    shifted = torch.randn(4 * 512 + 1)[1:].view(4, 512)
    scale = torch.randn(512)
    for x in (padded, shifted):
        assert rows.explain(x, scale, 0.5)["kind"] == "kernel"
        torch.testing.assert_close(rows.kernel(x, scale, 0.5), reference(x, scale))


OUTSIDE: dict[str, tuple[str, Callable[[], Call]]] = {
    "another dtype": ("dtype", lambda: ((torch.randn(4, 512).double(), torch.randn(512).double(), 0.5), {})),
    "half of one": ("dtype", lambda: ((torch.randn(4, 512), torch.randn(512).bfloat16(), 0.5), {})),
    "another value": ("value", lambda: ((torch.randn(4, 512), torch.randn(512), 0.75), {})),
    "another type of value": ("value", lambda: ((torch.randn(4, 512), torch.randn(512), 1), {})),
    "transposed": ("layout", lambda: ((torch.randn(512, 4).t(), torch.randn(512), 0.5), {})),
    "every second": ("layout", lambda: ((torch.randn(4, 1024)[:, ::2], torch.randn(512), 0.5), {})),
    "expanded": ("layout", lambda: ((torch.randn(1, 512).expand(4, 512), torch.randn(512), 0.5), {})),
    "another rank": ("rank", lambda: ((torch.randn(2, 4, 512), torch.randn(512), 0.5), {})),
    "too many rows": ("shape", lambda: ((torch.randn(301, 16), torch.randn(16), 0.5), {})),
    "too few columns": ("shape", lambda: ((torch.randn(30, 8), torch.randn(8), 0.5), {})),
    "broadcast": ("shape", lambda: ((torch.randn(4, 512), torch.randn(1), 0.5), {})),
    "empty": ("shape", lambda: ((torch.randn(0, 512), torch.randn(512), 0.5), {})),
    "a subclass": (
        "tensor",
        lambda: ((torch.randn(4, 512).as_subclass(type("Mine", (torch.Tensor,), {})), torch.randn(512), 0.5), {}),
    ),
    "sparse": ("layout", lambda: ((torch.randn(4, 512).to_sparse(), torch.randn(512), 0), {})),
}


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name != "sparse"])
def test_what_was_not_checked_runs_the_reference_and_is_counted(rows: ModuleType, name: str) -> None:
    kind, make = OUTSIDE[name]
    args, kwargs = make()
    with pytest.warns(rows.FallbackWarning, match="the PyTorch reference runs"):
        got = rows.kernel(*args, **kwargs)
    torch.testing.assert_close(got, reference(*args, **kwargs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows.kernel(*args, **kwargs)  # Said once.
    report = rows.dispatch_report()
    assert {found: entry["calls"] for found, entry in report["fallbacks"].items()} == {kind: 2}
    assert sum(report["kernels"].values()) == 0


@pytest.mark.parametrize("name", OUTSIDE)
def test_fallbacks_can_be_forbidden(rows: ModuleType, name: str) -> None:
    args, kwargs = OUTSIDE[name][1]()
    rows.configure(on_fallback="raise")
    with pytest.raises(rows.FallbackError, match="No kernel was checked"):
        rows.kernel(*args, **kwargs)


def test_a_mistake_of_the_caller_is_the_reference_s_own_error(rows: ModuleType) -> None:
    with pytest.raises(TypeError, match="scale"):
        rows.kernel(torch.randn(4, 512))
    with pytest.raises(TypeError, match="unexpected"):
        rows.kernel(torch.randn(4, 512), torch.randn(512), offset=1.0)
    with pytest.raises(ValueError, match="'warn', 'raise' or 'ignore'"):
        rows.configure(on_fallback="maybe")


def test_where_the_reference_would_fail_it_does(shelf: Shelf, load: Load) -> None:
    """Halves of a row with an odd number of columns: no kernel may make something up."""
    task = EXAMPLES / "rmsnorm_swiglu"
    kernel = Candidate.from_file(task / "kernel.cpp")
    search_id = shelf.search(task / "task.py", (kernel, dict.fromkeys(("small", "main", "odd"), EVEN)))
    module = load(export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))[1])
    assert module.explain(torch.randn(64, 100), torch.rand(100), 1e-6)["kind"] == "kernel"
    module.configure(on_fallback="ignore")
    with pytest.raises(RuntimeError, match="must match the size"):
        module.kernel(torch.randn(64, 101), torch.rand(101), 1e-6)
    assert module.dispatch_report()["fallbacks"]["outputs"]["calls"] == 1


def test_kernels_never_read_past_a_shorter_tensor(rows: ModuleType) -> None:
    """Sizes outside the range may be allowed; a relation between tensors that always held may not."""
    rows.configure(any_shape=True, on_fallback="ignore")
    assert rows.explain(torch.randn(1000, 16), torch.randn(16), 0.5)["kind"] == "kernel"
    assert rows.explain(torch.randn(4, 512), torch.randn(256), 0.5)["kind"] == "shape"


def test_gradients_come_from_the_reference(rows: ModuleType) -> None:
    x, scale = torch.randn(4, 512, requires_grad=True), torch.randn(512)
    with pytest.warns(rows.FallbackWarning, match="gradients"):
        rows.kernel(x, scale, 0.5).sum().backward()
    torch.testing.assert_close(x.grad, scale.expand(4, 512))
    with torch.no_grad():
        rows.kernel(x, scale, 0.5)
    with torch.inference_mode():
        rows.kernel(x, scale, 0.5)
    report = rows.dispatch_report()
    assert report["fallbacks"]["gradients"]["calls"] == 1
    assert sum(report["kernels"].values()) == 2


def test_functional_transforms_come_from_the_reference(rows: ModuleType) -> None:
    x, scale = torch.randn(4, 512), torch.randn(512)
    rows.configure(on_fallback="ignore")
    rows.kernel(x, scale, 0.5)  # Known already, without a transform.
    found, tangent = torch.func.jvp(lambda x: rows.kernel(x, scale, 0.5), (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, scale.expand(4, 512))
    torch.testing.assert_close(found, reference(x, scale))
    batch = torch.randn(3, 4, 512)
    torch.testing.assert_close(torch.vmap(lambda x: rows.kernel(x, scale, 0.5))(batch), reference(batch, scale))


def test_autocast_comes_from_the_reference(rows: ModuleType) -> None:
    x, scale = torch.randn(4, 512), torch.randn(512)
    rows.kernel(x, scale, 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.warns(rows.FallbackWarning, match="autocast"):
        rows.kernel(x, scale, 0.5)


def test_inside_torch_compile_the_kernel_runs(rows: ModuleType) -> None:
    x, scale = torch.randn(4, 512), torch.randn(512)
    compiled = torch.compile(lambda x: rows.kernel(x * 2, scale, 0.5) + 1)
    for _ in range(2):
        torch.testing.assert_close(compiled(x), reference(2 * x, scale) + 1)
    assert sum(rows.dispatch_report()["kernels"].values()) == 2


def test_another_device_falls_back_unless_told_otherwise(rows_text: str, load: Load) -> None:
    module = load(rows_text)
    here = module.PLAN["platforms"]["cpu"]["device"]
    module.PLAN["platforms"]["cpu"]["device"] = "Another Processor"
    x, scale = torch.randn(4, 512), torch.randn(512)
    found = module.explain(x, scale, 0.5)
    assert found["kind"] == "device"
    assert here in found["why"]
    module.configure(any_device=True)
    assert module.explain(x, scale, 0.5)["kind"] == "kernel"
    module.configure(any_device=False, on_fallback="ignore")
    meta = module.kernel(x.to("meta"), scale.to("meta"), 0.5)
    assert meta.shape == x.shape
    assert "meta" in module.dispatch_report()["fallbacks"]["device"]["last"]
    assert module.explain(x, scale.to("meta"), 0.5)["kind"] == "device"


def test_kernels_can_be_switched_off(rows: ModuleType) -> None:
    x, scale = torch.randn(4, 512), torch.randn(512)
    rows.kernel(x, scale, 0.5)
    rows.configure(use_kernels=False)
    with pytest.warns(rows.FallbackWarning, match="use_kernels=False"):
        rows.kernel(x, scale, 0.5)


def test_a_missing_compiler_is_said(rows_text: str, load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    module = load(rows_text)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(module.KernelBuildError, match=r"g\+\+ is not on PATH.*use_kernels=False"):
        module.kernel(torch.randn(4, 512), torch.randn(512), 0.5)


def test_threads_count_every_call(rows: ModuleType) -> None:
    import concurrent.futures

    x, scale = torch.randn(4, 512), torch.randn(512)

    def work(_number: int) -> bool:
        return all(torch.equal(rows.kernel(x, scale, 0.5), right) for _ in range(50))

    right = rows.kernel(x, scale, 0.5)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert sum(rows.dispatch_report()["kernels"].values()) == 201
