"""Exporting: what is chosen, what is written, what is refused; and that the module works where kernelevolve is not."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, TaskError
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.verdict import PlatformVerdict
from kernelevolve.search.errors import SearchError
from kernelevolve.search.export.module import literal, reference_text
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT
from kernelevolve.tools.export_kernel import export_kernel, stored_export, summary_text
from kernelevolve.tools.export_summary import ExportRequest
from kernelevolve.tools.judges import JudgePool
from kernelevolve.tools.searches import start_search
from tests.export.conftest import EVEN, FAST, SLOW, Load
from tests.export.support import EXAMPLES, ROWS_CPP, ROWS_TASK, ROWS_TRITON, Shelf, run_apart

TRITON = Candidate(language="triton", source=ROWS_TRITON, name="triton.py")
ALL_EVEN = {"wide": EVEN, "tall": EVEN, "odd": EVEN}


def judge_module(shelf: Shelf, task: Path, text: str, platform: str = "cpu") -> PlatformVerdict:
    request = JudgeRequest(
        task=str(task), candidate=Candidate(language="export", source=text), platforms=(platform,), timed_calls=0
    )
    with shelf.pool.lend() as judge:
        return judge.judge(request).of(platform)


def test_the_summary_says_what_is_used_where_and_what_the_judge_said(shelf: Shelf, rows_search: str) -> None:
    summary, text = export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=rows_search))
    used = {case.case: (case.node_id, case.low) for case in summary.cases}
    assert used == {"wide": (f"{rows_search}.0", 1.9), "tall": (f"{rows_search}.1", 2.9)}
    (judged,) = summary.judged
    assert (judged.status, judged.level) == (Status.CORRECT, "executed")
    assert judged.checks > len(summary.cases)
    said = summary_text(summary)
    assert len(said) <= TEXT_LIMIT
    assert "not confirmed" in said
    receipts = [json.loads(line) for line in (shelf.state / "receipts.jsonl").read_text().splitlines()]
    assert summary.receipt_hashes[0] in {receipt["receipt_hash"] for receipt in receipts}
    assert stored_export(shelf.state, rows_search) == text


def test_the_module_says_what_stands_behind_it(shelf: Shelf, rows_search: str, rows_text: str) -> None:
    said = ast.get_docstring(ast.parse(rows_text)) or ""
    nodes = [shelf.store.node(f"{rows_search}.{step}") for step in (0, 1)]
    for node in nodes:
        assert shelf.store.verdict(node).receipt.receipt_hash in said
        assert node.source_hash in said
    device = shelf.store.verdict(nodes[0]).receipt.devices["cpu"]["device"]
    for words in ("2.000x [1.900, 2.100]", "3.000x", f"executed on {device}", "torch 2", "not confirmed", "Apache-2.0"):
        assert words in said
    assert all(len(line) <= 120 for line in said.splitlines())


def test_the_same_nodes_give_the_same_bytes(shelf: Shelf, rows_search: str, rows_text: str) -> None:
    again = export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=rows_search, steps=(1, 0)))[1]
    assert again == export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=rows_search, steps=(1, 0)))[1]
    assert rows_text == export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=rows_search))[1]


def test_hidden_cases_stay_hidden(rows_text: str) -> None:
    assert '"odd"' in ROWS_TASK
    assert "odd" not in rows_text.replace("_odd", "").split("# -- how calls are dispatched")[0]
    assert "37" not in {str(node.value) for node in ast.walk(ast.parse(rows_text)) if isinstance(node, ast.Constant)}


def test_it_works_where_kernelevolve_is_not_installed(rows_text: str, tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(rows_text)
    program = """
import torch, rows
x, scale = torch.randn(4, 512), torch.randn(512)
torch.testing.assert_close(rows.kernel(x, scale, 0.5), x * scale + 0.5)
assert sum(rows.dispatch_report()["kernels"].values()) == 1
assert not [name for name in sys.modules if name.split(".")[0] == "kernelevolve"]
try:
    import kernelevolve.evaluation
except ImportError:
    print("blocked and fine")
