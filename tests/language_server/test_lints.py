"""What the editor says about Triton code without compiling it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.server.language_server.lints import RULES, Lint, lint
from tests.language_server.lint_samples import HEAD, SAMPLES, Sample, kernel

HERE = Path(__file__).parent
EXAMPLES = sorted((HERE.parents[1] / "examples").rglob("triton*.py"))


def codes(text: str) -> list[tuple[str, str]]:
    return [(each.code, each.severity) for each in lint(text)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_rule_speaks_of_the_mistake_and_not_of_its_honest_twin(sample: Sample) -> None:
    assert codes(sample.bad) == [(sample.code, sample.severity)]
    assert codes(sample.good) == []


def test_every_rule_has_a_sample() -> None:
    assert set(RULES) - {sample.code for sample in SAMPLES} == {"KE901"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Sequence[tuple[str | None, str | None]]:
    """What Triton says about each sample's mistake and twin."""
    pytest.importorskip("triton", reason="Triton is not installed")
    texts = [text for sample in SAMPLES for text in (sample.bad, sample.good)]
    cache = tmp_path_factory.mktemp("triton")
    child = subprocess.run(
        [sys.executable, str(HERE / "compile_samples.py")],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_CACHE_DIR": str(cache)},
        check=True,
    )
    found = json.loads(child.stdout.splitlines()[-1])
    return list(zip(found[::2], found[1::2], strict=True))


@pytest.mark.parametrize("number", range(len(SAMPLES)), ids=lambda number: SAMPLES[number].name)
def test_triton_agrees(number: int, answers: Sequence[tuple[str | None, str | None]]) -> None:
    sample, (bad, good) = SAMPLES[number], answers[number]

    assert good is None, good
    if sample.severity == "error":
        assert sample.compiles is False
    if sample.compiles is not None:
        assert (bad is None) == sample.compiles, bad


def test_a_remark_has_a_place_a_way_out_and_a_document() -> None:
    text = kernel("r = tl.arange(0, 100)\ntl.store(x_ptr + r, 1.0, mask=r < n)")
    (found,) = lint(text)

    row = text.splitlines()[found.line]
    assert row[found.column : found.end_column] == "tl.arange(0, 100)"
    assert found.line == found.end_line
    assert "128" in found.message
    assert found.documentation == "knowledge://constraints/triton_block_shapes"


def test_documents_exist() -> None:
    from kernelevolve.server.language_server.notes import page

    for rule in RULES.values():
        if rule.document:
            assert page(rule.document) is not None, rule


def test_columns_count_code_points() -> None:
    text = kernel('tl.static_print("größe 🐙"); r = tl.arange(0, 100); tl.store(x_ptr + r, 1.0, mask=r < n)')
    (found,) = lint(text)

    assert text.splitlines()[found.line][found.column : found.end_column] == "tl.arange(0, 100)"


@pytest.mark.parametrize("comment", ["# noqa", "# noqa: KE101", "# NOQA:KE999, KE101", "# noqa: E501 KE101"])
def test_noqa_silences(comment: str) -> None:
    text = kernel(f"r = tl.arange(0, 100)  {comment}\ntl.store(x_ptr + r, 1.0, mask=r < n)")

    assert codes(text) == []


def test_noqa_of_another_rule_does_not() -> None:
    text = kernel("r = tl.arange(0, 100)  # noqa: KE102\ntl.store(x_ptr + r, 1.0, mask=r < n)")

    assert codes(text) == [("KE101", "error")]


def test_other_names_of_triton_are_understood() -> None:
    text = "from triton import jit as j, language as L\n\n@j\ndef kernel(p):\n    L.store(p + L.arange(0, 3), 1.0)\n"

    assert codes(text) == [("KE101", "error")]


def test_gluon_is_left_alone() -> None:
    text = """
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
import triton.language as tl

@gluon.jit
def kernel(p, N: gl.constexpr):
    x = gl.arange(0, 100, layout=gl.BlockedLayout([1], [32], [4], [0]))
    break_me = tl.nothing_like_this
"""
    assert lint(text) == []


