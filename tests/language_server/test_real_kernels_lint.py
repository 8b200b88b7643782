"""The benchmark over other people's kernels: what it counts, and that a false error fails it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.language_server.lint_samples import kernel

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "real_kernels_lint.py"
GOOD = kernel("r = tl.arange(0, 128)\ntl.store(x_ptr + r, 1.0, mask=r < n)", "x_ptr, n")
BAD = kernel("r = tl.arange(0, 100)\ntl.store(x_ptr + r, 1.0, mask=r < n)", "x_ptr, n")


def run(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Its exit code and result."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), str(folder), "--json", str(folder / "result.json"), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "result.json").is_file(), done.stderr
    return done.returncode, json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_errors_about_what_is_refused_are_true(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "half.py").write_text("import triton\n@triton.jit\ndef k(")

    code, result = run(tmp_path)

    assert code == 0
    assert result["files"] == 3
    assert (result["exceptions"], result["false_errors"]) == ([], [])
    assert result["asked"]["compiled"] == 1
    assert [(each["code"], each["count"]) for each in result["lints"]] == [("KE101", 1)]


@pytest.mark.slow
def test_an_error_about_a_kernel_that_compiles_is_a_failure(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    # The text says one thing and the module another: what compiles is not what is read.
    helper = "@triton.jit\ndef helper():\n    tl.program_id(3)\n\n\n"
    text = GOOD.replace("@triton.jit", helper + "@triton.jit", 1).replace("    r =", "    helper()\n    r =", 1)
    text += "\n\n@triton.jit\ndef replacement():\n    pass\n\n\nhelper = replacement\n"
    (tmp_path / "kernel.py").write_text(text)

    code, result = run(tmp_path)

    assert code == 1
    assert len(result["false_errors"]) == 1
    assert "KE410" in result["false_errors"][0]