"""
    done = run_apart(tmp_path, program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "blocked and fine"
    assert list((tmp_path / "cache").glob("*.so"))


def test_check_prints_a_table_and_notices_a_wrong_kernel(rows_text: str, tmp_path: Path, kernel_cache: Path) -> None:
    def check(text: str, *words: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "rows.py"
        path.write_text(text)
        environment = {"KERNELEVOLVE_EXPORT_CACHE": str(kernel_cache), "PATH": "/usr/bin:/bin"}
        command = [sys.executable, str(path), "--check", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)

    right = check(rows_text)
    assert right.returncode == 0, right.stdout + right.stderr
    assert [line.split()[0] for line in right.stdout.splitlines()] == ["case", "wide", "tall", "2"]
    wrong = check(rows_text.replace("* by[c] + static_cast", "* by[c] - static_cast"))
    assert wrong.returncode == 1
    assert wrong.stdout.count("WRONG") == 2
    device = "'platforms': {'cpu': {'device': "
    elsewhere = rows_text.replace(device, device + "'Another ' + ", 1)
    assert check(elsewhere).returncode == 1
    assert "any_device" in check(elsewhere).stdout
    assert check(elsewhere, "--any-device").returncode == 0


def test_a_module_that_does_not_choose_what_its_plan_says_is_refused(
    shelf: Shelf, rows_task: Path, rows_text: str
) -> None:
    assert judge_module(shelf, rows_task, rows_text).status is Status.CORRECT
    astray = rows_text.replace("entry = min(entries,", "entry = max(entries,")
    assert astray != rows_text
    verdict = judge_module(shelf, rows_task, astray)
    assert verdict.status is Status.RUNTIME_ERROR
    assert verdict.diagnosis is not None
    assert "does not choose what was planned for case wide" in verdict.diagnosis.summary
    shy = rows_text.replace(
        "            platform = self._platform(tensors)", "            raise NotCheckedError('shy', 'no')"
    )
    assert shy != rows_text
    verdict = judge_module(shelf, rows_task, shy)
    assert verdict.status is Status.RUNTIME_ERROR
    assert verdict.diagnosis is not None
    assert "shy: no" in verdict.diagnosis.summary


def test_a_module_with_a_wrong_kernel_is_refused(shelf: Shelf, rows_task: Path, rows_text: str) -> None:
    verdict = judge_module(shelf, rows_task, rows_text.replace("* by[c] + static_cast", "* by[c] - static_cast"))
    assert verdict.status is Status.WRONG
    text = judge_module(shelf, rows_task, "def kernel(x, scale, shift):\n    return x * scale + shift\n")
    assert text.diagnosis is not None
    assert "no PLAN" in text.diagnosis.summary
    for plan in ("{}", "[]", "{'kernels': [{}]}", "__import__('os').getcwd()"):
        verdict = judge_module(shelf, rows_task, f"PLAN: dict = {plan}\ndef kernel(x, scale, shift):\n    return x\n")
        assert verdict.status is Status.RULE_VIOLATION


def test_no_search_starts_from_an_export(shelf: Shelf, rows_task: Path, rows_text: str) -> None:
    """It carries the reference, so it would be a search's best without a kernel."""
    with pytest.raises(SearchError, match="can't start from 'export'"):
        start_search(
            shelf.pool,
            shelf.store,
            str(rows_task),
            "cpu",
            "greedy",
            "assistant",
            OptimizeOptions(),
            rows_text,
            "export",
        )


