"""An export that runs on a GPU: C++ for the processor, CUDA C++ and Triton for the card, in one module."""

from __future__ import annotations

import shutil

import pytest
import torch

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.platforms.nvml import nvml_devices
from kernelevolve.tools.export_kernel import export_kernel
from kernelevolve.tools.export_summary import ExportRequest
from tests.export.conftest import EVEN, FAST, kernel_cache, load, rows_task, shelf  # noqa: F401 - fixtures
from tests.export.support import ROWS_TRITON, Shelf
from tests.export.test_export import CUDA


def _why_not() -> str:
    """Why these tests can't run here; empty where they can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    try:
        return "" if nvml_devices() else "the NVIDIA driver lists no GPU"
    except PlatformError as error:
        return str(error)


MISSING = _why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


def test_one_module_serves_processor_and_gpu(shelf: Shelf, rows_task, load) -> None:  # type: ignore[no-untyped-def] # noqa: F811
    major, minor = nvml_devices()[0].compute_capability
    platform = f"cuda:sm_{major}{minor}"
    kernels = [(Candidate(language="triton", source=ROWS_TRITON), {"wide": (3.0, 3.1, 3.2), "tall": EVEN, "odd": EVEN})]
    if shutil.which("nvcc") is not None:
        kernels.append((Candidate(language="cuda", source=CUDA), {"wide": EVEN, "tall": (3.0, 3.1, 3.2), "odd": EVEN}))
    on_gpu = shelf.search(rows_task, *kernels, platform=platform)
    here = shelf.search(rows_task, (FAST, {"wide": EVEN, "tall": EVEN, "odd": EVEN}))
    summary, text = export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=here, also=(on_gpu,)))
    assert {entry.level for entry in summary.judged} == {"executed"}
    module = load(text)
    module.configure(on_fallback="raise")
    for device in ("cpu", "cuda"):
        for shape in ((4, 512), (300, 16)):
            x, scale = torch.randn(shape, device=device), torch.randn(shape[1], device=device)
            torch.testing.assert_close(module.kernel(x, scale, 0.5), x * scale + 0.5)
    report = module.dispatch_report()["kernels"]
    assert sum(report.values()) == 4
    assert report[f"{here}.0 (cpp)"] == 2
