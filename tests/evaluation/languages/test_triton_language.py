from __future__ import annotations

import subprocess
import sys

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.language import EntryPoint, get_language
from kernelevolve.evaluation.platform import get_platform

AUTOTUNED = """
import torch, triton, triton.language as tl

DEVICE = triton.runtime.driver.active.get_active_torch_device()
MULTIPROCESSORS = torch.cuda.get_device_properties(0).multi_processor_count


@triton.autotune(configs=[triton.Config({"BLOCK": 64}, num_warps=2), triton.Config({"BLOCK": 128})], key=["n"])
@triton.jit
def softmax_kernel(x, y, n, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + index, mask=index < n, other=-float("inf"))
    tl.store(y + index, tl.softmax(value), mask=index < n)


class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.zeros = torch.zeros(64, device="cuda")

    def forward(self, x):
        assert x.is_cuda
        y = torch.empty(x.shape, device=x.device)
        softmax_kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())
        return y + self.zeros
"""

# One process that has imported Triton for compiling, then interprets, then compiles again.
BOTH_WAYS = f"""
import torch, triton
from kernelevolve.evaluation.language import Artifact, EntryPoint, get_language
from kernelevolve.evaluation.languages.triton_launches import compile_launch, record_launches

artifact = Artifact(language="triton", entry=EntryPoint.MODULE, writes_outputs=False, source={AUTOTUNED!r})
load = get_language("triton").load
x = torch.randn(64)

assert type(triton.language.sum).__name__ == "JITFunction"
interpreted = load(artifact, interpret=True)()
torch.testing.assert_close(interpreted(x), torch.softmax(x, 0))
assert interpreted(x).device.type == "cpu"

compiled = load(artifact, interpret=False)()
[launch] = record_launches(compiled, (x,), {{}})
assert compile_launch(launch, "hip:gfx942").artifact
print("both ways")
"""


def read(source: str) -> EntryPoint:
    return get_language("triton").read(Candidate(language="triton", source=source))


def test_the_module_class_is_preferred():
    assert read("def kernel(x): ...\nclass ModelNew: ...") is EntryPoint.MODULE
    assert read("def kernel(x): ...") is EntryPoint.FUNCTION
    assert read("kernel = make()") is EntryPoint.FUNCTION


@pytest.mark.parametrize(
    ("source", "finding", "text"),
    [
        ("x = 1\ndef kernel(:\n", Finding.SYNTAX_ERROR, "Line 2"),
        ("x = 1\0", Finding.SYNTAX_ERROR, "null"),
        (f"x = {'-' * 200_000}1", Finding.SYNTAX_ERROR, "nested too deeply"),
        (f"x = {'+'.join('1' * 50_000)}", Finding.SYNTAX_ERROR, "recursion"),
        (f"@triton.jit({'-' * 900}1)\ndef kernel(x): ...", Finding.MISSING_ENTRY_POINT, "Rename"),
        ("def helper(x): ...", Finding.MISSING_ENTRY_POINT, "class ModelNew"),
        ("@triton.jit\ndef kernel(x): ...", Finding.MISSING_ENTRY_POINT, "Rename"),
    ],
)
def test_what_cannot_be_an_entry_point_is_refused_with_advice(source, finding, text):
    with pytest.raises(CandidateError, match=text) as caught:
        read(source)

    assert caught.value.finding is finding


def test_import_errors_show_the_authors_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    language = get_language("triton")
    candidate = Candidate(language="triton", source="import no_such_module\ndef kernel(x): ...")
    artifact = language.build(candidate, get_platform("cpu"), tmp_path, 1.0)

    with pytest.raises(CandidateError, match="No module named 'no_such_module'") as caught:
        language.load(artifact, interpret=False)

    assert caught.value.finding is Finding.IMPORT_ERROR
    assert "line 1, in <module>\n    import no_such_module" in caught.value.log
    assert "importlib" not in caught.value.log


def test_a_process_can_interpret_and_compile_in_turn(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BOTH_WAYS], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.stdout == "both ways\n", done.stderr