def test_an_export_is_refused_where_only_its_parts_are_right(
    shelf: Shelf, rows_search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something goes wrong between the nodes and the module: nothing may be handed over."""
    from kernelevolve.tools import export_kernel as tool

    def swapped(*given: object) -> object:
        plan, used = make_plan(*given)  # type: ignore[arg-type]
        for kernel in plan["kernels"]:
            kernel["build"]["files"]["prelude.h"] += "#define static_cast reinterpret_cast\n"
        return plan, used

    make_plan = tool.make_plan
    monkeypatch.setattr(tool, "make_plan", swapped)
    before = stored_export(shelf.state, rows_search)
    with pytest.raises(CandidateError, match="refused a kernel of this export"):
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=rows_search))
    assert stored_export(shelf.state, rows_search) == before


def test_where_the_reference_is_faster_it_is_the_plan(shelf: Shelf, rows_task: Path, load: Load) -> None:
    times = {"wide": (1.9, 2.0, 2.1), "tall": (0.4, 0.5, 0.6), "odd": EVEN}
    search_id = shelf.search(rows_task, (SLOW, times))
    summary, text = export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))
    assert {case.case: case.node_id for case in summary.cases} == {"wide": f"{search_id}.0", "tall": None}
    module = load(text)
    module.configure(on_fallback="raise")
    x, scale = torch.randn(300, 16), torch.randn(16)
    assert module.explain(x, scale, 0.5)["kind"] == "planned"
    torch.testing.assert_close(module.kernel(x, scale, 0.5), x * scale + 0.5)
    assert module.dispatch_report()["reference_faster"] == 1
    assert module.dispatch_report()["fallbacks"] == {}


def test_an_unclear_difference_does_not_bring_a_second_kernel(shelf: Shelf, rows_task: Path) -> None:
    first = {"wide": (1.5, 2.0, 2.5), "tall": (1.5, 2.0, 2.5), "odd": EVEN}
    second = {"wide": (2.0, 2.2, 2.7), "tall": EVEN, "odd": EVEN}
    search_id = shelf.search(rows_task, (SLOW, first), (FAST, second))
    summary, _text = export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))
    assert [node.node_id for node in summary.nodes] == [f"{search_id}.0"]


def test_odd_signs_in_a_source_arrive_as_they_are(shelf: Shelf, rows_task: Path, load: Load) -> None:
    odd = "// \\ ''' \"\"\" \\n é 漢 {} %s \t '\n"
    search_id = shelf.search(rows_task, (Candidate(language="cpp", source=odd + ROWS_CPP + "// '"), ALL_EVEN))
    _summary, text = export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))
    (kept,) = load(text).SOURCES
    assert kept == odd + ROWS_CPP + "// '"
    for text in (odd, "'", "\\", "a\r\nb\rc", "\x00", "\x0c\n\x1c", "", "\n", "x'''"):
        assert ast.literal_eval(literal(text)) == text


@pytest.mark.parametrize("example", ["softmax", "map_id"])
def test_examples_export(shelf: Shelf, example: str, load: Load) -> None:
    candidate = Candidate.from_file(EXAMPLES / example / "kernel.cpp")
    task = EXAMPLES / example / "task.py"
    with shelf.pool.lend() as judge:
        cases = [case["name"] for case in judge.describe_task(str(task))["cases"]]
    search_id = shelf.search(task, (candidate, dict.fromkeys(cases, EVEN)))
    _summary, text = export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))
    module = load(text)
    module.configure(on_fallback="raise")
    if example == "softmax":
        x = torch.randn(100, 1500)
        torch.testing.assert_close(module.kernel(x), torch.softmax(x, -1))
    else:
        ids, table = torch.tensor([100, 300, 500, 200, 999] * 2000), torch.arange(100, 10100, 100)
        assert module.kernel(ids, table)[:5].tolist() == [1, 3, 5, 2, 0]


def test_operators_of_torch_export(shelf: Shelf, load: Load, tmp_path: Path) -> None:
    pytest.importorskip("expecttest", reason="torch's operator database needs expecttest")
    source = """#include <cmath>
void kernel(TensorView x, TensorView out) {
  for (int64_t i = 0; i < x.numel(); ++i)
    static_cast<float*>(out.data_ptr())[i] = std::fabs(static_cast<float*>(x.data_ptr())[i]);
}
"""
    with shelf.pool.lend() as judge:
        names = [case["name"] for case in judge.describe_task("aten::abs")["cases"]]
    search_id = shelf.search("aten::abs", (Candidate(language="cpp", source=source), dict.fromkeys(names, EVEN)))
    _summary, text = export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))
    module = load(text)
    assert "reference = torch.abs" in module.REFERENCE
    module.configure(on_fallback="raise")
    x = torch.randn(20, 20)
    assert torch.equal(module.kernel(x), x.abs())
    (tmp_path / "absolute.py").write_text(text)
    program = "import runpy; sys.argv = ['x', '--check']; runpy.run_path('absolute.py', run_name='__main__')"
    done = run_apart(tmp_path, program)
    assert f"{len(module.PLAN['cases'])} of {len(module.PLAN['cases'])} right" in done.stdout, done.stdout + done.stderr


NESTED_TASK = """import torch
CASES = {"a": {"n": 64}, "b": {"n": 4096}}
def make_inputs(case):
    return {"x": torch.randn(case.n), "pair": [torch.randn(case.n), torch.randn(3)]}
def reference(x, pair):
    return {"sum": x + pair[0], "both": (x - pair[0], pair[1] * 2)}
"""
NESTED_CPP = """void kernel(TensorView x, TensorView y, TensorView z, TensorView a, TensorView b, TensorView c) {
  auto p = [](TensorView t) { return static_cast<float*>(t.data_ptr()); };
  for (int64_t i = 0; i < x.numel(); ++i) { p(a)[i] = p(x)[i] + p(y)[i]; p(b)[i] = p(x)[i] - p(y)[i]; }
  for (int64_t i = 0; i < z.numel(); ++i) p(c)[i] = p(z)[i] * 2;
}
"""


def test_nested_arguments_and_results_keep_the_reference_s_form(shelf: Shelf, tmp_path: Path, load: Load) -> None:
    task = tmp_path / "nested.py"
    task.write_text(NESTED_TASK)
    search_id = shelf.search(task, (Candidate(language="cpp", source=NESTED_CPP), {"a": EVEN, "b": EVEN}))
    module = load(export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))[1])
    module.configure(on_fallback="raise")
    x, y, z = torch.randn(100), torch.randn(100), torch.randn(3)
    for call in (module.kernel(x=x, pair=[y, z]), module.kernel(x, [y, z])):
        assert torch.equal(call["sum"], x + y)
        assert isinstance(call["both"], tuple)
        assert torch.equal(call["both"][1], z * 2)
    assert module.explain(x, (y, z))["kind"] == "arguments"


def test_outputs_whose_shape_follows_the_values_are_refused(shelf: Shelf, tmp_path: Path) -> None:
    """Nobody could give such a kernel memory to write to."""
    task = tmp_path / "positive.py"
    task.write_text(
        "import torch\nSPECIAL_VALUES = False\nCASES = {'a': {'n': 64}}\n"
        "def make_inputs(case):\n    return (torch.arange(1, case.n + 1) * torch.rand(case.n),)\n"
        "def reference(x):\n    return x[x > 0] * 2\n"
    )
    source = """void kernel(TensorView x, TensorView out) {
  for (int64_t i = 0; i < x.numel(); ++i)
    static_cast<float*>(out.data_ptr())[i] = 2 * static_cast<float*>(x.data_ptr())[i];
}
"""
    search_id = shelf.search(task, (Candidate(language="cpp", source=source), {"a": EVEN}))
    assert shelf.store.node(f"{search_id}.0").status == "correct"
    with pytest.raises(CandidateError, match="shapes of the outputs can't be found"):
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))


# -- Triton -----------------------------------------------------------------------------------------------------------


def test_triton_kernels_export_only_when_unexecuted_ones_are_allowed(
    shelf: Shelf, rows_task: Path, tmp_path: Path
) -> None:
    search_id = shelf.search(rows_task, (TRITON, None))
    with pytest.raises(SearchError, match="interpreted for cpu, not executed"):
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))
    request = ExportRequest(search_id=search_id, allow_unexecuted=True)
    summary, text = export_kernel(shelf.pool, shelf.store, request)
    assert summary.judged[0].level == "interpreted"
    assert "NOT EXECUTED" in text
    (tmp_path / "rows.py").write_text(text)
    program = """
import torch, rows
x, scale = torch.randn(4, 512), torch.randn(512)
rows.configure(on_fallback="ignore")
torch.testing.assert_close(rows.kernel(x, scale, 0.5), x * scale + 0.5)
print(rows.explain(x, scale, 0.5)["kind"], sum(rows.dispatch_report()["kernels"].values()))
"""
    interpreted = run_apart(tmp_path, program, TRITON_INTERPRET="1")
    assert interpreted.stdout.split() == ["kernel", "1"], interpreted.stderr
    assert run_apart(tmp_path, program, TRITON_INTERPRET="").stdout.split() == ["interpreter", "0"]


def test_kernels_for_a_gpu_that_is_not_here_fall_back_on_the_processor(
    shelf: Shelf, rows_task: Path, load: Load
) -> None:
    """One module for two platforms: the processor's kernel here, the GPU's where it is."""
    gpu = shelf.search(rows_task, (TRITON, None), platform="cuda:sm_90")
    processor = shelf.search(rows_task, (FAST, ALL_EVEN))
    request = ExportRequest(search_id=processor, also=(gpu,), allow_unexecuted=True)
    summary, text = export_kernel(shelf.pool, shelf.store, request)
    assert {entry.platform: entry.level for entry in summary.judged} == {
        "cpu": "executed",
        "cuda:sm_90": "interpreted" if not torch.cuda.is_available() else "executed",
    }
    x, scale = torch.randn(4, 512), torch.randn(512)
    module = load(text)
    assert module.explain(x, scale, 0.5)["kernel"] == f"{processor}.0"
    alone = load(
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=gpu, allow_unexecuted=True))[1]
    ).explain(x, scale, 0.5)
    assert alone["kind"] == "device"
    assert "checked was cuda:sm_90" in alone["why"]


CUDA = """
__global__ void rows(const float* x, const float* by, float shift, float* y, int64_t count, int64_t cols) {
  const int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < count) y[i] = x[i] * by[i % cols] + shift;
}
void kernel(TensorView x, TensorView scale, double shift, TensorView out) {
  const int64_t count = x.numel();
  rows<<<(count + 255) / 256, 256, 0, current_stream(x)>>>(
      static_cast<const float*>(x.data_ptr()), static_cast<const float*>(scale.data_ptr()), (float)shift,
      static_cast<float*>(out.data_ptr()), count, x.size(1));
}
"""


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_cuda_kernels_without_a_gpu_are_compiled_and_say_so(
    shelf: Shelf, rows_task: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here: tests/gpu/test_export.py runs the kernel")
    search_id = shelf.search(rows_task, (Candidate(language="cuda", source=CUDA), None), platform="cuda:sm_90")
    request = ExportRequest(search_id=search_id, allow_unexecuted=True)
    summary, text = export_kernel(shelf.pool, shelf.store, request)
    assert summary.judged[0].level == "compiled"
    assert "nobody has seen its results" in text
    module = load(text)
    assert module.explain(torch.randn(4, 512), torch.randn(512), 0.5)["kind"] == "device"
    # The module itself compiles it as the judge does, and it can be loaded.
    assert callable(module._dispatch._entry(0))
    broken = text.replace("if (i < count) y[i]", "if (i < count) z[i]")
    assert judge_module(shelf, rows_task, broken, "cuda:sm_90").status is Status.COMPILE_ERROR


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_nodes_that_are_not_correct_are_refused(shelf: Shelf, rows_task: Path) -> None:
    wrong = Candidate(language="cpp", source=ROWS_CPP.replace("] * by", "] + by"))
    search_id = shelf.search(rows_task, (wrong, None))
    with pytest.raises(SearchError, match="correct yet"):
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id))
    with pytest.raises(SearchError, match=r"\.0 is wrong"):
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id, steps=(0,), allow_unexecuted=True))


def test_a_refuted_node_is_refused(shelf: Shelf, rows_task: Path) -> None:
    search_id = shelf.search(rows_task, (SLOW, ALL_EVEN))
    wrong = Candidate(language="cpp", source=ROWS_CPP.replace("] * by", "] + by"))
    verdict = shelf.judged(rows_task, wrong, "cpu")
    shelf.store.confirm(shelf.store.node(f"{search_id}.0").node_id, verdict)
    with pytest.raises(SearchError, match="refuted"):
        export_kernel(shelf.pool, shelf.store, ExportRequest(search_id=search_id, steps=(0,)))


def test_unknown_searches_nodes_and_other_tasks_are_refused(
    shelf: Shelf, rows_search: str, rows_task: Path, tmp_path: Path
) -> None:
    def refused(match: str, **more: object) -> None:
        request = ExportRequest.model_validate({"search_id": rows_search, **more})
        with pytest.raises(SearchError, match=match):
            export_kernel(shelf.pool, shelf.store, request)

    refused("nothing", search_id="nothing")
    refused("77", steps=(77,))
    other = tmp_path / "other.py"
    other.write_text(ROWS_TASK.replace("300", "310"))
    another = shelf.search(other, (SLOW, ALL_EVEN))
    refused("same task", also=(another,))
    refused("needs the reference", embed_reference=False)
    other.write_text(ROWS_TASK.replace("300", "320"))
    refused("has changed", search_id=another)


def test_without_a_reference_what_was_not_checked_is_an_error(shelf: Shelf, rows_task: Path, tmp_path: Path) -> None:
    search_id = shelf.search(rows_task, (TRITON, None))
    request = ExportRequest(search_id=search_id, allow_unexecuted=True, embed_reference=False)
    (tmp_path / "rows.py").write_text(export_kernel(shelf.pool, shelf.store, request)[1])
    program = """
