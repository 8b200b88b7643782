"""What a verdict says: level, speed, resources, receipt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.finding import STATUS_OF, Finding, Status
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.evidence import broken_links
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.receipt import canonical_hash
from kernelevolve.evaluation.verdict import Speed, Verdict
from tests.conftest import SCALE_CPP, SCALE_TRITON, Give

SLOW_CPP = SCALE_CPP.replace("{", "{ for (volatile int i = 0; i < 3000000; ++i) {}", 1)


def test_right_cpp_candidate_is_executed_timed_and_receipted(give: Give) -> None:
    verdict = give(SCALE_CPP, timed_calls=60, baselines=("eager", "compile"))
    entry = verdict.platforms[0]
    assert (entry.status, entry.level) == (Status.CORRECT, Level.EXECUTED)
    assert {timing.baseline for timing in entry.timings} == {"eager", "compile"}
    assert {timing.case for timing in entry.timings} == {"small", "odd"}
    assert {summary.baseline for summary in entry.speeds} == {"eager", "compile"}
    receipt = verdict.receipt
    assert receipt.digest() == receipt.receipt_hash
    assert receipt.verdict_hash == canonical_hash([part.model_dump(mode="json") for part in verdict.platforms])
    assert len(receipt.samples["cpu"]["small"]["candidate"]) >= 6


def test_much_slower_candidate_is_called_slower(give: Give) -> None:
    entry = give(SLOW_CPP, timed_calls=60).platforms[0]
    assert entry.status is Status.CORRECT
    assert entry.speeds[0].speed is Speed.SLOWER


def test_absent_gpus_are_judged_by_interpreter_and_compiler(judge: Judge, scale_task: Path) -> None:
    candidate = Candidate(language="triton", source=SCALE_TRITON)
    platforms = ("cuda:sm_90", "cuda:sm_100", "hip:gfx942", "hip:gfx950")
    verdict = judge.judge(JudgeRequest(task=str(scale_task), candidate=candidate, platforms=platforms))
    for entry in verdict.platforms:
        assert entry.status is Status.CORRECT
        assert entry.checks > 0
        if entry.level is Level.EXECUTED:
            continue  # There is such a GPU here.
        assert entry.level is Level.INTERPRETED
        assert not entry.timings
        (kernel,) = entry.resources
        assert kernel.target == entry.platform
        assert kernel.registers is not None
        assert kernel.registers > 0
        assert kernel.code_bytes is not None
        assert kernel.occupancy is not None


def test_triton_on_the_cpu_is_interpreted_and_never_timed(give: Give) -> None:
    entry = give(SCALE_TRITON, "triton", timed_calls=20).platforms[0]
    assert (entry.status, entry.level) == (Status.CORRECT, Level.INTERPRETED)
    assert not entry.timings


def test_language_that_makes_no_sense_on_a_platform_is_unsupported(give: Give) -> None:
    entry = give(SCALE_CPP, platform="cuda:sm_90").platforms[0]
    assert entry.status is Status.UNSUPPORTED
    assert entry.diagnosis is not None
    assert entry.diagnosis.finding is Finding.LANGUAGE_ON_PLATFORM


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"platforms": ("cuda:sm_12",)}, Finding.UNKNOWN_PLATFORM),
        ({"platforms": ("quantum",)}, Finding.UNKNOWN_PLATFORM),
        ({"candidate": Candidate(language="fortran", source="x")}, Finding.UNKNOWN_LANGUAGE),
    ],
)
def test_unknown_names_are_the_harness_side_s_word(
    judge: Judge, scale_task: Path, change: dict[str, object], finding: Finding
) -> None:
    request = JudgeRequest(task=str(scale_task), candidate=Candidate(language="cpp", source=SCALE_CPP))
    entry = judge.judge(request.model_copy(update=change)).platforms[0]
    assert entry.status is Status.HARNESS_ERROR
    assert entry.diagnosis is not None
    assert entry.diagnosis.finding is finding
    assert "Known" in entry.diagnosis.advice


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (None, Finding.TASK_UNREADABLE),
        ("def reference(x:\n", Finding.TASK_UNREADABLE),
        ("x = 1\n", Finding.TASK_UNREADABLE),
        ("CASES = {}\ndef make_inputs(case): ...\ndef reference(x): return x\n", Finding.TASK_WITHOUT_INPUTS),
        (
            'CASES = {"a": {}}\ndef make_inputs(case): return ()\ndef reference(): return 1\n',
            Finding.TASK_WITHOUT_INPUTS,
        ),
        (
            'import torch\nCASES = {"a": {}}\ndef make_inputs(case): return torch.ones(3)\n'
            "def reference(x): return x @ torch.ones(7, 7)\n",
            Finding.TASK_FAILS,
        ),
    ],
)
def test_bad_task_is_said_to_be_the_task_s_fault(
    give: Give, tmp_path: Path, text: str | None, finding: Finding
) -> None:
    task = tmp_path / "task.py"
    if text is not None:
        task.write_text(text)
    found = _finding_of(lambda: give(SCALE_CPP, task=task))
    assert found is finding
    assert STATUS_OF[found] is Status.HARNESS_ERROR


def _finding_of(judging: Callable[[], Verdict]) -> Finding | None:
    """A bad task shows in the verdict when it is seen in time, else as the error of the whole request."""
    try:
        diagnosis = judging().platforms[0].diagnosis
    except KernelEvolveError as error:
        return error.finding
    return diagnosis.finding if diagnosis is not None else None


def test_kernelbench_form_with_parameters(give: Give, tmp_path: Path) -> None:
    task = tmp_path / "linear.py"
    task.write_text(
        "import torch, torch.nn as nn\n"
        "class Model(nn.Module):\n"
        "    def __init__(self, features):\n        super().__init__()\n"
        "        self.weight = nn.Parameter(torch.randn(features))\n"
        "    def forward(self, x):\n        return x * self.weight\n"
        "def get_inputs():\n    return [torch.rand(32, 64)]\n"
        "def get_init_inputs():\n    return [64]\n"
    )
    cpp = """void kernel(TensorView x, TensorView weight, TensorView out) {
      auto a = static_cast<const float*>(x.data_ptr()); auto w = static_cast<const float*>(weight.data_ptr());
      auto o = static_cast<float*>(out.data_ptr());
      for (int64_t i = 0; i < x.numel(); ++i) o[i] = a[i] * w[i % weight.numel()];
    }"""
    assert give(cpp, task=task).status is Status.CORRECT
    module = (
        "import torch, torch.nn as nn, triton, triton.language as tl\n"
        "@triton.jit\n"
        "def multiply(x, w, y, COLS: tl.constexpr):\n"
        "    i = tl.arange(0, COLS)\n"
        "    r = tl.program_id(0) * COLS\n"
        "    tl.store(y + r + i, tl.load(x + r + i) * tl.load(w + i))\n"
        "class ModelNew(nn.Module):\n"
        "    def __init__(self, features):\n        super().__init__()\n"
        "        self.weight = nn.Parameter(torch.randn(features))\n"
        "    def forward(self, x):\n        y = torch.empty_like(x)\n"
        "        multiply[(x.shape[0],)](x, self.weight, y, COLS=x.shape[1])\n        return y\n"
    )
    verdict = give(module, "triton", task=task, platform="cuda:sm_90")
    assert verdict.status is Status.CORRECT, verdict.platforms[0].diagnosis
    other_weights = module.replace("torch.randn(features)", "torch.ones(features)")
    assert give(other_weights, "triton", task=task, platform="cuda:sm_90").status is Status.WRONG


def test_opinfo_operator_as_a_task(give: Give) -> None:
    source = """void kernel(TensorView x, TensorView out) {
      auto a = static_cast<const float*>(x.data_ptr()); auto o = static_cast<float*>(out.data_ptr());
      for (int64_t i = 0; i < x.numel(); ++i) o[i] = a[i] SIGN 0 || a[i] != a[i] ? a[i] : 0.0f;
    }"""
    assert give(source.replace("SIGN", ">"), task="aten::relu").status is Status.CORRECT
    assert give(source.replace("SIGN", "<"), task="aten::relu").status is Status.WRONG


def test_ledger_is_an_unbroken_chain(give: Give, state: Path) -> None:
    give(SCALE_CPP)
    lines = (state / "receipts.jsonl").read_text().splitlines()
    assert len(lines) > 1
    assert broken_links(lines) == []
    assert broken_links(lines[1:]) == [1]


def test_stream_of_candidates_comes_back_in_order(judge: Judge, scale_task: Path) -> None:
    def request(source: str) -> JudgeRequest:
        candidate = Candidate(language="cpp", source=source)
        return JudgeRequest(task=str(scale_task), candidate=candidate, timed_calls=0)

    wrong = SCALE_CPP.replace("2.0f", "3.0f")
    statuses = [
        verdict.status for verdict in judge.judge_many([request(SCALE_CPP), request(wrong), request(SCALE_CPP)])
    ]
    assert statuses == [Status.CORRECT, Status.WRONG, Status.CORRECT]
