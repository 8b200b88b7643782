"""Candidates that attack, judged end to end at each level; what the receipt says stood around them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge import landlock
from kernelevolve.evaluation.judge.client import Judge, start_warm_host, stop_warm_host
from kernelevolve.evaluation.judge.protection import UNSANDBOXED, Protection
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.judge.survey import survey
from kernelevolve.evaluation.platform import get_platform
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.profilers.subject import Subject
from tests.conftest import SCALE_CPP

HEADERS = "#include <cstdio>\n#include <cstdlib>\n#include <unistd.h>\n#include <signal.h>\n"
JudgeAt = Callable[..., Verdict]
needs_landlock = pytest.mark.skipif(landlock.abi() < 1, reason="this kernel has no Landlock")
needs_enclosure = pytest.mark.skipif(
    not survey().enclosing, reason=f"no enclosure here: {survey().why_not_enclosing or 'there is'}"
)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("levels")
    start_warm_host(state)
    yield state
    stop_warm_host(state)


@pytest.fixture
def judge_at(warm: Path, scale_task: Path) -> JudgeAt:
    """Judge a C++ source at a level."""

    def run(level: Protection, source: str = SCALE_CPP, **more: object) -> Verdict:
        candidate = Candidate(language="cpp", source=source)
        with Judge(warm, sandbox=level) as judge:
            return judge.judge(
                JudgeRequest(task=str(scale_task), candidate=candidate, timed_calls=0, **{"limit_s": 20.0, **more})
            )

    return run


def doing(what: str) -> str:
    """The scale kernel, with something before its work."""
    return HEADERS + SCALE_CPP.replace("{", "{ " + what, 1)


@needs_enclosure
def test_auto_names_what_stood(judge_at: JudgeAt) -> None:
    protection = judge_at(Protection.AUTO).receipt.protection
    for name in ("mount namespace", "process namespace", "network namespace", "disk limit", "compiler in "):
        assert any(wall.startswith(name) for wall in protection), (name, protection)


@needs_landlock
def test_landlock_has_no_enclosure(judge_at: JudgeAt) -> None:
    protection = judge_at(Protection.LANDLOCK).receipt.protection
    assert f"landlock abi {landlock.abi()}" in protection
    assert "compiler in landlock" in protection
    assert "mount namespace" not in protection


def test_none_is_said_in_receipt_and_verdict(judge_at: JudgeAt) -> None:
    verdict = judge_at(Protection.NONE)
    assert verdict.status is Status.CORRECT
    assert verdict.receipt.protection == (UNSANDBOXED,)
    assert "not confined: --sandbox none" in verdict.platforms[0].notes


def test_none_lets_a_candidate_write_anywhere(judge_at: JudgeAt, tmp_path: Path) -> None:
    """What the walls are for: the same source leaves nothing behind at any other level."""
    plant = doing(f'FILE* f = fopen("{tmp_path}/planted", "w"); if (f) fclose(f);')
    levels = [Protection.AUTO] + ([Protection.LANDLOCK] if landlock.abi() >= 1 else [])
    for level in levels:
        assert judge_at(level, plant).status is Status.CORRECT
        assert not (tmp_path / "planted").exists(), level
    assert judge_at(Protection.NONE, plant).status is Status.CORRECT
    assert (tmp_path / "planted").exists()


# Small programs and not copies of the worker, which would take the machine minutes to make.
FORK_BOMB = doing(
    'for (int i = 0; i < 3000; ++i) { if (vfork() == 0) { execl("/bin/sleep", "sleep", "4321", nullptr); _exit(1); } }'
)


@needs_enclosure
def test_a_fork_bomb_in_an_enclosure_harms_nobody(judge_at: JudgeAt) -> None:
    before = processes()
    judge_at(Protection.AUTO, FORK_BOMB)
    assert judge_at(Protection.AUTO).status is Status.CORRECT
    assert settles(lambda: processes() < before + 50), "processes of the candidate are still there"


@needs_landlock
def test_a_fork_bomb_without_one_is_found_and_ended(judge_at: JudgeAt) -> None:
    before = processes()
    verdict = judge_at(Protection.LANDLOCK, FORK_BOMB)
    diagnosis = verdict.platforms[0].diagnosis
    assert diagnosis is not None
    assert diagnosis.finding is Finding.RESOURCE_LIMIT
    assert "processes and threads" in diagnosis.summary
    assert judge_at(Protection.LANDLOCK).status is Status.CORRECT
    assert settles(lambda: processes() < before + 50), "processes of the candidate are still there"


@needs_enclosure
def test_the_way_a_worker_dies_is_still_known(judge_at: JudgeAt) -> None:
    """Between the host and the worker stand two more processes."""
    for what, finding in (
        ("std::abort();", Finding.PROCESS_DIED),
        ("*(volatile int*)8 = 1;", Finding.SEGMENTATION_FAULT),
        ("kill(getpid(), SIGKILL);", Finding.PROCESS_DIED),
        ("_exit(7);", Finding.PROCESS_DIED),
    ):
        diagnosis = judge_at(Protection.AUTO, doing(what)).platforms[0].diagnosis
        assert diagnosis is not None
        assert diagnosis.finding is finding, (what, diagnosis)
    assert "exit code 7" in diagnosis.summary


@needs_enclosure
def test_every_thread_of_a_profiled_program_is_inside(scale_task: Path, tmp_path: Path) -> None:
    """Threads that were started before the walls would stay outside of them."""
    outside, inside = tmp_path / "secret", tmp_path / "inside"
    outside.write_text("the reference")
    inside.mkdir()
    peek = (
        "int seen = 0, threads = 0;\n#pragma omp parallel num_threads(4) reduction(+: seen, threads)\n"
        f'{{ threads += 1; FILE* f = fopen("{outside}", "r"); if (f) {{ seen += 1; fclose(f); }} }}\n'
        'FILE* said = fopen("said", "w"); fprintf(said, "%d of %d", seen, threads); fclose(said);'
    )
    subject = Subject(
        task=str(scale_task), candidate=Candidate(language="cpp", source=doing(peek)), platform=get_platform("cpu"),
        case="small", dtype="float32", folder=inside, compile_code=list,
    )  # fmt: skip
    ended = subject.run("timeline", runs=1)
    assert "mount namespace" in ended.result.get("protection", ()), ended.output
    assert (ended.folder / "said").read_text() == "0 of 4"


@needs_enclosure
def test_no_socket_of_another_program_is_reached(judge_at: JudgeAt, tmp_path: Path) -> None:
    """Docker's socket, for one, would start what it likes as root."""
    path = tmp_path / "socket"
    call = (
        f'int s = socket(AF_UNIX, SOCK_STREAM, 0); sockaddr_un a{{AF_UNIX, "{path}"}};'
        "if (connect(s, (sockaddr*)&a, sizeof a) == 0) std::abort();"
    )
    source = "#include <sys/socket.h>\n#include <sys/un.h>\n" + doing(call)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        assert judge_at(Protection.AUTO, source).status is Status.CORRECT
        assert judge_at(Protection.NONE, source).platforms[0].diagnosis is not None