import torch, rows
x, scale = torch.randn(4, 512), torch.randn(512)
torch.testing.assert_close(rows.kernel(x, scale, 0.5), x * scale + 0.5)
rows.configure(on_fallback="ignore")
try:
    rows.kernel(x.double(), scale.double(), 0.5)
except rows.FallbackError as error:
    print(error)
"""
    done = run_apart(tmp_path, program, TRITON_INTERPRET="1")
    assert "carries no reference" in done.stdout, done.stderr
    assert "def reference" not in (tmp_path / "rows.py").read_text()


def test_hidden_cases_that_cannot_be_cut_out_are_not_given_away(shelf: Shelf, rows_task: Path, tmp_path: Path) -> None:
    task = tmp_path / "rows.py"
    task.write_text(ROWS_TASK + 'CASES["more"] = {"rows": 9, "cols": 9}\n')
    with shelf.pool.lend() as judge:
        cases = judge.describe_cases(str(task))
    with pytest.raises(TaskError, match="more places than one"):
        reference_text(cases.task, cases.reference_source)


def test_files_are_written_only_inside_and_never_over_something_else(
    shelf: Shelf, rows_search: str, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "sub").mkdir(parents=True)
    (workspace / "mine.py").write_text("MINE = 1\n")
    (workspace / "out").symlink_to(tmp_path)
    pool = JudgePool(shelf.state, workspace)
    # The workspace is where tasks are taken from too.
    request = ExportRequest(search_id=rows_search)
    try:
        for path, match in (
            ("../rows.py", "leads out"),
            ("/etc/rows.py", "leads out"),
            ("out/rows.py", "leads out"),
            ("rows.txt", "imported"),
            ("a-b.py", "imported"),
            ("none/rows.py", "no folder"),
            ("mine.py", "there already"),
        ):
            with pytest.raises(SearchError, match=match):
                export_kernel(pool, shelf.store, request, path)
        with pytest.raises(SearchError, match="not an export"):
            export_kernel(pool, shelf.store, request, "mine.py", overwrite=True)
        assert (workspace / "mine.py").read_text() == "MINE = 1\n"
        summary, text = export_kernel(pool, shelf.store, request, "sub/rows.py")
        assert (workspace / "sub" / "rows.py").read_text() == text
        assert len(summary.files) == 3
        assert ROWS_CPP in (workspace / "sub" / f"rows_{rows_search}.0.cpp").read_text()
        with pytest.raises(SearchError, match="there already"):
            export_kernel(pool, shelf.store, request, "sub/rows.py")
        export_kernel(pool, shelf.store, request, "sub/rows.py", overwrite=True)
        assert {path.name for path in (workspace / "sub").iterdir()} == {Path(file).name for file in summary.files}
    finally:
        pool.close()


def test_a_written_module_is_no_task(shelf: Shelf, rows_text: str, tmp_path: Path) -> None:
    """A task's file runs in the judge's own process, so what callers may write must never be one."""
    path = tmp_path / "rows.py"
    path.write_text(rows_text)
    with shelf.pool.lend() as judge, pytest.raises(Exception, match="neither form"):
        judge.describe_task(str(path))
