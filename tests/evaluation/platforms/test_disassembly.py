from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.languages.triton_launches import compile_launch, record_launches
from kernelevolve.evaluation.platforms import disassembly
from kernelevolve.evaluation.platforms.disassembly import disassemble

STORE = "    tl.store(out + tl.program_id(0), tl.sum(tl.load(x + index), 0))"


@triton.jit
def row_sum(x, out, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(out + tl.program_id(0), tl.sum(tl.load(x + index), 0))


@pytest.fixture(scope="module")
def cubin(tmp_path_factory) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        x = torch.empty(1024, device="meta")
        [launch] = record_launches(lambda: row_sum[(1,)](x, x, 1024), (), {})
        return compile_launch(launch, "cuda:sm_90").artifact


def test_instructions_come_with_the_line_that_called_the_library(cubin):
    text = disassemble(cubin)

    store = Path(__file__).read_text().splitlines().index(STORE) + 1
    assert ".text.row_sum" in text
    assert "STG.E" in text
    assert f'inlined at "{__file__}", line {store}' in text


def test_what_is_no_cubin_is_refused():
    with pytest.raises(PlatformError, match="cannot be disassembled: nvdisasm failed") as caught:
        disassemble(b"no ELF file")

    assert caught.value.finding is Finding.INTERNAL
    assert "/tmp" not in str(caught.value)


def test_a_missing_nvdisasm_comes_with_advice(cubin, monkeypatch, tmp_path):
    monkeypatch.setattr(disassembly, "packaged_tool", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PlatformError, match="Install triton or the CUDA toolkit") as caught:
        disassemble(cubin)

    assert caught.value.finding is Finding.COMPILER_MISSING


def test_the_toolkit_s_nvdisasm_serves_where_triton_has_none(cubin, monkeypatch, tmp_path):
    packaged = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    (tmp_path / "nvdisasm").symlink_to(packaged)
    expected = disassemble(cubin)
    monkeypatch.setattr(disassembly, "packaged_tool", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert disassemble(cubin) == expected


def test_a_tool_that_hangs_is_stopped(cubin, monkeypatch, tmp_path):
    hanging = tmp_path / "nvdisasm"
    hanging.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(disassembly, "packaged_tool", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(disassembly, "_LIMIT_S", 0.2)

    with pytest.raises(PlatformError, match=r"stopped after 0\.2 s") as caught:
        disassemble(cubin)

    assert isinstance(caught.value.__cause__, subprocess.TimeoutExpired)
