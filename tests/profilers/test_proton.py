"""Proton: the instrumented copy of a source, and the files that it writes."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernelevolve.profilers.proton import ProtonProfiler, _kernels, _scopes_of, _tree, with_scopes
from kernelevolve.profilers.report import PartState
from kernelevolve.profilers.subject import TargetRun

SOURCE = '''"""A module."""
from __future__ import annotations
import triton
import triton.language as tl

@triton.jit
def work(x, y, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n, BLOCK):
        total += tl.load(x + start + lanes)
    tl.store(y, tl.sum(total))

def kernel(x):
    work[(1,)](x, x, 5, BLOCK=16)
'''


def node(name: str, children: list[Any] | None = None, **metrics: Any) -> dict[str, Any]:
    return {"children": children or [], "frame": {"name": name, "type": "function"}, "metrics": metrics}


def test_scopes_are_balanced_and_named_by_the_lines_of_the_source() -> None:
    text, count = with_scopes(SOURCE)
    assert count == 3
    entered = [line.strip() for line in text.splitlines() if "enter_scope" in line]
    left = [line.strip() for line in text.splitlines() if "exit_scope" in line]
    assert entered == [
        "_scopes.enter_scope('loop 10')",
        "_scopes.enter_scope('line 11')",
        "_scopes.enter_scope('line 12')",
    ]
    assert sorted(line.partition("(")[2] for line in entered) == sorted(line.partition("(")[2] for line in left)


def test_docstring_and_future_imports_stay_first() -> None:
    text, _count = with_scopes(SOURCE)
    body = ast.parse(text).body
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[1], ast.ImportFrom)
    assert body[1].module == "__future__"
    compile(text, "candidate", "exec")


def test_host_code_is_left_alone() -> None:
    text, _count = with_scopes(SOURCE)
    kernel = next(entry for entry in ast.parse(text).body if getattr(entry, "name", "") == "kernel")
    assert "_scopes" not in ast.unparse(kernel)


def test_what_is_called_is_not_instrumented_without_a_decorator() -> None:
    assert with_scopes("def helper(x):\n    return load(x)\n")[1] == 0


def test_at_most_so_many_scopes() -> None:
    body = "".join(f"    x{index} = tl.load(p + {index})\n" for index in range(60))
    assert with_scopes(f"import triton\n@triton.jit\ndef k(p):\n{body}")[1] == 24


def test_kernel_times_are_of_one_launch(tmp_path: Path) -> None:
    roots = [node("ROOT", [node("a", count=20, **{"time (ns)": 4000}), node("b", count=10, **{"time (ns)": 9000})])]
    path = tmp_path / "kernels.hatchet"
    path.write_text(json.dumps([*roots, {"CUDA": {}}]))
    second, first = _kernels(_tree(path), runs=10)
    assert (second.kernel, second.calls) == ("b", 1)
    assert (first.kernel, first.calls) == ("a", 2)
    assert first.time_s is not None
    assert first.time_s.value == pytest.approx(2e-7)


def test_scopes_are_shares_of_the_longest(tmp_path: Path) -> None:
    inner = node("line 11", cycles=600, normalized_cycles=60.0)
    tree = [node("ROOT", [node("work", [node("loop 10", [inner], cycles=1000, normalized_cycles=100.0)])])]
    scopes = _scopes_of(tree)
    assert [(scope.name, scope.cycles, scope.share) for scope in scopes["work"]] == [
        ("loop 10", 100.0, 1.0), ("line 11", 60.0, 0.6),
    ]  # fmt: skip


def test_times_are_kept_where_the_instrumented_copy_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "kernels.hatchet").write_text(
        json.dumps([node("ROOT", [node("work", count=10, **{"time (ns)": 1000})])])
    )
    answers = iter([{"runs": 10}, {"failed": "CompilationError: no such builtin"}])

    def run(*_arguments: Any, **_options: Any) -> TargetRun:
        return TargetRun(next(answers), tmp_path, "", 0, timed_out=False, took_s=1.0)

    subject: Any = SimpleNamespace(
        run=run,
        platform=SimpleNamespace(family="cuda"),
        candidate=SimpleNamespace(source=SOURCE, language="triton"),
    )
    observation = ProtonProfiler().observe(subject)
    assert observation.state is PartState.PARTIAL
    assert "no such builtin" in observation.why
    assert observation.kernels[0].kernel == "work"
