"""The command line as a script sees it: JSON on stdout and nothing else, exit codes, files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.server.exit_codes import ExitCode
from tests.conftest import SCALE_CPP

WEAK_TASK = """
import torch
CASES = {"only": {"rows": 4, "cols": 8}}
SPECIAL_VALUES = []
def make_inputs(case):
    return (torch.rand(case.rows, case.cols),)
def reference(x):
    return torch.clamp(x, max=0.0)
"""
ROW_SUMS = """
import torch
CASES = {"only": {"rows": 64, "cols": 512}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return x.sum(dim=1)
"""
ROW_SUMS_CPP = """void kernel(TensorView x, TensorView out) {
  const int64_t rows = x.size(0);
  const int64_t cols = x.size(1);
  const float* xp = static_cast<const float*>(x.data_ptr());
  float* op = static_cast<float*>(out.data_ptr());
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0.0f;
    for (int64_t c = 0; c < cols; ++c) {
      sum += xp[r * cols + c];
    }
    op[r] = sum;
  }
}
"""


def command(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `kernelevolve` as a shell would."""
    line = [sys.executable, "-m", "kernelevolve.server", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=200, check=False, cwd=cwd)


@pytest.fixture
def verified(warm_state: Path, scale_task: Path, tmp_path: Path) -> Any:
    """Run `verify --json` on a source; returns the process and what it printed."""

    def run(source: str, *more: object, task: object = scale_task, suffix: str = ".cpp") -> Any:
        path = tmp_path / f"candidate{suffix}"
        path.write_text(source)
        done = command("verify", task, path, "--state", warm_state, "--json", "--timed-calls", 0, *more)
        return done, json.loads(done.stdout) if done.stdout else None

    return run


def test_right_candidate_exits_with_ok_and_prints_one_json_document(verified: Any) -> None:
    done, verdict = verified(SCALE_CPP)
    assert done.returncode == ExitCode.OK, done.stderr
    assert verdict["status"] == "correct"
    assert verdict["receipt"]["receipt_hash"]


def test_refused_candidate(verified: Any) -> None:
    done, verdict = verified(SCALE_CPP.replace("2.0f", "3.0f"))
    assert done.returncode == ExitCode.REFUSED
    assert verdict["platforms"][0]["diagnosis"]["finding"] == "wrong_values"


def test_senseless_command_line(scale_task: Path) -> None:
    done = command("verify", scale_task, "--no-such-option")
    assert done.returncode == ExitCode.USAGE
    assert not done.stdout
    assert "--no-such-option" in done.stderr


def test_language_that_the_platform_does_not_know(verified: Any) -> None:
    done, verdict = verified(SCALE_CPP, "--platform", "cuda:sm_90")
    assert done.returncode == ExitCode.UNSUPPORTED
    assert verdict["status"] == "unsupported"


def test_task_that_is_not_there(verified: Any) -> None:
    done, report = verified(SCALE_CPP, task="/no/such/task.py")
    assert done.returncode == ExitCode.HARNESS
    # Seen at once it is the error of the whole request, else the verdict on each platform.
    said = report["platforms"][0]["diagnosis"] if "platforms" in report else report
    assert said["finding"] == "task_unreadable"
    assert "/no/such/task.py" in said["summary"]
    assert "Traceback" not in done.stderr


def test_candidate_that_is_not_there(scale_task: Path, warm_state: Path) -> None:
    done = command("verify", scale_task, "/no/such/candidate.cpp", "--state", warm_state, "--json")
    assert done.returncode in (ExitCode.REFUSED, ExitCode.USAGE, ExitCode.HARNESS)
    assert "Traceback" not in done.stderr
    assert "candidate.cpp" in done.stdout + done.stderr


def test_platforms() -> None:
    done = command("platforms", "--json")
    assert done.returncode == ExitCode.OK
    by_name = {entry["platform"]: entry for entry in json.loads(done.stdout)}
    assert "executed" in by_name["cpu"]["levels"]["cpp"]


def test_weak_task_has_an_exit_code(warm_state: Path, tmp_path: Path) -> None:
    task = tmp_path / "weak.py"
    task.write_text(WEAK_TASK)
    done = command("tasks", "check", task, "--state", warm_state, "--json")
    assert done.returncode == ExitCode.WEAK, done.stderr
    report = json.loads(done.stdout)
    assert report["weak"]
    assert "zeros" in report["check"]["accepted"]


def test_sound_task(warm_state: Path, scale_task: Path) -> None:
    done = command("tasks", "check", scale_task, "--state", warm_state, "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    assert not json.loads(done.stdout)["weak"]


def test_help_waits_for_no_heavy_import() -> None:
    program = (
        "import sys; sys.argv = ['kernelevolve', '--help']\n"
        "from kernelevolve.server.command_line import main\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert not leaving.code\n"
        "heavy = {'torch', 'triton', 'tvm_ffi', 'sqlalchemy', 'mcp'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "verify" in done.stdout
    assert "Exit codes" in done.stdout


def test_search_leaves_winner_verdict_receipt_and_report(warm_state: Path, tmp_path: Path) -> None:
    task, start, output = tmp_path / "row_sums.py", tmp_path / "start.cpp", tmp_path / "out"
    task.write_text(ROW_SUMS)
    start.write_text(ROW_SUMS_CPP)
    words = ("--start", start, "--evaluations", 3, "--minutes", 0.3, "--output", output, "--state", warm_state)
    done = command("optimize", task, *words, "--json", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    summary = json.loads(done.stdout)
    assert 1 <= summary["evaluations"] <= 3
    assert {path.name for path in output.iterdir()} == {"report.html", "best.cpp", "verdict.json", "receipt.json"}
    verdict = json.loads((output / "verdict.json").read_text())
    assert verdict["status"] == "correct"
    assert json.loads((output / "receipt.json").read_text()) == verdict["receipt"]
    assert "void kernel" in (output / "best.cpp").read_text()
    assert "<html" in (output / "report.html").read_text()


def test_audit_that_is_not_possible(verified: Any) -> None:
    done, verdict = verified(SCALE_CPP, "--audit")
    assert done.returncode == ExitCode.UNSUPPORTED, done.stderr
    assert verdict["status"] == "correct"
    assert verdict["platforms"][0]["audit"]["outcome"] == "not_possible"
