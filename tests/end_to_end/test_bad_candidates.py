"""Every way to be refused has a status and a text that says what to change; the next candidate is unharmed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelevolve.evaluation.finding import Finding, Status
from tests.conftest import SCALE_CPP, SCALE_TRITON, Give

CPP = {
    "missing entry point": ("int f() { return 1; }", Finding.MISSING_ENTRY_POINT),
    "syntax error": (SCALE_CPP.replace("float* to", "float* to to"), Finding.COMPILER_ERROR),
    "endless loop": (SCALE_CPP.replace("++i)", ")"), Finding.TIME_LIMIT),
    "segmentation fault": (SCALE_CPP.replace("to[i]", "to[i + (int64_t(1) << 40)]"), Finding.SEGMENTATION_FAULT),
    "out of memory": (
        "#include <vector>\n" + SCALE_CPP.replace("{", "{ std::vector<char> hoard(int64_t(1) << 42, 'x');", 1),
        Finding.OUT_OF_MEMORY,
    ),
    "abort": ("#include <cstdlib>\n" + SCALE_CPP.replace("{", "{ std::abort();", 1), Finding.PROCESS_DIED),
    "exit": ("#include <cstdlib>\n" + SCALE_CPP.replace("{", "{ std::_Exit(0);", 1), Finding.PROCESS_DIED),
    "exception": ("#include <stdexcept>\n" + SCALE_CPP.replace("{", '{ throw std::runtime_error("no");', 1),
                  Finding.EXCEPTION),
    "wrong values": (SCALE_CPP.replace("1.0f;", "1.001f;"), Finding.WRONG_VALUES),
    "tail not written": (SCALE_CPP.replace("i < x.numel()", "i < x.numel() - 1"), Finding.OUTPUT_NOT_WRITTEN),
    "input changed": (
        SCALE_CPP.replace("  }", "}").replace("1.0f;\n", "1.0f;\n  const_cast<float*>(from)[0] = 0.0f;\n"),
        Finding.INPUT_MODIFIED,
    ),
    "too few arguments": ("void kernel(TensorView x) {}", Finding.EXCEPTION),
    "flag that is not allowed": ("// kernelevolve: flags -fplugin=x.so\n" + SCALE_CPP, Finding.FORBIDDEN_CONSTRUCT),
    "file of the machine": ('#include "/etc/hostname"\n' + SCALE_CPP, Finding.FORBIDDEN_CONSTRUCT),
}  # fmt: skip

TRITON = {
    "missing entry point": ("import triton\n", Finding.MISSING_ENTRY_POINT),
    "syntax error": ("def kernel(x:\n    return x\n", Finding.SYNTAX_ERROR),
    "import error": ("import a_module_that_is_not_there\ndef kernel(x):\n    return x\n", Finding.IMPORT_ERROR),
    "other shape": (SCALE_TRITON.replace("return y", "return y[:-1]"), Finding.WRONG_SHAPE),
    "other dtype": (SCALE_TRITON.replace("return y", "return y.double()"), Finding.WRONG_DTYPE),
    "no tensor": (SCALE_TRITON.replace("return y", "return 'done'"), Finding.WRONG_TYPE),
    "nothing": (SCALE_TRITON.replace("return y", "return None"), Finding.WRONG_OUTPUT_COUNT),
    "the input itself": (SCALE_TRITON.replace("return y", "x.copy_(y); return x"), Finding.OUTPUT_ALIASES_INPUT),
    "input changed": (SCALE_TRITON.replace("return y", "x.add_(1.0); return y"), Finding.INPUT_MODIFIED),
    "block not a power of two": (SCALE_TRITON.replace("256", "200"), Finding.COMPILER_ERROR),
    "endless loop": (SCALE_TRITON.replace("    return y", "    while True:\n        pass"), Finding.TIME_LIMIT),
    "strides ignored": (SCALE_TRITON.replace("x = x.contiguous()", "pass"), Finding.WRONG_ON_STRIDED_INPUT),
}


@pytest.mark.parametrize("name", CPP)
def test_refuses_bad_cpp(give: Give, name: str) -> None:
    source, finding = CPP[name]
    entry = give(source, limit_s=3.0 if finding is Finding.TIME_LIMIT else 30.0).platforms[0]
    assert entry.diagnosis is not None
    assert entry.diagnosis.finding is finding, entry.diagnosis
    assert entry.status is entry.diagnosis.status
    assert entry.diagnosis.advice
    assert len(entry.diagnosis.summary) < 600


@pytest.mark.parametrize("name", TRITON)
def test_refuses_bad_triton(give: Give, name: str) -> None:
    source, finding = TRITON[name]
    limit_s = 5.0 if finding is Finding.TIME_LIMIT else 30.0
    entry = give(source, "triton", platform="cuda:sm_90", limit_s=limit_s).platforms[0]
    assert entry.diagnosis is not None
    assert entry.diagnosis.finding is finding, entry.diagnosis
    assert entry.diagnosis.advice or entry.diagnosis.log


def test_a_verdict_on_an_error_that_utf_8_cannot_write_can_be_stored(give: Give) -> None:
    source = SCALE_TRITON.replace("def kernel(x):", 'def kernel(x):\n    raise ValueError("half a pair: \\ud800")')

    verdict = give(source, "triton", platform="cuda:sm_90")

    assert "half a pair: ?" in verdict.model_dump_json()


def test_an_error_in_a_hidden_case_does_not_tell_what_the_case_is(give: Give, tmp_path: Path) -> None:
    task = tmp_path / "task.py"
    task.write_text(
        "import torch\nCASES = {'shown': {'rows': 8}, 'other': {'rows': 4711, 'hidden': True}}\n"
        "def make_inputs(case):\n    return (torch.randn(case.rows, 3),)\ndef reference(x):\n    return 2.0 * x + 1.0\n"
    )
    tell = 'if (x.size(0) != 8) { printf("rows %d\\n", (int)x.size(0)); '
    tell += 'throw std::runtime_error("rows " + std::to_string(x.size(0))); }'
    source = "#include <cstdio>\n#include <stdexcept>\n#include <string>\n" + SCALE_CPP.replace("{", "{ " + tell, 1)

    verdict = give(source, task=task)

    assert verdict.platforms[0].diagnosis is not None
    assert verdict.platforms[0].diagnosis.finding is Finding.EXCEPTION
    assert "4711" not in verdict.model_dump_json().replace(source, "")


def test_judge_is_unharmed_by_all_of_these(give: Give) -> None:
    assert give(SCALE_CPP).status is Status.CORRECT
    assert give(SCALE_TRITON, "triton", platform="hip:gfx950").status is Status.CORRECT