def processes() -> int:
    return sum(path.name.isdigit() for path in Path("/proc").iterdir())


def settles(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


_THROUGH_LINKS = """
import sys
from pathlib import Path
import kernelevolve.evaluation
from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.judge.client import Judge
assert kernelevolve.evaluation.__path__[0].startswith(sys.argv[1]), kernelevolve.evaluation.__path__
example = Path(sys.argv[2])
with Judge(Path(sys.argv[1]) / "state", use_warm_host=False) as judge:
    candidate = Candidate(source=(example / "triton.py").read_text(), language="triton")
    print(*(code.kernel for code in judge.code(str(example), candidate, "cuda:sm_90")))
"""


def test_the_package_may_be_imported_through_links(tmp_path: Path) -> None:
    """A confined process loads its own modules where they were imported from, not only where they lie."""
    top = Path(__file__).resolve().parents[2]
    (tmp_path / "kernelevolve").mkdir()
    for folder in ("evaluation", "knowledge", "profilers", "search", "tools", "server"):
        (tmp_path / "kernelevolve" / folder).symlink_to(top / folder)
    done = subprocess.run(
        [sys.executable, "-c", _THROUGH_LINKS, str(tmp_path), str(top / "examples/rmsnorm_swiglu")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["rmsnorm_swiglu_kernel"], done.stderr