def test_what_a_constant_condition_may_leave_out_is_no_error() -> None:
    body = "if FLAG:\n    r = tl.arange(0, 100)\n    tl.store(x_ptr + r, 1.0, mask=r < n)"
    text = kernel(body, "x_ptr, n, FLAG: tl.constexpr = False")

    assert codes(text) == [("KE101", "warning")]


def test_what_follows_a_return_may_never_be_compiled() -> None:
    body = "if n > 3:\n    return\nr = tl.arange(0, 100)\ntl.store(x_ptr + r, 1.0, mask=r < n)"

    assert codes(kernel(body)) == [("KE101", "warning")]


def test_numbers_come_from_configurations_and_launches() -> None:
    tuned = HEAD + (
        'configs = [triton.Config({"BLOCK": 48}), triton.Config({"BLOCK": 64})]\n\n\n'
        '@triton.autotune(configs=configs, key=["n"])\n@triton.jit\ndef kernel(x_ptr, n, BLOCK: tl.constexpr):\n'
        "    r = tl.arange(0, BLOCK)\n    tl.store(x_ptr + r, 1.0, mask=r < n)\n"
    )
    launched = kernel("r = tl.arange(0, BLOCK)\ntl.store(x_ptr + r, 1.0, mask=r < n)", "x_ptr, n, BLOCK: tl.constexpr")
    launched = launched.replace("(*arguments)\n", "(*arguments, BLOCK=80)\n")

    assert ["48" in each.message for each in lint(tuned)] == [True]
    assert ["80" in each.message for each in lint(launched)] == [True]


def test_a_functions_plain_parameters_may_be_constants() -> None:
    """A `@triton.jit` function that only kernels call gets what they pass."""
    text = f"{HEAD}\n@triton.jit\ndef helper(p, size):\n    return tl.load(p + tl.arange(0, size))\n"

    assert codes(text) == []


def test_lanes_masked_along_another_axis_reach_no_result() -> None:
    body = """
    r = tl.arange(0, 16)
    c = tl.arange(0, 32)
    x = tl.load(x_ptr + r[:, None] * 32 + c[None, :], mask=r[:, None] < n)
    tl.store(y_ptr + r, tl.max(x, axis={axis}), mask=r < n)
    """
    assert codes(kernel(body.format(axis=1))) == []
    assert [each.code for each in lint(kernel(body.format(axis=0)))] == ["KE202"]


def test_half_typed_text_keeps_the_remarks_about_the_rest() -> None:
    finished = kernel("r = tl.arange(0, 100)\ntl.store(x_ptr + r, 1.0, mask=r < n)")
    text = finished + "\n\n@triton.jit\ndef next_one(x_ptr, n\n    y = tl.load(\n"

    assert lint(text) == lint(finished)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_have_no_errors_at_any_keystroke(path: Path) -> None:
    """What was typed so far, every few characters: never an exception, and no error that the whole does not have."""
    text = path.read_text(encoding="utf-8")

    assert [each for each in lint(text) if each.severity == "error"] == []
    for end in range(0, len(text), max(1, len(text) // 150)):
        assert all(isinstance(each, Lint) for each in lint(text[:end]))
        lint(text[:end] + text[end + 7 :])


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_is_answered(text: str) -> None:
    lint(f"import triton\n{text}")
    lint(f"{HEAD}\n@triton.jit\ndef kernel(p):\n    {text}")


@pytest.mark.parametrize(
    "text",
    ["triton\0", "triton" + "(" * 5000, "triton\n" + "x = " + "-" * 20_000 + "1", "\ufefftriton", "triton\r\n@\r\n"],
)
def test_texts_that_break_parsers_are_answered(text: str) -> None:
    assert lint(text) == []


def test_code_too_deep_for_pythons_stack_is_said_so() -> None:
    text = kernel("x = " + " + ".join(["n"] * 2000) + "\ntl.store(x_ptr, x)")

    assert codes(text) == [("KE901", "information")]


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from kernelevolve.server.language_server.lints import lint; lint('import triton\\n@triton.jit'); "
    )
    code += "print(sorted({'torch', 'triton', 'lancedb', 'numpy', 'pydantic', 'mcp'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_python_warns_nobody_about_half_typed_text() -> None:
    code = "from kernelevolve.server.language_server.lints import lint; lint('import triton\\nx = 1if 2else 3')"
    child = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=True)

    assert child.stderr == ""
